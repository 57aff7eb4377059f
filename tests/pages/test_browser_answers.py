"""What an answer looks like in a real Chromium: directions, widths, folds, what can be hit."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.scripted_model import ScriptedModel
from tests.scripted_search import ScriptedSearch
from tests.serving import Fleet, running

from .browsing import (
    CONNECTION_ERRORS,
    EVERY_KIND,
    MARKS,
    Open,
    ask,
    expect_ready_for_the_next,
    pages,
    prose,
)

pytestmark = MARKS
MIN_TARGET = 24  # px, of WCAG 2.2
ARABIC = r"""المعادلة $a < b$ والدالة `print(x)` مهمة جدا.

$$a^2 + b^2 = c^2 \tag{1}$$

```python
print(x)
```

- [x] مهمة منجزة

<details>
<summary>المزيد</summary>

نص مخفي.

</details>
"""


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    model_server: ScriptedModel,
    search_server: ScriptedSearch,
) -> Iterator[Fleet]:
    with running(
        tmp_path_factory.mktemp("fleet"),
        model_server,
        TAVILY_BASE_URL=search_server.url,
        TAVILY_API_KEY="tvly-x",
    ) as fleet:
        yield fleet


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel, web: ScriptedSearch) -> Iterator[Open]:
    with pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        yield open_page


def left_of_characters(element: Locator, *characters: str) -> list[float]:
    """Return where these characters of the element are drawn, in px from the left."""
    found = element.evaluate(
        """(element, characters) => characters.map((character) => {
          const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const at = walker.currentNode.data.indexOf(character);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + character.length);
            return range.getBoundingClientRect().left;
          }
        })""",
        list(characters),
    )
    assert None not in found
    return list(found)


def test_formulas_and_code_in_an_arabic_answer_run_from_left_to_right(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("اشرح", tokens=[ARABIC])
    page = open_page(fleet.address)
    ask(page, "اشرح")
    expect_ready_for_the_next(page)
    words = prose(page).locator("p").first
    subject, end = left_of_characters(words, "المعادلة", "مهمة")
    assert end < subject
    for code in (words.locator("code"), prose(page).locator("pre code")):
        start, end = left_of_characters(code, "print", "x")
        assert start < end
    lefts = [
        element.evaluate("(element) => element.getBoundingClientRect().left")
        for element in words.locator("math mi").all()
    ]
    assert lefts == sorted(lefts)
    displayed = prose(page).locator("math[display=block]")
    formula, tag = (
        displayed.locator(part).evaluate("(element) => element.getBoundingClientRect().right")
        for part in ("mi >> nth=-1", "mtext")
    )
    edge = displayed.evaluate("(element) => element.getBoundingClientRect().right")
    assert formula < tag - 100
    assert edge - tag < 1
    # The signs of a fold and of a task stand where their lines begin.
    for line, sign in (("details > summary", "::before"), ("li", None)):
        assert (
            prose(page)
            .locator(line)
            .evaluate(
                """(line, sign) => {
              const { left, right } = line.getBoundingClientRect();
              if (sign) return parseFloat(getComputedStyle(line, sign).right) < 1;
              const box = line.querySelector('.task').getBoundingClientRect();
              return box.left > (left + right) / 2 && box.left >= right - 1;
            }""",
                sign,
            )
        )


@pytest.mark.parametrize("width", [320, 820])
def test_wide_parts_scroll_inside_themselves(
    fleet: Fleet, open_page: Open, model: ScriptedModel, width: int
) -> None:
    model.on("every kind", tokens=[EVERY_KIND])
    page = open_page(fleet.address, width=width)
    ask(page, "every kind")
    expect_ready_for_the_next(page)
    prose(page).locator("details:not([open]) > summary").click()
    for element in ("html", "#scroll"):
        assert page.locator(element).evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0
    right = page.locator("#thread").evaluate("(e) => e.getBoundingClientRect().right")
    for block in prose(page).locator(".block").all():
        assert block.evaluate("(e) => e.getBoundingClientRect().right") <= right
    # Nor is a column of words squeezed to one word a line.
    words = prose(page).locator("td", has_text="words enough")
    assert words.evaluate("(e) => e.getBoundingClientRect().width") > 160


def test_fold_that_a_reader_opened_stays_open_while_the_answer_goes_on(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on(
        "folds",
        tokens=[
            "<details>\n<summary>Whole</summary>\n\nfirst\n\n</details>\n\n"
            "<details>\n<summary>Growing</summary>\n\nsecond\n\n",
            "third\n\n",
            "</details>\n\nThe end.",
        ],
        hold_after=1,
    )
    page = open_page(fleet.address)
    ask(page, "folds")
    for words in ("Whole", "Growing"):
        page.locator("summary", has_text=words).click()
    page.locator("summary", has_text="Growing").focus()
    model.release()
    expect(prose(page)).to_contain_text("The end.")
    for words in ("first", "second", "third"):
        expect(prose(page).get_by_text(words, exact=True)).to_be_visible()
    expect(page.locator("summary", has_text="Growing")).to_be_focused()
    expect_ready_for_the_next(page)
    expect(prose(page).locator("details[open]")).to_have_count(2)


def test_block_of_code_keeps_its_height_when_it_is_closed(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    model.on("code", tokens=["```python\nx = 1\ny = 2\n", "```\n\nThe end."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "code")
    code = prose(page).locator(".code")
    expect(code).to_contain_text("y = 2")
    height = "(element) => element.getBoundingClientRect().height"
    before = code.evaluate(height)
    model.release()
    expect_ready_for_the_next(page)
    expect(code.locator(".n").last).to_have_text("2")  # its colours have come
    assert code.evaluate(height) == before


@pytest.mark.parametrize("touch", [False, True])
def test_citation_is_large_enough_to_be_hit(
    fleet: Fleet, open_page: Open, model: ScriptedModel, *, touch: bool
) -> None:
    # A block with a formula cuts what is higher than its lines.
    model.default.tokens = ["It rains $x^2$ mm in Oslo [1]."]
    page = open_page(fleet.address, width=390, has_touch=touch, is_mobile=touch)
    page.locator("#composer-text").fill("What is the weather in Oslo today?")
    page.locator("#send").click()
    expect_ready_for_the_next(page)
    hit = (
        prose(page)
        .locator(".citation")
        .last.evaluate(
            """(citation, size) => {
          const { left, top, width, height } = citation.getBoundingClientRect();
          const [x, y] = [left + width / 2, top + height / 2];
          const half = size / 2 - 0.5;
          return [[-half, 0], [half, 0], [0, -half], [0, half]].every(
            ([right, down]) => document.elementFromPoint(x + right, y + down) === citation);
        }""",
            MIN_TARGET,
        )
    )
    assert hit
