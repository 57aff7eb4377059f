"""A run's page: what happened, why, what it cost, and what was slow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from chat.asks import Ask
from chat.entrance import Told
from chat.llm.faults.verdicts import HANDLING, advice_on
from chat.llm.servers import id_of, server_of
from chat.models import Run
from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import StreamEvent
from chat.protocol.terms import Level, StepKind
from chat.rendering.ending import percent_of
from chat.rendering.gantt import Gantt, gantt_of
from chat.rendering.timeline import phase_title, tool_title
from chat.rendering.wording import capitalized, counted, duration, title_of
from chat.spans import all_spans, spans_of
from chat.telemetry.levels import slowest_of
from chat.trace_context import trace_link
from routing.models import RoutingDecision

from .content import may_read_content, words
from .readonly import ReadOnly
from .run_steps import Say, Steps, Words, cached_note, credits_of
from .run_stream import LogUnavailable, entries_of_log, lines_of_row, steps_of
from .shown_asks import ShownAsk

MAX_ID_CHARS = 40  # of an unknown id that the message repeats
MAX_RELATED = 20  # other runs, and asks, that the page lists
LEVELS: dict[Level, str] = {
    "first_event": "first event",
    "first_token": "first token",
    "total": "total",
    "cancel": "cancel",
    "tool": "a tool call",
}
STEP_KINDS: dict[StepKind, str] = {"phase": "Phase", "agent": "Agent", "tool": "Tool call"}
LOST = (
    "The worker stopped during this run, so another one wrote this ending. The figures and the text"
    " are those of the last renewal of its lease."
)
NO_STEPS = "Its steps are not known: the row has none, and its log is not kept any longer."
NO_REDIS = "Its steps are not shown: Redis, which has its log, does not answer."
LIVE = "The run is live. Figures and text are those of the last renewal of its lease."
OLD = (
    "An earlier version stored this run: it kept no starts of steps, no model calls and no verdict."
)
PAUSED = "The run waits for a person. A reply starts the run that goes on with it."
CONTINUED = "The run waited for a person. Another run goes on with it."
SERVER_ERRORS: frozenset[Code] = frozenset(handling.code for handling in HANDLING.values())
NOT_ROUTED = "The run ended before a path was chosen."

DOORS = {
    "socket": "socket",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "agui": "/agui",
    "mcp": "/mcp",
    "events": "/api/v1",
    "terminal": "terminal",
}

Outcome = Literal["completed", "cancelled", "failed", "paused", "lost", "running"]


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SlowStep:
    kind: str
    name: str
    time: str
    share: str


@dataclass(frozen=True, slots=True)
class Related:
    """The rows that belong to a run. `asks` has those of the paused run that it goes on with."""

    decision: RoutingDecision | None
    reruns: Sequence[Run]
    continued_by: Run | None
    asks: Sequence[Ask]

    @classmethod
    def to(cls, run: Run) -> "Related":
        others = Run.objects.filter(Q(rerun_of=run) | Q(continues=run)).only("status", "continues")
        found = list(others[: MAX_RELATED + 1])
        asks = Ask.objects.filter(run__in=[pk for pk in (run.pk, run.continues_id) if pk])
        return cls(
            RoutingDecision.objects.defer("features").filter(pk=run.pk).first(),
            [other for other in found if other.continues_id != run.pk][:MAX_RELATED],
            next((other for other in found if other.continues_id == run.pk), None),
            list(asks.order_by("created_at", "name")[:MAX_RELATED]),
        )


class RunPage:
    """What the page of one run shows, of everything that is known of it."""

    def __init__(
        self,
        run: Run,
        events: Sequence[StreamEvent] | None,
        *,
        related: Related,
        say: Say,
    ) -> None:
        """`events` are its steps; None if Redis has them and doesn't answer."""
        self.run = run
        self.decision = related.decision
        self.is_redis_down = events is None
        events = events or ()
        self.reruns = related.reruns
        self.continued_by = related.continued_by
        self.asks = [ShownAsk(ask, say=say) for ask in related.asks]
        self.ending = run.recorded_ending
        self.summary = self.ending.summary if self.ending else run.recorded_summary
        timings = self.summary.timings
        spans = spans_of(events)
        self.has_steps = bool(events)
        self.steps = Steps(events, total_ms=timings.total_ms or 0, say=say)
        self.gantt: Gantt = gantt_of(spans, timings.total_ms or 0, gaps=self.gaps)
        self.title = Words(say(run.conversation.title))
        self.question = Words(say(run.question.text))
        text = run.text_so_far if self.ending is None else run.answer.text
        self.answer = Words(say(text)) if text else None
        self.reasons = [
            say(capitalized(reason)) for route in self.steps.routes[-1:] for reason in route.reasons
        ]
        verdict = self.ending.sla if self.ending else None
        self.missed = [
            f"{LEVELS[level]} late by {duration(ms)}"
            for level, ms in (verdict.missed if verdict else {}).items()
        ]
        slowest = verdict.slowest if verdict else slowest_of(list(all_spans(events)))
        self.slowest = [
            SlowStep(
                STEP_KINDS[kind],
                name_of(kind, step.name),
                duration(step.duration_ms),
                share(step.duration_ms, timings.total_ms),
            )
            for kind, step in slowest.items()
        ]

    @property
    def gaps(self) -> Iterator[tuple[float, float]]:
        """The start and the duration of each time without a worker, in milliseconds of the run."""
        for takeover in self.steps.takeovers:
            if takeover.at:
                ended_ms = (takeover.at - self.run.created_at).total_seconds() * 1000
                yield ended_ms - takeover.silent_ms, takeover.silent_ms

    @property
    def outcome(self) -> Outcome:
        if self.ending is None:
            return "running"
        return "lost" if self.ending.lost else self.ending.status

    @property
    def error(self) -> ErrorInfo | None:
        return self.ending.error if self.ending else None

    @property
    def help(self) -> str:
        """What an operator can do about the error, for the server and the model of today."""
        if self.error is None or self.error.code not in SERVER_ERRORS:
            return ""
        model = self.run.model or settings.FLEET_MODEL
        server = server_of(model).place
        advice = advice_on(self.error.message, server=server, model=id_of(model))
        return f"{advice} The log has the reason.".strip()

    @property
    def path(self) -> str:
        """The path in a few words; empty if the run was not routed."""
        if self.summary.path is None:
            return ""
        if self.summary.escalated:
            return "Light, then the full team"
        return "Full team" if self.summary.path == "full" else "Light"

    @property
    def verdict(self) -> Literal["met", "missed", ""]:
        if self.ending is None or self.ending.sla is None:
            return ""
        return "missed" if self.ending.sla.missed else "met"

    @property
    def remarks(self) -> list[str]:
        """Why parts are missing."""
        remarks = []
        if self.outcome == "lost":
            remarks.append(LOST)
        elif self.outcome == "running":
            remarks.append(LIVE)
        elif self.outcome == "paused":
            remarks.append(PAUSED if self.continued_by is None else CONTINUED)
        elif self.ending and self.ending.sla is None:
            remarks.append(OLD)
        if self.run.epoch:
            remarks.append(taken_over(self.run.epoch, self.run.deaths))
        if not self.has_steps:
            remarks.append(NO_REDIS if self.is_redis_down else NO_STEPS)
        if self.ending and self.summary.path is None:
            remarks.append(NOT_ROUTED)
        return remarks

    @property
    def figures(self) -> list[Figure]:
        timings, usage, run = self.summary.timings, self.summary.usage, self.run
        about = "≈ " if usage.estimated else ""
        cached = counted(usage.cache_hits, "hit") + " in the cache" if usage.cache_hits else ""
        spent = credits_of(usage.search_credits) if usage.search_credits else ""
        figures = [
            Figure("Total", moment(timings.total_ms)),
            Figure("First event", moment(timings.first_event_ms)),
            Figure("First token", moment(timings.first_token_ms)),
            Figure("Model calls", f"{usage.model_calls:,}", " and ".join(self.summary.models)),
            Figure("Tokens read", f"{about}{usage.input_tokens:,}", cached_note(usage)),
            Figure("Tokens written", f"{about}{usage.output_tokens:,}"),
            Figure(
                "Tool calls",
                f"{usage.tool_calls:,}",
                ", ".join(part for part in (cached, spent) if part),
            ),
        ]
        if timings.waited_ms or run.epoch:
            worked = Figure("Worked", duration(run.worked_s * 1000))
            waited = Figure("Waited", duration(timings.waited_ms), "without a worker")
            figures[1:1] = [worked, waited]
        if timings.cancel_ms is not None:
            figures.insert(1, Figure("Cancel took", duration(timings.cancel_ms)))
        if run.cost is not None or self.summary.cost is not None:
            figures.append(Figure("Cost", money(self.summary.cost or run.cost or 0)))
        return figures

    @property
    def waiting(self) -> Figure | None:
        """The part of the total that no phase explains, with its share."""
        ms = self.summary.timings.waiting_ms
        if not ms or not self.steps.phases:
            return None
        return Figure("Waiting", duration(ms), share(ms, self.summary.timings.total_ms))

    @property
    def confidence(self) -> str:
        """How sure the router was, as a sentence; empty if the run was not routed."""
        if not self.steps.routes:
            return ""
        return f"{percent_of(self.steps.routes[0].confidence)} sure that one agent suffices."

    @property
    def skipped(self) -> str:
        route = self.steps.routes[-1] if self.steps.routes else None
        return ", ".join(phase_title(phase).lower() for phase in route.skipped) if route else ""

    @property
    def came_by(self) -> str:
        """The door, the token and whom a program says it has asked for; empty if unknown."""
        run = self.run
        parts = [DOORS.get(run.door, run.door)]
        if run.token_id:
            parts.append(f"token {run.token_id}")
        if run.end_user:
            parts.append(f"for {run.end_user}, as the program says")
        if told := Told.of(run.told):
            instructions = " and instructions" if told.instructions else ""
            earlier = counted(len(told.exchanges), "earlier exchange")
            parts.append(f"with {earlier}{instructions} of its own")
        return ", ".join(filter(None, parts))

    @property
    def trace_link(self) -> str:
        return trace_link(self.run.trace_id)

    @property
    def has_costs(self) -> bool:
        return any(line.cost is not None for line in self.steps.calls)


