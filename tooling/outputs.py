"""Whatever a tool returns, as an `Output` that is not much longer than a model reads of it."""

import json
import math
from collections import deque
from collections.abc import (
    AsyncIterable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from inspect import isawaitable, iscoroutine
from typing import Any

import msgspec

from .results import Output, Passage

LISTINGS = (list, tuple, set, frozenset, range, deque, KeysView, ValuesView, ItemsView, Iterator)
MAX_DEPTH = 40
MAX_PASSAGES = 100
NO_RESULT = "It was called, and returned no result."
# Where the text of a result is cut later. Characters that are removed until then count, too.
ROOM_PER_CHAR = 2


class UnusableResult(Exception):
    """Raised for a result that has no text; says how to write it."""


def output_of(result: object, max_chars: int) -> Output:
    """Return the result for a model. Raise UnusableResult if it has no text."""
    room = max_chars * ROOM_PER_CHAR
    match result:
        case None:
            return Output(NO_RESULT)
        case str():
            return Output(str(result[:room]))
        case Output():
            passages = tuple(checked(each) for each in result.passages[:MAX_PASSAGES])
            return Output(text_of(result.text, room), passages, credits_of(result.credits))
        case Passage():
            return Output(passages=(checked(result),))
        case bytes() | bytearray() | memoryview():
            return Output(decoded(bytes(result[:room]), is_whole=len(result) <= room))
    if is_listing(result):
        return listed(result, room)
    return Output(text_of(result, room))


def credits_of(spent: object) -> float:
    is_number = isinstance(spent, int | float) and not isinstance(spent, bool)
    return float(spent) if is_number and 0 <= spent < math.inf else 0.0  # type: ignore[arg-type,operator]


def checked(passage: object) -> Passage:
    """Return the passage with texts in all its fields: its author may have put in anything."""
    if not isinstance(passage, Passage):
        raise UnusableResult(f"the passages of its Output hold {a(passage)}. Put in Passage alone")
    texts = (passage.title, passage.url, passage.text, passage.published)
    if all(isinstance(each, str) for each in texts[:3]) and isinstance(texts[3], str | None):
        return passage
    title, url, text, published = ("" if each is None else str(each) for each in texts)
    return Passage(title, url, text, published or None)


def is_listing(result: object) -> bool:
    """Return True for what is read item by item, without names for them."""
    if isinstance(result, Mapping | msgspec.Struct | Enum) or hasattr(result, "_fields"):
        return False
    # One with a text of its own, such as a table, is shown as that.
    return isinstance(result, Iterable) and (isinstance(result, LISTINGS) or has_no_text(result))


def has_no_text(value: object) -> bool:
    """Return True if `str` would write no more than the address of the value."""
    kind: Any = type(value)
    return bool(kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__)


def listed(result: Any, room: int) -> Output:
    """Return the items: passages as such, and all others as JSON."""
    passages: list[Passage] = []
    others: list[Any] = []
    plain = Plain(room)
    for item in result:
        if isinstance(item, Passage | Output):
            found = output_of(item, room)
            passages += found.passages
            if found.text:
                others.append(found.text)
        else:
            others.append(plain.of(item))
        if plain.room <= 0 or len(passages) >= MAX_PASSAGES:
            break
    if passages and all(isinstance(each, str) for each in others):
        return Output("\n".join(others)[:room], tuple(passages[:MAX_PASSAGES]))
    text = "" if passages and not others else as_json(others)
    return Output(text[:room], tuple(passages[:MAX_PASSAGES]))


async def collected(result: AsyncIterable[Any], max_chars: int) -> list[Any]:
    """Return the first items of what is read with `async for`."""
    found = []
    async for item in result:
        found.append(item)
        if len(found) >= max_chars:
            break
    return found


def text_of(result: Any, room: int) -> str:
    """Return any value as a text: JSON for one with parts."""
    plain = Plain(room).of(result)
    return plain[:room] if isinstance(plain, str) else as_json(plain)[:room]


def as_json(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False)


def decoded(data: bytes, *, is_whole: bool) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        # One that is cut may end within a character.
        if not is_whole and exc.start >= len(data) - 4:
            return data[: exc.start].decode()
        raise UnusableResult("it returned bytes that are no text in UTF-8. Return a text") from exc


def a(value: object) -> str:
    return f"a {type(value).__name__}"


class Plain:
    """Makes values of any type into those of JSON, until there is no more room for characters."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._within: list[int] = []  # ids of what holds the current value

    def of(self, value: Any) -> Any:
        """Return the value as JSON has it. Raise UnusableResult for one that has no text."""
        simple = self.simple(value)
        if simple is not NotImplemented:
            self.room -= len(simple) + 2 if isinstance(simple, str) else 4
            return simple
        if id(value) in self._within:
            raise UnusableResult(f"it returned {a(value)} that holds itself. Return a text")
        if len(self._within) >= MAX_DEPTH:
            raise UnusableResult(f"it returned more than {MAX_DEPTH} levels. Return a text")
        self._within.append(id(value))
        try:
            return self.parts(value)
        finally:
            self._within.pop()

    def simple(self, value: Any) -> Any:
        """Return a value without parts; NotImplemented for one that has some."""
        match value:
            case Enum():
                return self.simple(value.value)
            case None | bool():
                return value
            case int():
                # Longer ones take long to write, and raise ValueError.
                return int(value) if abs(value) < 2**64 else hex(value)[: max(0, self.room)]
            case float():
                return float(value) if math.isfinite(value) else str(value)
            case str():
                return str(value[: max(0, self.room)])
            case bytes() | bytearray() | memoryview():
                room = max(0, self.room)
                return decoded(bytes(value[:room]), is_whole=len(value) <= room)
            case datetime() | date() | time():
                return value.isoformat()
            case timedelta():
                return str(value)
        return NotImplemented

    def parts(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.named(value.items())
        if isinstance(value, msgspec.Struct):
            return self.named((name, getattr(value, name)) for name in value.__struct_fields__)
        if is_dataclass(value) and not isinstance(value, type):
            return self.named((each.name, getattr(value, each.name)) for each in fields(value))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self.named(zip(value._fields, value, strict=False))
        if callable(dump := getattr(type(value), "model_dump", None)):
            return self.of(dump(value))
        if is_listing(value):
            return list(self.items(value))
        if isawaitable(value):
            if iscoroutine(value):
                value.close()  # it would be warned of without a place
            raise UnusableResult(f"it returned {a(value)} that nobody awaits: `await` is missing")
        if has_no_text(value) or isinstance(value, type) or callable(value):
            raise UnusableResult(
                f"it returned {a(value)}, which has no text. Return a text, a number, a list, a"
                " dict or a dataclass"
            )
        return self.of(str(value))

    def named(self, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        found = {}
        for name, value in pairs:
            if self.room <= 0:
                break
            key = self.simple(name)
            key = str(name) if key is NotImplemented or not isinstance(key, str) else key
            key = key[: self.room]
            self.room -= len(key)
            found[key] = self.of(value)
        return found

    def items(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            if self.room <= 0:
                break
            yield self.of(value)
