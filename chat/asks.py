"""What runs ask people, and what people decided."""

import uuid

from django.db import models

from .conversations import Conversation


class Ask(models.Model):
    """One question to a person. Never changed after it was closed."""

    class Kind(models.TextChoices):
        APPROVAL = "approval"
        QUESTION = "question"
        UNSURE = "unsure"

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        EDITED = "edited"
        REFUSED = "refused"
        ANSWERED = "answered"
        WITHDRAWN = "withdrawn"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey("chat.Run", models.CASCADE, related_name="asks")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="asks")
    name = models.CharField(max_length=200, help_text="the step that waits")
    agent_id = models.CharField(max_length=80)
    author = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=Kind)
    tool = models.CharField(max_length=80, blank=True)
    call_id = models.CharField(max_length=200, blank=True)
    arguments = models.JSONField(default=dict, blank=True)
    schema = models.JSONField(default=dict, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, help_text="of the tool, its definition and the arguments"
    )
    message = models.TextField()
    options = models.JSONField(default=list, blank=True)
    approver = models.CharField(max_length=120, default="owner")
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    reply = models.JSONField(null=True, blank=True)
    remember = models.BooleanField(default=False)
    replied_by = models.CharField(max_length=80, blank=True)
    replied_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=("run", "name"), name="one_ask_per_step"),)
        indexes = (
            models.Index(
                fields=("expires_at",), condition=models.Q(state="open"), name="asks_open"
            ),
        )

    def __str__(self) -> str:
        return f"ask {str(self.pk)[:8]}"
