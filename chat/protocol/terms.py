"""The words that requests, events and rows share."""

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct, structs

from .errors import WORKER_LOST, ErrorInfo

SUBPROTOCOL_JSON = "fleet.json.v1"
SUBPROTOCOL_HTML = "fleet.html.v1"
SUBPROTOCOL_TOKEN = "fleet.token."  # noqa: S105  # before a token; never chosen

MAX_MESSAGE = 32_000  # characters
NO_NUL = r"^[^\u0000]*$"

Mode = Literal["auto", "light", "full", "plain"]
Path = Literal["light", "full"]
Preference = Literal["economy", "balanced", "quality"]
Effort = Literal["minimal", "medium", "maximal"]
Status = Literal["completed", "cancelled", "failed", "paused"]
# What a person is asked: whether a tool may act, a question of an agent, whether an act that may
# have happened is done again, and what a tool needs to know before it can go on.
AskKind = Literal["approval", "question", "unsure", "form"]
Decision = Literal["approve", "edit", "refuse", "answer", "withdraw"]
# Why the stand-in model was not asked.
Declined = Literal["language", "translation", "length"]
# Service levels, and the kinds of steps that may be slow.
Level = Literal["first_event", "first_token", "total", "cancel", "tool"]
StepKind = Literal["phase", "agent", "tool"]
Category = Literal["status", "step", "tool", "thought", "answer", "ending"]

BALANCED: Preference = "balanced"  # unless a person prefers something else


def in_contract(**keywords: Any) -> Meta:
    """Return a bound as the JSON Schema tells it.

    `__post_init__` checks it, also in values that were not decoded, and with readable messages.
    """
    return Meta(extra_json_schema=keywords)


type ReplyText = Annotated[str, in_contract(maxLength=MAX_MESSAGE, pattern=NO_NUL)]


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds since the run was started; None if the moment never came.

    `phases` and `agents` are durations by name. `waiting_ms` is the part of the total that no
    phase explains; `cancel_ms` is the time from a cancel to the ending; `waited_ms` is the part of
    the total in which the run had no worker.
    """

    first_event_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    phases: dict[str, float] = {}
    agents: dict[str, float] = {}
    waiting_ms: float = 0.0
    cancel_ms: float | None = None
    waited_ms: float = 0.0


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as the model server counted them, or as `estimated` if it doesn't, or was cut."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # input tokens that the server had read before
    reasoning_tokens: int = 0  # output tokens of hidden thinking
    model_calls: int = 0
    tool_calls: int = 0
    cache_hits: int = 0  # tool calls whose result was cached
    search_credits: float = 0  # of the search provider
    estimated: bool = False  # some of the tokens are

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            model_calls=self.model_calls + other.model_calls,
            tool_calls=self.tool_calls + other.tool_calls,
            cache_hits=self.cache_hits + other.cache_hits,
            search_credits=self.search_credits + other.search_credits,
            estimated=self.estimated or other.estimated,
        )


class Slowest(Struct, frozen=True):
    name: str
    duration_ms: float


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which service levels of its path a run missed, judged once, at its ending.

    `missed` has the milliseconds above each limit; it is empty if all were met. `slowest` names the
    slowest phase, agent and tool.
    """

    missed: dict[Level, float] = {}
    slowest: dict[StepKind, Slowest] = {}


class MissedQuote(Struct, frozen=True, omit_defaults=True):
    """A quotation that is not in a source that it cites. It may be in another one of the run."""

    text: str  # its beginning
    cites: list[int]  # numbers of sources
    found_in: int | None = None


class QuoteCheck(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an answer's quotations and citations agree with what was read of its sources."""

    checked: int = 0  # quotations that cite a source
    found: int = 0  # of these, in a source that they cite
    missed: list[MissedQuote] = []  # the first of the others
    unknown: list[int] = []  # numbers that are cited, but belong to no source


class Summary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The figures of a run, as its terminal event carries them. All are empty for a refusal."""

    status: Status | None = None
    timings: Timings = Timings()
    usage: Usage = Usage()
    path: Path | None = None  # None: the run ended before it was routed
    escalated: bool = False
    models: list[str] = []  # those that were called, in the order of their first calls
    sla: Verdict | None = None
    cost: float | None = None  # in the currency of the price list; None if a price is unknown
    waiting: list[UUID] = []  # the asks that a paused run waits for
    declined: Declined | None = None  # the answer says what the stand-in model can't do, and why
    quotes: QuoteCheck | None = None  # None: the answer quotes and cites nothing
    # Earlier messages of the chat that the model which wrote the answer did not get for their
    # number, and those of which it got a summary.
    unread_messages: int = 0
    summarized_messages: int = 0


class AskData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person is asked, as the wire has it.

    `message` is one sentence, the question, or the words of the tool that needs a form. `schema` is
    that of `arguments`: those of the call, or the values that the fields of a form begin with. A
    form with a `url` has no fields: the person opens that page. `approver` is "owner", or
    "perm:app.codename" for staff with that permission.
    """

    ask_id: UUID
    kind: AskKind
    message: str
    tool: str = ""
    call_id: str = ""
    arguments: dict[str, Any] = {}
    schema: dict[str, Any] = {}
    options: list[str] = []
    url: str = ""
    approver: str = "owner"
    expires_at: str = ""  # UTC, ISO 8601


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a run asks a person before it goes on.

    `name` is the step that waits. `digest` identifies the tool, its definition and the arguments:
    what was approved is what runs. `definition` identifies the definition alone.
    """

    agent_id: str
    author: str
    name: str
    data: AskData
    digest: str = ""
    definition: str = ""


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a person decided about one ask.

    `arguments` belong to `edit` and to the answer of a form, `text` to all other answers and to
    `refuse`. `remember`: approve this tool for the rest of the conversation.
    """

    ask_id: UUID
    decision: Decision
    arguments: dict[str, Any] | None = None
    text: ReplyText = ""
    remember: bool = False


# What a summary has beside the figures that are counted while a run goes on.
NO_FIGURES = (
    *("status", "waiting", "declined"),
    *("quotes", "unread_messages", "summarized_messages"),
)


class Ending(Summary, frozen=True, kw_only=True, omit_defaults=True):
    """How a run ended, as its row stores it."""

    status: Status
    error: ErrorInfo | None = None
    # Written for a worker that died. The stored text is all that is known of the answer.
    lost: bool = False
    asks: list[Asked] = []  # of a paused run

    @property
    def summary(self) -> Summary:
        return Summary(**{name: getattr(self, name) for name in Summary.__struct_fields__})

    def with_figures(self, figures: Summary) -> "Ending":
        """Return this ending with these figures. It keeps what is no figure."""
        kept = {name: getattr(self, name) for name in NO_FIGURES}
        return structs.replace(self, **structs.asdict(figures) | kept)


LOST = Ending(status="failed", error=WORKER_LOST, lost=True)
CANCELLED = Ending(status="cancelled")
# A deleted conversation takes its runs along. Those who still follow one get this ending.
DELETED = CANCELLED


def paused(asks: list[Asked]) -> Ending:
    return Ending(status="paused", asks=asks, waiting=[ask.data.ask_id for ask in asks])


def failed(error: ErrorInfo) -> Ending:
    return Ending(status="failed", error=error)
