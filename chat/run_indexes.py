"""The indexes of runs, with the reason of each that is not plain."""

from django.db import models

RUN_INDEXES = (
    models.Index(fields=("status", "lease_expires_at")),
    # The admin's list is filtered and sorted in this index alone: rows are so wide that
    # each one takes a page of its own. It is read backwards, because appending is cheaper.
    models.Index(
        fields=(
            "created_at",
            "id",
            "status",
            "path",
            "escalated",
            "error_code",
            "sla_met",
            "total_ms",
            "model",
            "model_asked",
            "owner",
        ),
        name="runs_listed",
    ),
    models.Index(fields=("owner", "status")),
    # The list that programs read, backwards.
    models.Index(fields=("owner", "created_at"), name="runs_of_owner"),
    # The newest answers of a chat, from this index alone. Without it, PostgreSQL reads the runs of
    # everybody, newest first, until it meets one of the chat.
    models.Index(fields=("conversation", "answer", "question"), name="runs_of_chat"),
    models.Index(
        fields=("address", "created_at"),
        condition=~models.Q(address=""),
        name="runs_by_address",
    ),
    models.Index(
        fields=("owner", "digest", "created_at"),
        condition=~models.Q(digest=""),
        name="runs_by_digest",
    ),
    # All workers poll for unclosed runs, and hardly any of a million runs is one.
    models.Index(fields=("ended_at",), condition=models.Q(closed_at=None), name="runs_to_close"),
    models.Index(fields=("ended_at",), condition=models.Q(pruned_at=None), name="runs_to_prune"),
    models.Index(
        fields=("ended_at",),
        condition=models.Q(counted=False, ended_at__isnull=False),
        name="runs_to_count",
    ),
)
