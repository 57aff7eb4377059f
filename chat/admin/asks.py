"""The list of asks: what runs ask people, and what people decided."""

from typing import Any, get_args
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.db.models import BooleanField, F, Q, QuerySet, Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from chat.asks import Ask
from chat.models import Run
from chat.protocol.terms import AskKind
from chat.rendering.wording import title_of
from tooling.known import SWITCHED_OFF, TOOLS
from tooling.names import PARTING

from .ask_page import AskPageAdmin
from .content import first_words, visible, with_first_words
from .filters import ChoiceFilter, PeriodFilter
from .listing import ListAdmin, id_range
from .readonly import relative_time, two_lines
from .shown_asks import kind_title, state_of

MAX_IDS = 1_000


class StateFilter(ChoiceFilter):
    title = "state"
    parameter_name = "state"
    options = {value: (str(label), Q(state=value)) for value, label in Ask.State.choices}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # The time of an ask may be over before a worker notes it.
        match self.value():
            case Ask.State.OPEN:
                return queryset.filter(state=Ask.State.OPEN, expires_at__gt=timezone.now())
            case Ask.State.EXPIRED:
                is_over = Q(state=Ask.State.OPEN, expires_at__lte=timezone.now())
                return queryset.filter(Q(state=Ask.State.EXPIRED) | is_over)
        return super().queryset(request, queryset)


class KindFilter(ChoiceFilter):
    title = "kind"
    parameter_name = "kind"
    options = {kind: (kind_title(kind), Q(kind=kind)) for kind in get_args(AskKind)}


class ToolFilter(ChoiceFilter):
    title = "tool"
    parameter_name = "tool"

    # Looked up when the page is shown: the tools are those of the operator, too.
    @classmethod
    def choices_now(cls) -> dict[str, tuple[str, Q]]:
        servers = {f"{name}{PARTING}": name for name in sorted(settings.FLEET_FILE.file.mcp)}
        return {
            **{name: (name, Q(tool=name)) for name in sorted({*TOOLS, *SWITCHED_OFF})},
            **{
                begins: (f"{name}: all", Q(tool__startswith=begins))
                for begins, name in servers.items()
            },
        }


class ApproverFilter(ChoiceFilter):
    title = "approver"
    parameter_name = "approver"
    options = {
        "owner": ("The person who asked", Q(approver="owner")),
        "staff": ("Staff", Q(approver__startswith="perm:")),
    }


@admin.register(Ask)
class AskAdmin(AskPageAdmin, ListAdmin):
    list_display = (
        "short_id",
        "created",
        "asked",
        "kind_and_tool",
        "shown_state",
        "decided",
        "run_id_and_status",
        "result",
        "expires",
    )
    list_display_links = ("short_id", "asked")
    filters = (PeriodFilter, StateFilter, KindFilter, ToolFilter, ApproverFilter)
    sortable_by = ("created",)
    search_fields = ("pk",)
    search_help_text = "Words of the run's question, or the beginning of the ask's or the run's id"
    export_words = frozenset({"message", "options", "arguments", "reply"})
    export_columns = {
        "id": "pk",
        "run_id": "run_id",
        "conversation_id": "conversation_id",
        "created_at": "created_at",
        "agent": "agent_id",
        "kind": "kind",
        "tool": "tool",
        "message": "message",
        "options": "options",
        "arguments": "arguments",
        "approver": "approver",
        "state": "state",
        "reply": "reply",
        "remember": "remember",
        "replied_by": "replied_by",
        "replied_at": "replied_at",
        "expires_at": "expires_at",
        "continued_by": "run__continued_by__pk",
        "continued_status": "run__continued_by__status",
    }

    def rows(self, request: HttpRequest) -> QuerySet[Ask]:
        asks = Ask.objects.annotate(
            run_status=F("run__status"),
            continued_by=F("run__continued_by__pk"),
            continued_status=F("run__continued_by__status"),
            is_linked=Value(request.user.has_perm("chat.view_run"), BooleanField()),
        ).defer("arguments", "schema", "options", "reply")
        return with_first_words(request, asks, "message")

    def with_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        ids = id_range(term)
        if ids is None:
            return None
        found = [
            pk
            for field in ("pk", "run__pk")
            for pk in Ask.objects.filter(**{f"{field}__range": ids})
            .order_by()
            .values_list("pk", flat=True)[:MAX_IDS]
        ]
        return queryset.filter(pk__in=found)

    def about(self, queryset: QuerySet[Any], questions: list[int]) -> QuerySet[Any]:
        runs = Run.objects.filter(question__in=questions, asks__isnull=False).order_by()
        return queryset.filter(run__in=list(runs.values_list("pk", flat=True)))

    @admin.display(description="ask")
    def short_id(self, ask: Ask) -> str:
        return str(ask.pk)[:8]

    @admin.display(description="when, by", ordering="created_at")
    def created(self, ask: Ask) -> str:
        agent = format_html("<bdi>{}</bdi>", visible(title_of(ask.author or ask.agent_id)))
        return two_lines(relative_time(ask.created_at), agent)

    @admin.display(description="what is asked")
    def asked(self, ask: Any) -> str:
        return first_words(ask.words_start, ask.words_length)

    @admin.display(description="kind, tool")
    def kind_and_tool(self, ask: Ask) -> str:
        return two_lines(kind_title(ask.kind), visible(ask.tool))

    @admin.display(description="state")
    def shown_state(self, ask: Ask) -> str:
        state = state_of(ask)
        mark = format_html('<span class="status {}">{}</span>', state, state)
        is_for_staff = state == Ask.State.OPEN and ask.permission
        return two_lines(mark, "waits for staff" if is_for_staff else "")

    @admin.display(description="decided")
    def decided(self, ask: Ask) -> str:
        if ask.replied_at is None:
            return "–"
        return two_lines(relative_time(ask.replied_at), visible(ask.replied_by))

    @admin.display(description="run")
    def run_id_and_status(self, ask: Any) -> str:
        return two_lines(run_id(ask.run_id, is_linked=ask.is_linked), ask.run_status)

    @admin.display(description="continued by")
    def result(self, ask: Any) -> str:
        if ask.continued_by is None:
            return "–"
        mark = format_html('<span class="status {0}">{0}</span>', ask.continued_status)
        return two_lines(run_id(ask.continued_by, is_linked=ask.is_linked), mark)

    @admin.display(description="expires (UTC)")
    def expires(self, ask: Ask) -> str:
        return f"{ask.expires_at:%Y-%m-%d %H:%M}"


def run_id(pk: UUID, *, is_linked: bool) -> str:
    """Return the beginning of a run's id, as a link for those who may follow it."""
    if not is_linked:
        return str(pk)[:8]
    address = reverse("admin:chat_run_change", args=[pk])
    return format_html('<a href="{}">{}</a>', address, str(pk)[:8])
