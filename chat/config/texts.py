"""What was in force when a run was answered, as rows: agents, models and tools as one text."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

KEPT_UNUSED = timedelta(days=1)


class Texts(models.QuerySet["ConfigText"]):
    def store(self, digest: str, text: str) -> None:
        """Store the text of a configuration, unless it is there."""
        if not self.filter(pk=digest).exists():
            self.bulk_create([ConfigText(digest=digest, text=text)], ignore_conflicts=True)

    def unused(self, used: set[str]) -> "Texts":
        """Return those that none of the `used` digests is of. A new one may not have a run yet."""
        old = self.filter(first_seen_at__lt=timezone.now() - KEPT_UNUSED)
        return old.exclude(pk__in=used).order_by("first_seen_at")

    def before(self, config: "ConfigText") -> "ConfigText | None":
        """Return the one that was in force before."""
        earlier = self.filter(first_seen_at__lt=config.first_seen_at)
        return earlier.order_by("-first_seen_at").first()


class ConfigText(models.Model):
    """The configuration of a fleet, by the digest that its runs have."""

    digest = models.CharField(primary_key=True, max_length=12)
    text = models.TextField()
    first_seen_at = models.DateTimeField(auto_now_add=True)

    objects = Texts.as_manager()

    class Meta:
        verbose_name = "configuration"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.digest
