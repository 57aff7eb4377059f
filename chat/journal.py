"""The journal: the results of a run's finished steps, kept until the run has ended.

A worker that takes a run over gives its workflow these results, so that it goes on where the last
one stopped.
"""

from django.db import models


class StepResult(models.Model):
    """The result of one step. `value` is JSON, which only the workflow reads."""

    run = models.ForeignKey("chat.Run", models.CASCADE, related_name="journal")
    name = models.CharField(max_length=200)
    value = models.TextField()
    inherited = models.BooleanField(
        default=False, help_text="from the paused run that this one goes on with"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "name"), name="one_result_per_step"),)

    def __str__(self) -> str:
        return f"{self.run_id} {self.name}"
