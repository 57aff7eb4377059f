"""Tool calls as values: one that may be made, its result, and why it was not made."""

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .decoding import UNREADABLE_JSON
from .registry import Tool
from .schema import Arguments, InvalidArguments, Json
from .untrusted import cut, without_nul

MAX_ARGUMENT_BYTES = 8192

type Reason = Literal[
    "unknown_tool", "invalid_arguments", "not_allowed", "cap_reached", "malformed", "refused"
]
type FailureKind = Literal["temporary", "permanent"]


@dataclass(frozen=True, slots=True)
class Source:
    """A page or a document that a result quotes. It keeps its number for the whole run."""

    number: int
    title: str
    url: str  # empty without an address that browsers can open, and so is `host`
    host: str
    published: str | None  # ISO date


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a result's text has of a source: the characters from `start` to `end`."""

    number: int  # of the source
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call that was made. The model reads `text`, also if the call failed."""

    name: str
    text: str
    ok: bool = True
    failure: FailureKind | None = None
    message: str = ""  # of a failure, for a person
    cached: bool = False
    age_s: float | None = None  # of a cached result
    stale: bool = False  # too old, but used because upstream failed
    repeated: bool = False  # the same call was made before in this run
    sources: tuple[Source, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()
    duration_ms: float = 0
    credits: float = 0  # spent by this call
    untrusted: bool = False  # it holds text from outside


@dataclass(frozen=True, slots=True)
class Rejection:
    """A call that was not made. The model reads `text`, which is shorter if it repeats the call."""

    name: str
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be made. `arguments` leaves out those that equal their defaults."""

    name: str
    arguments: Arguments
    repeated: bool
    tool: Tool = field(repr=False)
    effective: Arguments = field(repr=False)
    key: str = field(repr=False)


class NotMade(Exception):
    """Raised for a call that must not be made; `text` tells the model what to do instead."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason
        self.text = text


def checked(tool: Tool, arguments: str | dict[str, Any]) -> Arguments:
    """Return the arguments with their defaults; raise NotMade if they don't fit."""
    try:
        raw = arguments.encode() if isinstance(arguments, str) else msgspec.json.encode(arguments)
        if len(raw) > MAX_ARGUMENT_BYTES:
            raise NotMade(
                "invalid_arguments", f"The arguments are longer than {MAX_ARGUMENT_BYTES} bytes."
            )
        given: Json = msgspec.json.decode(without_nul(raw) or b"{}")
        if isinstance(given, str):
            # Some models encode the object twice.
            given = msgspec.json.decode(without_nul(given.encode()) or b"{}")
    except (*UNREADABLE_JSON, TypeError) as exc:
        known = ", ".join(tool.parameters.schema["properties"])
        raise NotMade(
            "malformed",
            f"The arguments of {tool.name} are not a JSON object: {cut(str(exc), 100)}."
            f" Send one object with: {known}.",
        ) from exc
    if not isinstance(given, dict):
        raise NotMade("malformed", f"The arguments of {tool.name} must be one JSON object.")
    try:
        return tool.parameters.check(given)
    except InvalidArguments as exc:
        raise NotMade(
            "invalid_arguments", f"The arguments of {tool.name} do not fit: {exc}."
        ) from exc
