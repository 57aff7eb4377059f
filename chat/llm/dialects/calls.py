"""The tool calls of an answer, from parts that servers number, name and repeat in many ways."""

import re
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import count

import msgspec

from chat.llm.errors import ModelError
from chat.llm.messages import WantedCall
from tooling.decoding import UNREADABLE_JSON
from tooling.sentences import sentence

from .normal import CallDelta

MAX_ARGUMENT_CHARS = 256 * 1024  # Characters in the arguments of all tool calls of one answer.
MAX_CALLS = 32  # Tool calls of one answer. Further calls are dropped.
MAX_ID_CHARS = 64  # Characters of a call's id.
MAX_NAME_CHARS = 200  # Characters of a tool's name, which the model may have invented.
NO_ARGUMENTS = "{}"
JSON_MARK = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)
# What models write around a tool's name, such as `functions.clock:0`.
NAME = re.compile(r"\s*(?:(?:functions?|tools?|default_api)[.:/])?([\w-]+)(?:[\s:<].*)?", re.DOTALL)
TOO_LONG_ARGUMENTS = sentence("The model called tools with arguments that are too long.")


class JsonEnd:
    """Finds the end of a JSON object, array or string, however its text is cut."""

    __slots__ = ("_depth", "_is_escaped", "_is_string")

    def __init__(self) -> None:
        self._depth = 0
        self._is_string = False
        self._is_escaped = False  # the text so far ends in a backslash

    @property
    def is_inside(self) -> bool:
        """Return True if a document has begun, but not ended."""
        return self._depth > 0 or self._is_string

    @property
    def is_string(self) -> bool:
        """Return True if the text so far ends in a string."""
        return self._is_string

    def find(self, text: str, start: int = 0, stop: int | None = None) -> int | None:
        """Read on from `start`. Return the index behind the document, or None if it goes on."""
        stop = len(text) if stop is None else stop
        if self._is_escaped and stop > start:
            self._is_escaped = False
            start += 1
        for mark in JSON_MARK.finditer(text, start, stop):
            match mark[0]:
                case '"':
                    self._is_string = not self._is_string
                    if not self.is_inside:
                        return mark.end()
                case "\\":
                    self._is_escaped = mark.end() == stop
                case _ if self._is_string:
                    continue
                case "{" | "[":
                    self._depth += 1
                case "}" | "]":
                    self._depth = max(0, self._depth - 1)
                    if not self._depth:
                        return mark.end()
        return None


@dataclass(slots=True)
class PartialCall:
    """A tool call whose arguments are still arriving."""

    index: int | None  # The server's number for it. Some servers give all calls the same one.
    id: str = ""
    name: str = ""
    parts: list[str] = field(default_factory=list)
    chars: int = 0  # of all parts
    is_whole: bool = False  # The arguments so far are complete JSON.
    end: JsonEnd = field(default_factory=JsonEnd)

    def add(self, delta: CallDelta, name: str) -> None:
        self.id = self.id or delta.id
        self.name = name
        if delta.arguments:
            self.is_whole = self.is_whole or self.end.find(delta.arguments) is not None
            self.parts.append(delta.arguments)
            self.chars += len(delta.arguments)

    def is_continued_by(self, delta: CallDelta, tools: Collection[str]) -> bool:
        """Return False if `delta` begins another call.

        It does if it names itself anew after complete arguments. Before that, a new name shows it,
        or a new id with a name: some servers give each part an id of its own.
        """
        is_new_id = bool(self.id and delta.id and delta.id != self.id)
        if self.is_whole:
            return not delta.name and not is_new_id
        if not self.name or not (delta.name or is_new_id):
            return True
        if delta.name and self.name_with(delta.name, tools) is None:
            return False
        if not is_new_id:
            return True
        is_part = bool(delta.arguments)
        return is_part and (
            not delta.name or (self.chars > 0 and not delta.arguments.startswith("{"))
        )

    def is_repeated_by(self, delta: CallDelta) -> bool:
        """Return True if `delta` is this call once more, whole."""
        return (
            self.is_whole
            and len(delta.arguments) == self.chars
            and delta.arguments == "".join(self.parts)
            and delta.id in ("", self.id)
            and delta.name in ("", self.name)
        )

    def name_with(self, part: str, tools: Collection[str]) -> str | None:
        """Return the name together with another part of it; None if that is another tool's name."""
        if not part or part == self.name:
            return self.name
        if self.parts and self.name:
            return None
        together = self.name + part
        if part not in tools and any(tool.startswith(together) for tool in tools):
            return together
        if self.name in tools:
            return None
        return part if part in tools or part.startswith(self.name) else together


