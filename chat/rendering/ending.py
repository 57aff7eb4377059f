"""What stands below an answer: its sources, how and why it ended, and what the reader can do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

import msgspec
from django.conf import settings
from django.utils.translation import gettext, gettext_lazy, ngettext, pgettext, pgettext_lazy

from chat.llm.offers import offers
from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.payloads import RouteData, SourceData
from chat.protocol.terms import Ending, Mode, Path, Status, Timings, Usage
from routing.reasons import PHRASES
from tooling.sentences import localized, sentence
from tooling.untrusted import web_host

from .asks import AskView, closing_words, waiting_label
from .remarks import missed_quotes_of, remarks_of
from .timeline import phase_title
from .wording import (
    about,
    age,
    cached_share,
    cached_words,
    capitalized,
    duration,
    listed,
    money,
    number,
    seconds_words,
    shortened,
    tokens_written,
)

PATHS = {"light": gettext_lazy("Light"), "full": gettext_lazy("Full team")}
OUTCOMES = {  # the label of a paused one depends on what it asks
    "completed": pgettext_lazy("answer", "complete"),
    "cancelled": pgettext_lazy("answer", "stopped"),
    "failed": pgettext_lazy("answer", "failed"),
}
MAX_MODEL_CHARS = 40  # of a model's name below an answer
MAX_TITLE_CHARS = 150  # characters of a source's title
NEEDS_ACTION: frozenset[Code] = frozenset(
    {
        "model_unavailable",
        "model_error",
        "context_too_long",
        "forbidden",
        "bad_request",
        "storage_unavailable",
        "too_many_runs",
        "too_many_requests",
        "quota_exceeded",
    }
)
# Errors whose message says how many seconds to wait. The page counts them down.
COUNTED_DOWN: frozenset[Code] = frozenset({"rate_limited", "too_many_requests"})
for phrase in PHRASES:  # routing knows nothing of sentences
    sentence(phrase)
# These errors are of the model that was asked, so another one may answer.
OF_THE_MODEL: frozenset[Code] = frozenset(
    {"model_unavailable", "model_error", "rate_limited", "first_chunk_timeout"}
)
# After these errors the same question would fail again.
NOTHING_TO_REPEAT: frozenset[Code] = frozenset({"forbidden", "bad_request", "context_too_long"})

# Below an answer that is a tool's result, which no model has phrased.
EXACT = {
    "calculator": gettext_lazy("exact, by the calculator"),
    "clock": gettext_lazy("exact, by the clock"),
}

Button = Literal["copy", "continue", "ask_again", "ask_anyway", "use_team", "search_again", "rate"]


@dataclass(frozen=True, slots=True)
class SourceLink:
    """A source as the page shows it.

    The host is read from the address itself, because a search result may name another one. An
    address that must not be followed, such as `javascript:`, is left out.
    """

    number: int
    title: str
    url: str
    host: str
    published: date | None

    @classmethod
    def of(cls, source: SourceData) -> "SourceLink":
        host = web_host(source.url)
        title = shortened(source.title, MAX_TITLE_CHARS) or host or gettext("Untitled")
        return cls(source.number, title, source.url if host else "", host, day(source.published))


def day(published: str | None) -> date | None:
    try:
        return date.fromisoformat((published or "")[:10])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an answer is missing or incomplete, and what the reader can do about it."""

    message: str
    wait: int | None = None  # seconds that the page counts down after the message
    when: str = ""  # the wait in words
    after_wait: str = ""  # the rest of the message, after the countdown
    code: str = ""
    workflow_id: str = ""
    is_urgent: bool = False
    show_running: bool = False
    is_too_long: bool = False  # for the model: a new chat has room again


@dataclass(frozen=True, slots=True)
class Why:
    """Why an answer took its path, and what it cost, as sentences."""

    sentences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSoFar:
    """What is known of an answer when it ends."""

    workflow_id: str  # empty for a refusal: it has no run
    has_text: bool
    route: RouteData | None  # the last one; None if the run ended before it was routed
    oldest_cached_at: datetime | None  # when its oldest result from the cache was fetched
    is_stale: bool  # a result from the cache was older than it should be
    tools: frozenset[str] = frozenset()  # that gave a result
    model_asked: str = ""  # that the person chose
    asks: Sequence[AskView] = ()  # what a paused run asks
    is_withdrawn: bool = False  # the person took back what was asked

    @property
    def waits(self) -> bool:
        return any(ask.is_open for ask in self.asks)


@dataclass(frozen=True, slots=True)
class End:
    """The foot of an answer that has ended or was refused."""

    status: Status
    label: str
    path: str
    badges: tuple[str, ...]
    remarks: tuple[str, ...]
    missed_quotes: tuple[str, ...]
    why: Why | None
    trouble: Trouble | None
    mode: Mode  # that the question was asked in
    buttons: frozenset[Button]


