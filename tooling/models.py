import msgspec
from django.db import models
from django.db.models.functions import Now

MAX_TOOL_CHARS = 64


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


class Defined(msgspec.Struct, frozen=True):
    """What a server says of a tool, as models read it."""

    name: str = ""
    description: str = ""
    schema: dict[str, object] = {}


class PinnedTool(models.Model):
    """A tool of an MCP server, with the definition that was accepted.

    `accepted` and `other` are definitions as canonical JSON. `accepted` is empty for a tool that
    its server has added, `other` unless the server has another definition than the accepted one.
    """

    class State(models.TextChoices):
        OPEN = "open"
        CHANGED = "changed"
        NEW = "new"

    server = models.CharField(max_length=31)
    tool = models.CharField(max_length=MAX_TOOL_CHARS, help_text="its name at the server")
    accepted = models.TextField(blank=True)
    accepted_digest = models.CharField(max_length=64, blank=True)
    other = models.TextField(blank=True)
    other_digest = models.CharField(max_length=64, blank=True)
    first_seen_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.CharField(max_length=150, blank=True, help_text="empty: at first sight")

    class Meta:
        default_permissions = ("view", "change")
        ordering = ("server", "tool")
        constraints = (models.UniqueConstraint(fields=("server", "tool"), name="tool_pinned_once"),)
        verbose_name = "tool of an MCP server"
        verbose_name_plural = "tools of MCP servers"

    def __str__(self) -> str:
        return f"{self.server}: {self.tool}"

    @property
    def state(self) -> State:
        if not self.accepted_digest:
            return self.State.NEW
        return self.State.CHANGED if self.other_digest else self.State.OPEN

    @property
    def accepted_definition(self) -> Defined:
        return defined(self.accepted)

    @property
    def other_definition(self) -> Defined:
        return defined(self.other)

    def accept(self, digest: str, *, by: str) -> bool:
        """Accept the other definition, whose digest is this; return False if it is no longer it."""
        return bool(
            PinnedTool.objects.filter(pk=self.pk, other_digest=digest)
            .exclude(other_digest="")
            .update(
                accepted=models.F("other"),
                accepted_digest=models.F("other_digest"),
                other="",
                other_digest="",
                accepted_at=Now(),
                accepted_by=by,
            )
        )


def defined(text: str) -> Defined:
    return msgspec.json.decode(text, type=Defined) if text else Defined()