class PartialCalls:
    """The tool calls of one answer. `tools` are the names of those that were offered."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        self.has_dropped = False  # There were more than MAX_CALLS.
        self._tools = tools
        self._calls: list[PartialCall] = []
        # The call that a part belongs to: the latest at its index, with its id, or of all.
        self._at_index: dict[int, PartialCall] = {}
        self._with_id: dict[str, PartialCall] = {}
        self._latest: PartialCall | None = None
        self._chars = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def are_whole(self) -> bool:
        """Return True if there are calls, and the arguments of each are complete JSON."""
        return bool(self._calls) and all(call.is_whole for call in self._calls)

    def add(self, deltas: Sequence[CallDelta]) -> None:
        for delta in deltas:
            if len(delta.id) > MAX_ID_CHARS or len(delta.name) > MAX_NAME_CHARS:
                delta = msgspec.structs.replace(
                    delta, id=delta.id[:MAX_ID_CHARS], name=delta.name[:MAX_NAME_CHARS]
                )
            self.add_part(delta)

    def add_part(self, delta: CallDelta) -> None:
        call = self.call_before(delta)
        if call and call.is_repeated_by(delta):
            return
        if call and not call.is_continued_by(delta, self._tools):
            call = None
        if call is None:
            call = self.begin(delta)
        if call is None:
            self.has_dropped = True
            return
        call.add(delta, (call.name_with(delta.name, self._tools) or delta.name)[:MAX_NAME_CHARS])
        if delta.id:
            self._with_id[delta.id] = call
        self._latest = call
        self._chars += len(delta.arguments)
        if self._chars > MAX_ARGUMENT_CHARS:
            raise ModelError(
                "model_error",
                TOO_LONG_ARGUMENTS,
            )

    def call_before(self, delta: CallDelta) -> PartialCall | None:
        """Return the call that `delta` may continue, by its index, its id, or as the latest."""
        by_id = self._with_id.get(delta.id)
        if delta.index is None:
            return by_id or self._latest
        by_index = self._at_index.get(delta.index)
        if by_index:
            # All parts may have one index, or all calls one id. The id counts if it differs.
            is_other = by_id and delta.id != by_index.id
            return by_id if is_other else by_index
        # A part that names nothing continues a call, even if its index is new.
        return None if delta.name else by_id or (None if delta.id else self._latest)

    def begin(self, delta: CallDelta) -> PartialCall | None:
        """Return a new call that begins with `delta`; None if there are too many calls."""
        # Close the index, or the rest of a call too many would continue the one before it.
        self._latest = None
        if delta.index is not None:
            self._at_index.pop(delta.index, None)
        if len(self._calls) == MAX_CALLS:
            return None
        call = PartialCall(delta.index)
        self._calls.append(call)
        if delta.index is not None:
            self._at_index[delta.index] = call
        return call

    def finish(self, taken: Set[str] = frozenset()) -> list[WantedCall]:
        """Return the calls in the server's order. Their ids are unique, also against `taken`."""
        calls = [call for call in self._calls if call.name or call.parts]
        indexes = [call.index for call in calls]
        if None not in indexes:
            calls.sort(key=lambda call: call.index or 0)
        used = set(taken)
        own_ids = (f"call{number:05}" for number in count())  # Nine characters: Mistral insists.
        wanted = []
        for call in calls:
            is_unique = call.id and call.id not in used
            id_ = call.id if is_unique else next(id_ for id_ in own_ids if id_ not in used)
            used.add(id_)
            wanted.append(WantedCall(id_, known_name(call.name, self._tools), whole(call.parts)))
        return wanted


def known_name(name: str, tools: Collection[str]) -> str:
    """Return the offered tool that a name such as `functions.clock:0` means, or the name."""
    found = NAME.fullmatch(name)
    return found[1] if found and name not in tools and found[1] in tools else name


def whole(parts: Sequence[str]) -> str:
    """Return the arguments as the JSON text of an object, if they can be read as one."""
    text = "".join(parts)
    for candidate in candidates(parts, text):
        if (found := object_in(candidate)) is not None:
            return found
    return text


def candidates(parts: Sequence[str], text: str) -> Iterator[str]:
    """Yield texts that may be the arguments, the most likely first."""
    yield text
    if len(parts) > 1 and len(parts[-1]) > len(parts[0]) and parts[-1].startswith(parts[0]):
        yield parts[-1]  # Each part repeats those before it.
    if text.startswith(NO_ARGUMENTS):
        yield text.removeprefix(NO_ARGUMENTS)  # The server's default came before the arguments.
    end = JsonEnd().find(text)
    if end is not None:
        yield text[:end]


def object_in(text: str) -> str | None:
    """Return the JSON object that `text` holds, also as a string; None if it holds none."""
    if not text.strip():
        return NO_ARGUMENTS
    try:
        value = msgspec.json.decode(text)
        if isinstance(value, str):
            text, value = value, msgspec.json.decode(value or NO_ARGUMENTS)
    except UNREADABLE_JSON:
        return None
    if value is None:
        return NO_ARGUMENTS
    return text if isinstance(value, dict) else None
