from django.db import models


class CachedResult(models.Model):
    """A cached result of a tool. It has no table: it is in Redis, and this gives it a place in the
    admin, with permissions to view and to delete it."""

    key = models.CharField(primary_key=True, max_length=100)

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
        verbose_name = "cached result"
        verbose_name_plural = "cached results"

    def __str__(self) -> str:
        return self.key
