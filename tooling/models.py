from django.db import models


class CachedResult(models.Model):
    """A kept result of a tool. It stands in Redis, not in a table: here are its name in the admin and who may see and delete it."""

    key = models.CharField(primary_key=True, max_length=100)

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
        verbose_name = "cached result"
        verbose_name_plural = "cached results"

    def __str__(self) -> str:
        return self.key
