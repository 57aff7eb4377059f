"""Tool calls from the parts that servers send, as a table."""

from typing import Any

import pytest

from chat.llm.dialects.calls import (
    MAX_ARGUMENT_CHARS,
    MAX_CALLS,
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    JsonEnd,
    PartialCalls,
)
from chat.llm.dialects.normal import CallDelta
from chat.llm.errors import ModelError
from chat.llm.messages import WantedCall

TOOLS = {"calculator", "clock", "web_search"}
SIX, THREE = '{"expression": "6*7"}', '{"expression": "3*5"}'


def part(arguments: str = "", name: str = "", call_id: str = "", index: int | None = 0) -> Any:
    return CallDelta(index, call_id, name, arguments)


def calls_of(*parts: CallDelta, taken: frozenset[str] = frozenset()) -> list[WantedCall]:
    calls = PartialCalls(TOOLS)
    calls.add(parts)
    return calls.finish(taken)


def calculator(call_id: str, arguments: str = SIX) -> WantedCall:
    return WantedCall(call_id, "calculator", arguments)


CASES = {
    "in pieces": (
        [part("", "calculator", "a"), part(SIX[:5]), part(SIX[5:])],
        [calculator("a")],
    ),
    "by index, their pieces mixed": (
        [
            part(SIX[:3], "calculator", "b", 1),
            part("{", "clock", "a", 0),
            part(SIX[3:], index=1),
            part("}", "clock", "a", 0),
        ],
        [WantedCall("a", "clock", "{}"), calculator("b")],
    ),
    "whole, all with index 0": (
        [part(SIX, "calculator", "a"), part(THREE, "calculator", "b")],
        [calculator("a"), calculator("b", THREE)],
    ),
    "in pieces, all with index 0": (
        [part(SIX[:4], "calculator", "a"), part(SIX[4:]), part("", "clock", "b"), part("{}")],
        [calculator("a"), WantedCall("b", "clock", "{}")],
    ),
    "whole, without an index": (
        [part(SIX, "calculator", "a", None), part(THREE, "calculator", "b", None)],
        [calculator("a"), calculator("b", THREE)],
    ),
    "whole, without ids and index": (
        [part(SIX, "calculator", index=None), part(THREE, "calculator", index=None)],
        [calculator("call00000"), calculator("call00001", THREE)],
    ),
    "whole, without ids, all with index 0": (
        [part(SIX, "calculator"), part("{}", "clock")],
        [calculator("call00000"), WantedCall("call00001", "clock", "{}")],
    ),
    "in pieces, without ids and index": (
        [
            part("", "calculator", index=None),
            part(SIX[:4], index=None),
            part(SIX[4:], index=None),
            part("", "clock", index=None),
            part("{}", index=None),
        ],
        [calculator("call00000"), WantedCall("call00001", "clock", "{}")],
    ),
    "interleaved by their ids": (
        [
            part(SIX[:4], "calculator", "a", None),
            part(THREE[:4], "calculator", "b", None),
            part(SIX[4:], "", "a", None),
            part(THREE[4:], "", "b", None),
        ],
        [calculator("a"), calculator("b", THREE)],
    ),
    "interleaved by their ids, all with index 0": (
        [
            part(SIX[:4], "calculator", "a"),
            part(THREE[:4], "calculator", "b"),
            part(SIX[4:], "", "a"),
            part(THREE[4:], "", "b"),
        ],
        [calculator("a"), calculator("b", THREE)],
    ),
    "the same id for all": (
        [part(SIX, "calculator", "x", 0), part(THREE, "calculator", "x", 1)],
        [calculator("x"), calculator("call00000", THREE)],
    ),
    "the same id for all, without an index": (
        [part(SIX, "calculator", "x", None), part(THREE, "calculator", "x", None)],
        [calculator("x"), calculator("call00000", THREE)],
    ),
    "another id for each piece": (
        [part("", "calculator", "a"), part(SIX[:4], "", "b"), part(SIX[4:], "", "c")],
        [calculator("a")],
    ),
    "id and name in every piece": (
        [
            part("", "calculator", "a"),
            part(SIX[:4], "calculator", "a"),
            part(SIX[4:], "calculator", "a"),
        ],
        [calculator("a")],
    ),
    "the name in every piece, without ids and index": (
        [
            part("", "calculator", index=None),
            part(SIX[:4], "calculator", index=None),
            part(SIX[4:], "calculator", index=None),
        ],
        [calculator("call00000")],
    ),
    "the name in a later chunk": (
        [part("", "", "a"), part("", "calculator"), part(SIX)],
        [calculator("a")],
    ),
    "the second name in a later chunk, all with index 0": (
        [part(SIX, "calculator", "a"), part("", "", "b"), part("", "clock"), part("{}")],
        [calculator("a"), WantedCall("b", "clock", "{}")],
    ),
    "the name in pieces": (
        [part("", "calc", "a"), part("", "ula"), part("", "tor"), part(SIX)],
        [calculator("a")],
    ),
    "the name in growing pieces": (
        [part("", "calc", "a"), part("", "calculator", "a"), part(SIX)],
        [calculator("a")],
    ),
    "a new name ends a call without arguments": (
        [part("", "clock", index=None), part(SIX, "calculator", index=None)],
        [WantedCall("call00000", "clock", "{}"), calculator("call00001")],
    ),
    "an index for each piece": (
        [part("", "calculator", "a", 0), part(SIX[:4], "", "", 1), part(SIX[4:], "", "", 2)],
        [calculator("a")],
    ),
    "the whole call once more at the end": (
        [part(SIX[:4], "calculator", "a"), part(SIX[4:]), part(SIX, "calculator", "a")],
        [calculator("a")],
    ),
    "the whole arguments once more at the end": (
        [part(SIX[:4], "calculator", "a"), part(SIX[4:]), part(SIX)],
        [calculator("a")],
    ),
    "growing arguments": (
        [part(SIX[:4], "calculator", "a"), part(SIX[:9]), part(SIX)],
        [calculator("a")],
    ),
    "a default before the arguments": (
        [part("{}", "calculator", "a"), part(SIX[:4]), part(SIX[4:])],
        [calculator("a")],
    ),
    "empty arguments": ([part("", "clock", "a")], [WantedCall("a", "clock", "{}")]),
    "null for arguments": ([part("null", "clock", "a")], [WantedCall("a", "clock", "{}")]),
    "arguments in a string": (
        [part('"{\\"expression\\": \\"6*7\\"}"', "calculator", "a")],
        [calculator("a")],
    ),
    "arguments that are no JSON": (
        [part("{6*7", "calculator", "a")],
        [calculator("a", "{6*7")],
    ),
    "arguments that are no object": ([part("[]", "clock", "a")], [WantedCall("a", "clock", "[]")]),
    "a name with its space": (
        [part(SIX, "functions.calculator:0", "a")],
        [calculator("a")],
    ),
    "an invented name": ([part("{}", "rm-rf", "a")], [WantedCall("a", "rm-rf", "{}")]),
    "nothing but an empty part": ([part()], []),
    "a long id and name": (
        [part("{", "n" * 300, "i" * 100), part("}", "n" * 300, "i" * 100)],
        [WantedCall("i" * MAX_ID_CHARS, "n" * MAX_NAME_CHARS, "{}")],
    ),
}