def end_of(ending: Ending, answer: AnswerSoFar, *, ended_at: datetime | None = None) -> End:
    """Return the foot of an answer that has ended or was refused.

    Pass `ended_at` for an answer from history: the wait that its error asks for may be over.
    """
    path = path_title(ending.path) if ending.path else ""
    is_paused = ending.status == "paused"
    outcome = waiting_label(answer.asks) if is_paused else str(OUTCOMES[ending.status])
    return End(
        status=ending.status,
        label=listed([path, outcome]) if path else outcome,
        path=path,
        badges=badges_of(ending, answer),
        remarks=remarks_of(ending),
        missed_quotes=missed_quotes_of(ending),
        why=why_of(answer, ending) if answer.workflow_id else None,
        trouble=trouble_of(ending, answer, ended_at=ended_at),
        mode=answer.route.mode if answer.route else "auto",
        buttons=buttons_of(ending, answer),
    )


def path_title(path: Path) -> str:
    return str(PATHS[path])


def badges_of(ending: Ending, answer: AnswerSoFar) -> tuple[str, ...]:
    badges = [str(EXACT[tool]) for tool in exact_tools_of(ending, answer)]
    if settings.BUILTIN_MODEL in ending.models:
        badges.append(gettext("stand-in model"))
    if answer.model_asked:
        name = settings.FLEET_MODELS.get(answer.model_asked) or answer.model_asked
        badges.append(shortened(name, MAX_MODEL_CHARS))
    if ending.timings.total_ms is not None:
        badges.append(duration(ending.timings.total_ms))
    if count := ending.usage.tool_calls:
        words = ngettext("%(count)s tool", "%(count)s tools", count)
        badges.append(words % {"count": number(count)})
    if ending.usage.output_tokens:
        badges.append(tokens_written(ending.usage))
    if ending.usage.cached_tokens:
        badges.append(cached_words(ending.usage))
    if cost := money_of(ending):
        badges.append(cost)
    if answer.oldest_cached_at:
        old = age((datetime.now(UTC) - answer.oldest_cached_at).total_seconds())
        words = (
            gettext("cached %(period)s ago, stale")
            if answer.is_stale
            else gettext("cached %(period)s ago")
        )
        badges.append(words % {"period": old})
    return tuple(badges)


def exact_tools_of(ending: Ending, answer: AnswerSoFar) -> list[str]:
    """Return the tools whose results are the whole answer, word for word."""
    is_phrased = ending.usage.model_calls > 0
    return [] if is_phrased or not answer.has_text else sorted(answer.tools & EXACT.keys())


def buttons_of(ending: Ending, answer: AnswerSoFar) -> frozenset[Button]:
    """Return the buttons below the answer. Templates ask `"copy" in end.buttons`."""
    is_complete = ending.status == "completed"
    offered: dict[Button, bool] = {
        "copy": answer.has_text and bool(answer.workflow_id),
        "continue": ending.status == "cancelled" and answer.has_text,
        "ask_again": not answer.waits
        and not ending.declined
        and (ending.error is None or ending.error.code not in NOTHING_TO_REPEAT),
        "ask_anyway": ending.declined is not None,
        "use_team": is_complete and ending.path == "light" and not settings.FLEET_MODEL_IS_STAND_IN,
        "search_again": is_complete and answer.oldest_cached_at is not None,
        "rate": is_complete and not ending.declined,
    }
    return frozenset(button for button, is_offered in offered.items() if is_offered)


def why_of(answer: AnswerSoFar, ending: Ending) -> Why | None:
    """Return why an answer took its path; None if nothing but the path is known."""
    route = answer.route
    # A run that ended before it was routed has no reason to give, but perhaps a cost.
    chosen: tuple[str, ...] = (
        (gettext("Model: %(model)s, chosen by you.") % {"model": answer.model_asked},)
        if answer.model_asked
        else ()
    )
    if route is not None and route.personal:
        chosen += (gettext("Your instructions went with the question."),)
    rest = chosen + cost_of(ending)
    if route is None:
        return Why(rest=rest) if rest else None
    if route.escalated:
        sentence = gettext("Light, then the full team.")
        if route.reasons:
            reason = shortened(localized(route.reasons[0]))
            sentence = gettext("Light, then the full team: %(reason)s.") % {"reason": reason}
        # Without timings: the first word was in the light answer, which was taken back.
        rest = chosen + cost_of(msgspec.structs.replace(ending, timings=Timings()))
        return Why((sentence,), rest=rest)
    if route.skipped:
        phases = listed(phase_title(phase) for phase in route.skipped)
        rest = (gettext("Skipped: %(phases)s.") % {"phases": phases}, *rest)
    confidence = gettext("%(percent)s sure that one agent suffices.") % {
        "percent": percent_of(route.confidence)
    }
    if route.mode != "auto":
        asked = gettext("%(path)s: asked for by you.") % {"path": path_title(route.path)}
        return Why((asked,) if route.mode == "plain" else (asked, confidence), rest=rest)
    reasons = tuple(capitalized(shortened(localized(reason))) for reason in route.reasons)
    return Why((confidence,), reasons, rest)


