"""Events of runs, rendered and read back."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chat.doors.responses.objects import ResponseObject
from chat.doors.responses.rendering import Rendering
from chat.protocol.events import AnyEvent, encode
from chat.runs.replay import Entry

TAG = "0b5f3c1e"

type Told = dict[str, Any]


def rendering(**options: Any) -> Rendering:
    response = ResponseObject(id=f"resp_{TAG}", created_at=1_800_000_000, model="fleet")
    return Rendering(response, tag=TAG, shows_searches=True, **options)


def entries_of(events: Iterable[AnyEvent]) -> list[Entry]:
    """Return copies of the events as entries: some are shared by tests."""
    copies = [msgspec.structs.replace(event) for event in events]
    return [Entry(event.seq, encode(event), event) for event in copies]


def in_order(events: Sequence[AnyEvent]) -> list[Entry]:
    """Return the events as the entries of a log, with seqs from 1."""
    entries = entries_of(events)
    for seq, entry in enumerate(entries, 1):
        entry.event.seq = seq
    return [Entry(entry.event.seq, encode(entry.event), entry.event) for entry in entries]


def read(body: bytes) -> list[Told]:
    """Return the messages of an event stream. Check that each is named as its type says."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        name, data = lines
        told = json.loads(data.removeprefix("data: "))
        assert name == f"event: {told['type']}"
        found.append(told)
    return found


def told_of(entries: Sequence[Entry], **options: Any) -> list[Told]:
    return read(rendering(**options).events(entries))


def kinds(told: Iterable[Told]) -> list[str]:
    """Return the types, with neighbours of one type as one."""
    found: list[str] = []
    for each in told:
        kind = each["type"].removeprefix("response.")
        if not found or found[-1] != kind:
            found.append(kind)
    return found


class Reader:
    """A client that keeps to what it is told. It checks that all comes in order."""

    def __init__(self) -> None:
        self.items: dict[int, Told] = {}
        self.open: set[int] = set()
        self.open_parts: set[tuple[int, str, int]] = set()
        self.texts: dict[tuple[int, str, int], str] = {}
        self.response: Told | None = None

    def read(self, told: Iterable[Told]) -> "Reader":
        for each in told:
            assert self.response is None, "nothing follows the ending"
            self.take(each)
        return self

    def take(self, told: Told) -> None:
        kind = told["type"].removeprefix("response.")
        if kind in ("completed", "failed", "incomplete"):
            assert not self.open, "an item is left open"
            self.response = told["response"]
        elif kind == "output_item.added":
            assert told["output_index"] == len(self.items)
            self.items[told["output_index"]] = told["item"]
            self.open.add(told["output_index"])
        elif kind == "output_item.done":
            index = told["output_index"]
            self.open.remove(index)
            assert not [part for part in self.open_parts if part[0] == index]
            assert self.items[index]["id"] == told["item"]["id"]
            self.items[index] = told["item"]
        elif kind.startswith(("output_text", "content_part", "reasoning_summary")):
            self.take_part(kind, told)
        elif kind.startswith("web_search_call"):
            assert told["output_index"] in self.open
        else:
            assert kind in ("created", "in_progress"), kind

    def take_part(self, kind: str, told: Told) -> None:
        assert told["item_id"] == self.items[told["output_index"]]["id"]
        assert told["output_index"] in self.open
        is_summary = kind.startswith("reasoning")
        at = told["summary_index"] if is_summary else told["content_index"]
        part = (told["output_index"], "summary" if is_summary else "content", at)
        if kind.endswith("part.added"):
            assert part not in self.open_parts
            self.open_parts.add(part)
            self.texts[part] = ""
        assert part in self.open_parts
        if kind.endswith("text.delta"):
            self.texts[part] += told["delta"]
        elif kind.endswith("text.done"):
            assert told["text"] == self.texts[part]
        elif kind.endswith("part.done"):
            self.open_parts.remove(part)

    @property
    def text(self) -> str:
        """The answer as OpenAI's library puts it together."""
        assert self.response
        return "".join(
            part["text"]
            for item in self.response["output"]
            if item["type"] == "message"
            for part in item["content"]
        )


def final(told: Sequence[Told]) -> Told:
    """Return the response at the end of a stream that keeps to the protocol."""
    response = Reader().read(told).response
    assert response, "the ending is missing"
    return response
