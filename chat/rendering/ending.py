"""The foot of an answer: its sources, how it ended and why, and what one can do about it."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import RouteData, SourceData
from chat.protocol.terms import Mode, Path, Status, Timings, Usage
from tooling.untrusted import web_host

from .timeline import phase_title
from .wording import capital, counted, duration, shortened

PATHS: dict[Path, str] = {"light": "Light", "full": "Full team"}
OUTCOMES: dict[Status, str] = {"completed": "complete", "cancelled": "stopped", "failed": "failed"}
MAX_TITLE_CHARS = 150  # characters of a source's title
HELP: dict[Code, str] = {
    "model_unavailable": "Set OPENAI_BASE_URL to a model server that runs, or unset it to use the built-in model. Then start again.",
    "model_error": "OPENAI_BASE_URL says where the model is, OPENAI_API_KEY is its key, FLEET_MODEL its name.",
    "context_too_long": "Begin a new chat, or ask with less text.",
}
NEEDS_ACTION: frozenset[Code] = frozenset(
    {*HELP, "forbidden", "bad_request", "storage_unavailable", "too_many_runs"}
)
NOTHING_TO_REPEAT: frozenset[Code] = frozenset({"forbidden", "bad_request", "context_too_long"})


@dataclass(frozen=True, slots=True)
class SourceLink:
    """A source as it is shown. The host is read from the address itself; an address that may not be followed is left out."""

    number: int
    title: str
    url: str
    host: str
    published: date | None

    @classmethod
    def of(cls, source: SourceData) -> "SourceLink":
        host = web_host(source.url)
        title = shortened(source.title, MAX_TITLE_CHARS) or host or "Untitled"
        return cls(source.number, title, source.url if host else "", host, day(source.published))


def day(published: str | None) -> date | None:
    try:
        return date.fromisoformat((published or "")[:10])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no whole answer, in words, and what one can do."""

    words: str
    wait: int | None = None  # seconds that the page counts down
    after_wait: str = ""
    help: str = ""
    code: str = ""
    workflow_id: str = ""
    urgent: bool = False
    show_running: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """Why an answer went the way it did, in words."""

    sentences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The foot of an answer that has ended, or was refused."""

    status: Status
    label: str
    path: str = ""
    badges: tuple[str, ...] = ()
    why: Why | None = None
    trouble: Trouble | None = None
    mode: Mode = "auto"  # that the question was asked in
    can_copy: bool = False
    can_ask_again: bool = True
    can_continue: bool = False
    can_use_team: bool = False
    can_search_again: bool = False
    can_rate: bool = False


def why_of(route: RouteData | None, timings: Timings, usage: Usage) -> Why | None:
    """None where nothing is known but the path."""
    spent = _spent(timings, usage)
    if route is None:
        return Why(rest=spent) if spent else None
    if route.escalated:
        reason = f": {shortened(route.reasons[0])}" if route.reasons else ""
        # The first word was one that was taken back.
        return Why((f"Light, then the full team{reason}.",), rest=_spent(Timings(), usage))
    skipped = ", ".join(phase_title(phase).lower() for phase in route.skipped)
    rest = ((f"Skipped: {skipped}.",) if skipped else ()) + spent
    sure = f"{_percent(route.confidence)} sure that one agent suffices."
    if route.mode != "auto":
        return Why((f"{PATHS[route.path]}: asked for by you.", sure), rest=rest)
    reasons = tuple(capital(shortened(reason)) for reason in route.reasons)
    return Why((sure,), reasons, rest)


def _percent(probability: float) -> str:
    percent = round(probability * 100)
    if percent > 99:
        return "More than 99 %"
    return f"{percent} %" if percent >= 1 else "Less than 1 %"


def _spent(timings: Timings, usage: Usage) -> tuple[str, ...]:
    parts = []
    if timings.first_token_ms is not None:
        parts.append(f"First word after {duration(timings.first_token_ms)}.")
    if usage.model_calls:
        calls = counted(usage.model_calls, "model call")
        parts.append(
            f"{calls}: {usage.input_tokens:,} tokens read, {usage.output_tokens:,} written."
        )
    return (" ".join(parts),) if parts else ()


def trouble_of(error: ErrorInfo, workflow_id: str, *, ended_at: datetime | None) -> Trouble:
    """`ended_at`: what was to be waited for then may be over."""
    words, wait, rest = error.message, None, ""
    if error.code == "rate_limited" and (match := re.search(r"\bin (\d{1,4}) s\b", words)):
        over = (datetime.now(UTC) - ended_at).total_seconds() if ended_at else 0
        words, wait, rest = (
            words[: match.start()],
            max(0, int(match[1]) - int(over)),
            words[match.end() :],
        )
    # A model that failed once may do better; one that will fail again needs another setting.
    needs_action = error.code in NEEDS_ACTION and not (
        error.code == "model_error" and error.retryable
    )
    return Trouble(
        words=words,
        wait=wait,
        after_wait=rest,
        help=HELP.get(error.code, "") if needs_action else "",
        code=error.code,
        workflow_id=workflow_id,
        urgent=needs_action,
        show_running=error.code == "too_many_runs",
    )