def percent_of(probability: float) -> str:
    # A router is never certain, so don't round to 0 or 100.
    percent = round(probability * 100)
    if percent > 99:
        return gettext("More than 99 %")
    return f"{percent} %" if percent >= 1 else gettext("Less than 1 %")


def cost_of(ending: Ending) -> tuple[str, ...]:
    usage, first_token_ms = ending.usage, ending.timings.first_token_ms
    sentences = []
    if first_token_ms is not None:
        after = gettext("First word after %(period)s.")
        sentences.append(after % {"period": duration(first_token_ms)})
    if usage.model_calls:
        sentences.append(tokens_sentence(usage))
    if usage.cached_tokens:
        sentences.append(cached_sentence(usage))
    if cost := money_of(ending):
        sentences.append(gettext("Cost: %(cost)s.") % {"cost": cost})
    return (" ".join(sentences),) if sentences else ()


def tokens_sentence(usage: Usage) -> str:
    read = number(usage.input_tokens)
    words = (
        ngettext(
            "%(calls)s model call: %(read)s tokens read, %(written)s written (estimated).",
            "%(calls)s model calls: %(read)s tokens read, %(written)s written (estimated).",
            usage.model_calls,
        )
        if usage.estimated
        else ngettext(
            "%(calls)s model call: %(read)s tokens read, %(written)s written.",
            "%(calls)s model calls: %(read)s tokens read, %(written)s written.",
            usage.model_calls,
        )
    )
    return words % {
        "calls": number(usage.model_calls),
        "read": about(read) if usage.estimated else read,
        "written": number(usage.output_tokens),
    }


def cached_sentence(usage: Usage) -> str:
    words = ngettext(
        "%(cached)s of the tokens read (%(percent)s) was in the model server's cache.",
        "%(cached)s of the tokens read (%(percent)s) were in the model server's cache.",
        usage.cached_tokens,
    )
    return words % {"cached": number(usage.cached_tokens), "percent": cached_share(usage)}


def money_of(ending: Ending) -> str:
    """Return what the answer cost in money; empty if a price isn't known."""
    if ending.cost is None or settings.FLEET_PRICES is None:
        return ""
    return money(ending.cost, settings.FLEET_PRICES.currency)


def trouble_of(ending: Ending, answer: AnswerSoFar, *, ended_at: datetime | None) -> Trouble | None:
    """Return why the answer is missing or incomplete; None if it is complete, or waits."""
    error = ending.error
    if error is None:
        if ending.status == "paused":
            return None if answer.waits else Trouble(closing_words(answer.asks))
        stopped = (
            gettext("You took the question back.")
            if answer.is_withdrawn
            else pgettext("answer", "Stopped.")
        )
        return Trouble(stopped) if ending.status == "cancelled" else None
    message, wait, after_wait = without_wait(error, ended_at)
    when = gettext("in %(period)s") % {"period": seconds_words(wait)} if wait else gettext("now")
    # A model that failed once may succeed now; if it can't be retried, a setting must change.
    needs_action = error.code in NEEDS_ACTION and not (
        error.code == "model_error" and error.retryable
    )
    chosen = answer.model_asked
    if chosen and error.code in OF_THE_MODEL and any(each.id != chosen for each in offers()):
        advice = " " + gettext("You can also choose another model.")
        message, after_wait = (
            (message, after_wait + advice) if wait is not None else (message + advice, after_wait)
        )
    return Trouble(
        message=message,
        wait=wait,
        when=when,
        after_wait=after_wait,
        code=error.code,
        workflow_id=answer.workflow_id,
        is_urgent=needs_action,
        show_running=error.code == "too_many_runs",
        is_too_long=error.code == "context_too_long",
    )


def without_wait(error: ErrorInfo, ended_at: datetime | None) -> tuple[str, int | None, str]:
    """Split "Try again in 20 s." into the text before, the seconds that remain, and the rest.

    The texts are in the active language.
    """
    # From the message, because rows of earlier versions have them nowhere else. They count from the
    # time of the ending.
    found = re.search(r"\bin (\d{1,4}) s\b", error.message)
    if error.code not in COUNTED_DOWN or found is None:
        return localized(error.message), None, ""
    passed = (datetime.now(UTC) - ended_at).total_seconds() if ended_at else 0
    wait = max(0, int(found[1]) - int(passed))
    # The sign keeps the place of the wait, wherever the language has it.
    sign = "\ufdd0"
    message = localized(error.message[: found.start()] + sign + error.message[found.end() :])
    before, _, after = message.partition(sign)
    return before, wait, after
