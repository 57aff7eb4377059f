"""What was in force when a run was answered, as rows: agents, models and tools as one text."""

from django.db import models


class ConfigText(models.Model):
    """The configuration of a fleet, by the digest that its runs have."""

    digest = models.CharField(primary_key=True, max_length=12)
    text = models.TextField()
    first_seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "configuration"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.digest
