"""Show operators what was asked, how each run went, and where its time went, all read-only."""

from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from routing.models import RoutingDecision

from .measures import Phase, ToolCall
from .models import Conversation, Message, Run


class ReadOnly(admin.ModelAdmin):
    """Rows that only the product writes. Operators read them, and delete them if permitted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PhaseInline(ReadOnlyInline):
    model = Phase
    fields = ("name", "started", "duration")
    readonly_fields = fields

    @admin.display(description="started after (ms)")
    def started(self, phase: Phase) -> str:
        return milliseconds(phase.started_ms)

    @admin.display(description="duration (ms)")
    def duration(self, phase: Phase) -> str:
        return milliseconds(phase.duration_ms)


class ToolCallInline(ReadOnlyInline):
    model = ToolCall
    verbose_name_plural = "tool calls"
    fields = (
        "tool",
        "agent_id",
        "outcome",
        "reason",
        "cached",
        "repeated",
        "age",
        "duration",
        "credits",
    )
    readonly_fields = fields

    @admin.display(description="age of the result (s)")
    def age(self, call: ToolCall) -> str:
        return "–" if call.age_s is None else f"{call.age_s:,.0f}"

    @admin.display(description="duration (ms)")
    def duration(self, call: ToolCall) -> str:
        return milliseconds(call.duration_ms)


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
    inlines = (PhaseInline, ToolCallInline)

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
        return super().get_queryset(request).defer("text_so_far", "steps")

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


class MessageInline(ReadOnlyInline):
    model = Message
    fields = ("role", "created_at", "text")
    readonly_fields = fields


@admin.register(Conversation)
class ConversationAdmin(ReadOnly):
    list_display = ("title", "owner", "created_at", "updated_at")
    search_fields = ("title", "owner", "id__startswith")
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = (MessageInline,)


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