class RunPageAdmin(ReadOnly):
    """The page of one run, and its stream as JSON lines."""

    def get_urls(self) -> list[URLPattern]:
        stream = self.admin_site.admin_view(require_safe(self.stream_view))
        return [
            path("<str:object_id>/stream/", stream, name="chat_run_stream"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        run = find_run(object_id)
        if run is None:
            return self.run_is_unknown(request, object_id)
        page = RunPage(
            run,
            steps_of(run),
            related=Related.to(run),
            say=partial(words, request),
        )
        context = {
            **self.admin_site.each_context(request),
            "title": f"Run {str(run.pk)[:8]}",
            "opts": self.opts,
            "page": page,
            "run": run,
            "may_read": may_read_content(request),
            "may_delete": self.has_delete_permission(request, run),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/chat/run/change_form.html", context)

    def stream_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not (self.has_view_permission(request) and may_read_content(request)):
            raise PermissionDenied
        run = find_run(object_id)
        if run is None:
            return self.run_is_unknown(request, object_id)
        try:
            lines = [entry.payload for entry in entries_of_log(run.pk)]
        except LogUnavailable:
            messages.warning(
                request, "The stream cannot be read: Redis does not answer. Try again in a moment."
            )
            return HttpResponseRedirect(reverse("admin:chat_run_change", args=[run.pk]))
        lines = lines or list(lines_of_row(run))
        return HttpResponse(
            b"".join(line + b"\n" for line in lines),
            content_type="application/x-ndjson",
            headers={"Content-Disposition": f'attachment; filename="run-{run.pk}.jsonl"'},
        )

    def run_is_unknown(self, request: HttpRequest, object_id: str) -> HttpResponse:
        messages.warning(
            request, f"There is no run with the ID “{object_id[:MAX_ID_CHARS]}”. Was it deleted?"
        )
        return HttpResponseRedirect(reverse("admin:index"))


def find_run(object_id: str) -> Run | None:
    """Return the run with its conversation, question and answer; None for any other id."""
    runs = Run.objects.select_related("conversation", "question", "answer")
    try:
        return runs.filter(pk=object_id).first()
    except (ValidationError, ValueError):
        return None


def name_of(kind: StepKind, name: str) -> str:
    match kind:
        case "phase":
            return phase_title(name)
        case "tool":
            return tool_title(name)[0]
        case "agent":
            return title_of(name)


def taken_over(epoch: int, deaths: int) -> str:
    """Return how often, and why, another worker went on with a run."""
    causes = [
        counted(count, "time") + reason
        for count, reason in (
            (deaths, " because its worker had died"),
            (epoch - deaths, " because its worker was stopping"),
        )
        if count
    ]
    return f"Another worker went on with this run: {', '.join(causes)}."


def share(ms: float, total_ms: float | None) -> str:
    return f"{100 * ms / total_ms:.0f} %" if total_ms else ""


def moment(ms: float | None) -> str:
    return "–" if ms is None else duration(ms)


def money(cost: float) -> str:
    currency = settings.FLEET_PRICES.currency if settings.FLEET_PRICES else ""
    return f"{cost:.4f} {currency}".strip()
