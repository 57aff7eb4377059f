"""What one rendering costs is bounded, whatever a model writes, and no word is lost by it."""

import gc
import re
import time
from collections.abc import Iterator
from html import unescape

import pytest

from chat.protocol.events import AgentOutput, ReasoningDelta, ResponseDelta
from chat.rendering.answer import AnswerView
from chat.rendering.markdown import renderers
from chat.rendering.markdown.blocks import Blocks, render_all
from chat.rendering.markdown.parts import LONG_TEXT, MAX_PART_CHARS, Part
from chat.rendering.markdown.syntax.bounds import MAX_COLUMNS, MAX_PARSED
from tests.cases import one_in

pytestmark = pytest.mark.bulk

SIZE = 2**14  # characters
STEP = 120  # characters of a delta; those that wait for a frame are merged
MAX_HOLD = 0.05  # seconds of CPU time for which a rendering may keep the loop
MAX_PER_KIB = 0.25  # seconds of CPU time for all renderings of a text, of each KiB
TRIES = 3


def wide_table(columns: int) -> str:
    return f"{'|a' * columns}|\n{'|-' * columns}|\n" + f"{'|1' * columns}|\n" * 3


# The dearest of some 450 kinds that a search found; tests/benchmarks/rendering.py repeats it.
MARKS = ("![", "[", "[](", "[a](", "a[1][2]", "www.a.b ", "a*", "**a", "*a **b* c** ", "<a@b.cd> ")
HOSTILE = {
    "a table of 3,000 columns": wide_table(3000),
    "a table of many columns": wide_table(MAX_COLUMNS) * 30,
    "a row of many cells": "|a|b|\n|-|-|\n|" + "1|" * (SIZE // 2),
    "quotes in quotes": ">" * SIZE + " a",
    "items in items": "- " * (SIZE // 2) + "a",
    "items below items": "".join("  " * depth + "- a\n" for depth in range(120)),
    "a table in an item": "- a\n" + "".join(
        f"  {line}\n" for line in (wide_table(MAX_COLUMNS) + "|\n" * 40).splitlines()
    ),
    "notes": "[^n]: a\n\n" * (SIZE // 10),
    "formulas": "\\(\\frac{a}{b}\\) " * (SIZE // 15),
    "code in items": "- ```py\n" + "  x = f(1)\n" * (SIZE // 11) + "  ```\n",
    "one line of code": "```py\n" + "x = f(1); " * (SIZE // 10) + "\n```\n",
    **{f"{mark!r} in a line": mark * (SIZE // len(mark)) + "\n" for mark in MARKS},
    **{
        f"{mark!r} in an item": "- a\n" + ("  " + mark * (180 // len(mark)) + "\n") * (SIZE // 180)
        for mark in MARKS
    },
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _without_pauses() -> Iterator[None]:
    """Keep the garbage collector out of the measurements: a worker freezes what it has loaded."""
    AnswerView("r").render(ResponseDelta(delta="**a**\n\n|a|\n|-|\n|b|\n\n- c\n"))
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def costs(text: str) -> tuple[float, float]:
    """Return the CPU time of the dearest rendering on the event loop, and of all together."""
    renderers.remembered.cache_clear()
    view, longest, total = AnswerView("r"), 0.0, 0.0
    for start in range(0, len(text), STEP):
        event = ResponseDelta(delta=text[start : start + STEP])
        is_in_thread = view.may_take_long(event)
        before = time.thread_time()
        view.render(event)
        cost = time.thread_time() - before
        longest, total = longest if is_in_thread else max(longest, cost), total + cost
    return longest, total


@pytest.mark.parametrize("text", one_in(2, HOSTILE.values()), ids=HOSTILE)
def test_no_rendering_of_a_hostile_text_holds_the_event_loop(text: str) -> None:
    for _ in range(TRIES):
        longest, total = costs(text)
        if longest < MAX_HOLD and total * 1024 / len(text) < MAX_PER_KIB:
            break
    assert longest < MAX_HOLD
    assert total * 1024 / len(text) < MAX_PER_KIB


def words_of(blocks: list[str]) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", "".join(blocks))).split())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (wide_table(3000).replace("a", "word"), 3000),
        (">" * 40 + " word", 1),
        ("> " * 40 + "word", 1),
        ("- " * 40 + "word", 1),
        ("1. " * 40 + "word", 1),
        ("> - " * 20 + "word", 1),
        ("".join("  " * depth + "- word\n" for depth in range(40)), 40),
        ("- a\n  " + "> " * 40 + "word\n", 1),
        ("**word** " * 3000, 3000),
        ("- **word** [a](b\n" + "  word <b\n" * 900, 901),
        ("|a|b|\n|-|-|\n| " + "word *b* " * 3000 + "| c |\n", 3000),
        ("> word\n" * 900, 900),
    ],
)
def test_words_beyond_a_bound_are_shown_as_they_were_written(text: str, count: int) -> None:
    assert words_of(render_all(text, "r")).count("word") == count
    blocks = Blocks("r")
    for start in range(0, len(text), 700):
        blocks.feed(text[start : start + 700])
    blocks.finish()
    assert blocks.html() == render_all(text, "r")


def test_table_may_have_as_many_columns_as_the_bound() -> None:
    [block] = render_all(wide_table(MAX_COLUMNS), "r")
    assert block.count("<td>") == 3 * MAX_COLUMNS
    assert "<table" not in "".join(render_all(wide_table(MAX_COLUMNS + 1), "r"))


def test_words_of_a_line_are_parsed_up_to_the_bound() -> None:
    for before in ("", "- ", "> ", "# "):
        [block] = render_all(before + "*a* `b " * (2 * MAX_PARSED // 7), "r")
        assert 0 < block.count("<em>") <= MAX_PARSED // 7
    row = "|a|b|\n|-|-|\n|" + "*a* `b " * MAX_PARSED + "|*c*|\n"
    assert "*c*" in "".join(render_all(row, "r"))  # The bound is that of a row, not of a cell.


def test_item_is_continued_in_the_next_part_when_it_has_many_characters() -> None:
    line = "  " + "some **words** of an item " * 20 + "\n"
    [block] = render_all("- a\n" + line * (3 * MAX_PART_CHARS // len(line)), "r")
    assert block.count('class="more"') == 2


def test_growing_line_of_code_sends_its_last_piece_alone() -> None:
    blocks = Blocks("r")
    blocks.feed("```\n" + "x" * 50_000)
    sent = blocks.feed("yz")
    assert sum(len(element.html) for element in sent) < 1000
    blocks.feed("\nnext\n```\n")
    blocks.finish()
    assert blocks.html() == render_all("```\n" + "x" * 50_000 + "yz\nnext\n```\n", "r")


def test_followers_of_one_run_share_what_was_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    parse = renderers.parser.render
    monkeypatch.setattr(renderers.parser, "render", lambda text: calls.append(text) or parse(text))
    text = "A line that **nobody [has](https://x.example) shared** before.\n\n"
    assert [render_all(text, f"r{number}") != [] for number in range(6)] == [True] * 6
    assert len(calls) == 1


def test_lines_are_looked_at_once_however_many_parts_a_block_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    refresh = Part.refresh

    def counted(part: Part, *, is_growing: bool) -> bool:
        nonlocal looks
        looks += 1
        return refresh(part, is_growing=is_growing)

    monkeypatch.setattr(Part, "refresh", counted)
    blocks = Blocks("r")
    for number in range(500):
        blocks.feed(f"- item {number}\n")
    assert looks < 500 * 4


def test_long_texts_of_agents_are_rendered_in_a_thread() -> None:
    long = "*a* " * LONG_TEXT
    view = AnswerView("r")
    assert view.may_take_long(ReasoningDelta(delta=long))
    assert view.may_take_long(AgentOutput(agent_id="writer", author="Writer", message=long))
    view.render(ReasoningDelta(delta="a"))
    assert not view.may_take_long(ReasoningDelta(delta="b"))
    view.render(ReasoningDelta(delta="*a* " * (LONG_TEXT // 3)))
    assert view.may_take_long(ReasoningDelta(delta="\n"))
