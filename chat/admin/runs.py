"""The pages of runs: how each went, and where its time went."""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from chat.models import Run
from routing.models import RoutingDecision

from .readonly import ReadOnly, milliseconds


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = (
        "short_id",
        "created",
        "status",
        "path",
        "error_code",
        "first_event",
        "first_token",
        "total",
        "output_tokens",
        "model_calls",
        "model",
        "owner",
    )
    list_filter = ("status", "path", "mode", "error_code", "model", "created_at")
    search_fields = ("id__startswith", "message_id__startswith", "owner", "worker")
    date_hierarchy = "created_at"
    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ("fleet/admin.css",)}

    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "status",
                    "error_code",
                    "ending",
                    "conversation_link",
                    "owner",
                    "message_id",
                    "rerun_of",
                )
            },
        ),
        (
            "Asked",
            {"fields": ("mode", "path", "decision_link", "fresh", "reasoning_effort", "model")},
        ),
        (
            "Times (ms)",
            {"fields": ("created_at", "ended_at", "first_event", "first_token", "total")},
        ),
        ("Spent", {"fields": ("input_tokens", "output_tokens", "model_calls", "tool_calls")}),
        (
            "Worker",
            {
                "fields": (
                    "worker",
                    "lease_expires_at",
                    "last_seq",
                    "cancel_requested_at",
                    "closed_at",
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        # The list doesn't show texts and steps, which may be large.
        return super().get_queryset(request).defer("text_so_far", "steps", "summary_so_far")

    @admin.display(description="run", ordering="id")
    def short_id(self, run: Run) -> str:
        return str(run.pk)[:8]

    @admin.display(description="created", ordering="created_at")
    def created(self, run: Run) -> str:
        exact = f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC"
        return format_html('<span title="{}">{}</span>', exact, naturaltime(run.created_at))

    @admin.display(description="first event (ms)", ordering="first_event_ms")
    def first_event(self, run: Run) -> str:
        return milliseconds(run.first_event_ms)

    @admin.display(description="first token (ms)", ordering="first_token_ms")
    def first_token(self, run: Run) -> str:
        return milliseconds(run.first_token_ms)

    @admin.display(description="total (ms)", ordering="total_ms")
    def total(self, run: Run) -> str:
        return milliseconds(run.total_ms)

    @admin.display(description="routing decision")
    def decision_link(self, run: Run) -> str | None:
        if not RoutingDecision.objects.filter(pk=run.pk).exists():
            return None
        return format_html(
            '<a href="{}">why this path</a>',
            reverse("admin:routing_routingdecision_change", args=[run.pk]),
        )

    @admin.display(description="conversation")
    def conversation_link(self, run: Run) -> str:
        return format_html(
            '<a href="../../../conversation/{}/change/">{}</a>',
            run.conversation_id,
            run.conversation.title,
        )