@pytest.mark.parametrize(("parts", "calls"), CASES.values(), ids=CASES)
def test_parts_become_calls(parts: list[CallDelta], calls: list[WantedCall]) -> None:
    assert calls_of(*parts) == calls


def test_ids_are_unique_in_the_whole_conversation() -> None:
    parts = [part(SIX, "calculator", "call_0", 0), part("{}", "clock", "", 1)]
    taken = frozenset({"call_0", "call00000"})
    assert [call.id for call in calls_of(*parts, taken=taken)] == ["call00001", "call00002"]


@pytest.mark.parametrize("is_numbered", [True, False], ids=["own index", "one index"])
def test_calls_beyond_the_limit_are_dropped_with_their_arguments(is_numbered: bool) -> None:
    calls = PartialCalls(TOOLS)
    for number in range(MAX_CALLS + 2):
        index = number if is_numbered else 0
        calls.add([part("{", "clock", f"id{number}", index), part("}", index=index)])
    expected = [WantedCall(f"id{number}", "clock", "{}") for number in range(MAX_CALLS)]
    assert calls.has_dropped
    assert calls.finish() == expected


def test_long_arguments_are_an_error() -> None:
    calls = PartialCalls(TOOLS)
    calls.add([part("x" * MAX_ARGUMENT_CHARS, "clock", index=0)])
    with pytest.raises(ModelError, match="arguments that are too long"):
        calls.add([part("x", "clock", index=1)])


def test_flood_of_repeated_names_takes_little_time() -> None:
    calls = PartialCalls(TOOLS)
    calls.add([part('{"expression": "', "calculator", "a")])
    for _ in range(50_000):
        calls.add([part("}", "calculator", "a")])
    assert len(calls.finish()) == 1


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ('{"a": [1, {}]} rest', 14),
        ('{"a": "}\\"}"}', 13),
        ('{"a": "\\\\"}', 11),
        (' "a\\"b" ', 7),
        ("[[]]]", 4),
        ('{"a": ', None),
        ("null", None),
    ],
)
def test_end_of_json_is_found_however_it_is_cut(text: str, end: int | None) -> None:
    assert JsonEnd().find(text) == end
    scan = JsonEnd()
    ends = [scan.find(text[: at + 1], at) for at in range(len(text))]
    assert next((found for found in ends if found is not None), None) == end
