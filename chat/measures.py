"""What a run leaves for operators: how long its phases took, and which tools it called."""

from uuid import UUID

from django.db import models

from .protocol.events import ToolComplete, ToolRejected


class Phase(models.Model):
    """How long a phase of a run took. Stored with the run's ending."""

    run = models.ForeignKey("chat.Run", models.CASCADE, related_name="phases")
    name = models.CharField(max_length=30)
    started_ms = models.FloatField(help_text="milliseconds since the run was started")
    duration_ms = models.FloatField()

    class Meta:
        ordering = ("started_ms",)

    def __str__(self) -> str:
        return f"{self.name} {self.duration_ms:.0f} ms"


class ToolCall(models.Model):
    """A tool call of a run, made or refused. Stored with the run's ending."""

    class Outcome(models.TextChoices):
        OK = "ok"
        FAILED = "failed"
        REJECTED = "rejected"

    run = models.ForeignKey("chat.Run", models.CASCADE, related_name="tool_uses")
    tool = models.CharField(max_length=60)
    agent_id = models.CharField(max_length=60)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reason = models.CharField(max_length=300, blank=True, help_text="why it was refused, or failed")
    cached = models.BooleanField(default=False)
    stale = models.BooleanField(default=False)
    repeated = models.BooleanField(
        default=False, help_text="the same call was made before in this run"
    )
    age_s = models.FloatField(
        null=True, blank=True, help_text="seconds since the cached result was fetched"
    )
    duration_ms = models.FloatField(default=0)
    credits = models.FloatField(default=0, help_text="of the search provider")

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.tool} {self.outcome}"

    @classmethod
    def of(cls, run_id: UUID, event: ToolComplete | ToolRejected) -> "ToolCall":
        """Return the row of the tool call that this event ended. It isn't saved."""
        if isinstance(event, ToolRejected):
            return cls(
                run_id=run_id,
                tool=event.data.tool,
                agent_id=event.agent_id,
                outcome=cls.Outcome.REJECTED,
                reason=event.data.reason,
            )
        data = event.data
        return cls(
            run_id=run_id,
            tool=data.tool,
            agent_id=event.agent_id,
            outcome=cls.Outcome.OK if data.ok else cls.Outcome.FAILED,
            reason=data.message,
            cached=data.cached,
            stale=data.stale,
            repeated=data.repeated,
            age_s=data.age_s,
            duration_ms=data.duration_ms,
            credits=data.credits,
        )
