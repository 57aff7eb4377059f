"""What a result's text has of each source, as its excerpts say."""

import secrets
from typing import Any

import pytest

from tooling.calls import Call, ToolResult
from tooling.registry import Tool, tool
from tooling.results import Output, Passage, ToolFailure
from tooling.services import Services
from tooling.toolbox import Toolbox

PAGES = {
    "lima": Passage("Lima", "https://lima.example/", "Lima is the capital\u200b of Peru."),
    "quito": Passage("Quito", "https://quito.example/", "Quito is that of Ecuador. " * 200),
    "named": Passage("A name", "https://named.example/"),
}
FAILS = {"once": True}


@tool(timeout=5, max_chars=2000, untrusted=True)
async def outside(pages: list[str]) -> Output:
    """Return pages from outside."""
    return Output("Found:", tuple(PAGES[name] for name in pages))


@tool(timeout=5, max_chars=2000)
async def own(pages: list[str]) -> Output:
    """Return pages of the operator."""
    return Output(passages=tuple(PAGES[name] for name in pages))


@tool(timeout=5, max_chars=1200, untrusted=True, in_parts=True)
async def long(part: int = 1) -> Output:
    """Return a long page."""
    return Output(passages=(PAGES["quito"],))


@tool(timeout=5)
async def shaky() -> Output:
    """Fail, then return a page."""
    if FAILS.pop("once", False):
        raise ToolFailure("Not now.", temporary=True)
    return Output(passages=(PAGES["lima"],))


MINE: dict[str, Tool] = {each.name: each for each in (outside, own, long, shaky)}


def box(**options: Any) -> Toolbox:
    return Toolbox(Services(), allowed=frozenset(MINE), max_calls=20, tools=MINE, **options)


async def made(toolbox: Toolbox, name: str, **arguments: Any) -> ToolResult:
    call = toolbox.check(name, arguments)
    assert isinstance(call, Call), call
    return await toolbox.make(call)


def words_of(result: ToolResult) -> dict[int, str]:
    return {each.number: result.text[each.start : each.end] for each in result.excerpts}


@pytest.mark.parametrize("name", ["outside", "own"])
async def test_excerpts_are_what_stands_under_each_number(name: str) -> None:
    result = await made(box(), name, pages=["lima", "quito", "named"])
    found = words_of(result)
    assert found[1] == "Lima (lima.example)\nLima is the capital of Peru."
    assert found[2].startswith("Quito (quito.example)\nQuito is that of Ecuador.")
    assert found[2].endswith("[…]")
    # It was named, not read.
    assert 3 not in found


async def test_excerpts_end_where_a_small_model_stops_reading() -> None:
    result = await made(box(max_chars=60), "outside", pages=["lima", "quito"])
    [*lines] = result.text.splitlines()
    inside = "\n".join(lines[1:-1])
    assert all(words in inside for words in words_of(result).values())
    assert result.excerpts[-1].end <= result.text.rindex("\n[end of")


async def test_excerpts_stay_right_if_a_page_has_the_mark_of_the_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0badcafe")
    monkeypatch.setitem(PAGES, "lima", Passage("T", "https://x.example/", "So 0badcafeit is."))
    result = await made(box(), "outside", pages=["lima", "quito"])
    assert words_of(result)[1] == "T (x.example)\nSo it is."
    assert words_of(result)[2].startswith("Quito (quito.example)")


async def test_parts_of_a_page_are_read_as_one_source() -> None:
    toolbox = box()
    first = await made(toolbox, "long")
    assert toolbox.texts()[1] == words_of(first)[1]
    second = await made(toolbox, "long", part=2)
    assert toolbox.texts() == {1: f"{words_of(first)[1]}\n\n{words_of(second)[1]}"}


async def test_repeated_and_failed_calls_add_nothing_that_was_read() -> None:
    FAILS["once"] = True
    toolbox = box()
    await made(toolbox, "shaky")
    assert toolbox.texts() == {}
    first = await made(toolbox, "shaky")
    again = await made(toolbox, "shaky")
    assert again.repeated
    assert toolbox.texts() == {1: words_of(first)[1]} == {1: words_of(again)[1]}


async def test_what_was_read_is_known_to_a_worker_that_goes_on() -> None:
    toolbox, later = box(), box()
    call = toolbox.check("own", {"pages": ["lima"]})
    assert isinstance(call, Call)
    later.remember("own", "{}", call.key, await toolbox.make(call))
    assert later.texts() == toolbox.texts() != {}
