"""Copying selected text in a real Chromium: formulas and code as they were written."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from django.test import AsyncClient
from playwright.async_api import Browser, expect

from chat.rendering.markdown.cleaning import cleaned
from chat.rendering.markdown.tex.convert import maths

from .browsing import MARKS
from .staging import Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

INLINE, DISPLAYED = r"x_1 < \frac{1}{2}", "\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned}"
ALIGN = r"\begin{align} a &= b \end{align}"
CODE = "all:\n\tcc  x.c\n\nclean:"
HTML = (
    "<div class='prose' id='words'>"
    f"<div class='block'><p>One {maths(INLINE, is_display=False)} two.</p></div>"
    f"<div class='block'><p>Then {maths(DISPLAYED, is_display=True)} and</p></div>"
    f"<div class='block'>{maths(ALIGN, is_display=True)}</div>"
    f"<div class='block'>{cleaned(f'<pre><code>{CODE}\n</code></pre>')}</div>"
    "<div class='block'><ul><li>first</li><li>second</li></ul></div>"
    "<div class='block'><table><tr><td>a</td><td>b</td></tr></table></div>"
    f"<div class='block' id='refused'><p>{maths(r'\foo', is_display=False)}</p></div>"
    "</div><p id='plain'>Words alone.</p>"
)
WRITTEN = rf"""One \({INLINE}\) two.

Then
\[{DISPLAYED}\]
and

{ALIGN}

{CODE}

first
second

a	b

\(\foo\)"""


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    async with stages(staging, async_client, **allowed) as stage:
        await stage.open()
        await stage.begin()
        stage.show(2, "step", HTML)
        await expect(stage.page.locator("#refused")).to_be_visible()
        yield stage


async def copied(stage: Stage, begin: str, end: str, *, inside: int | None = None) -> str:
    """Select from one element to another, or some characters of one's first text; copy them."""
    await stage.page.evaluate(
        """([begin, end, inside]) => {
            const [first, last] = [begin, end].map((name) => document.querySelector(name));
            const range = document.createRange();
            range.setStart(first, 0);
            range.setEnd(last, last.childNodes.length);
            if (inside !== null) {
                const texts = document.createTreeWalker(first, NodeFilter.SHOW_TEXT);
                range.setStart(texts.nextNode(), inside);
            }
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }""",
        [begin, end, inside],
    )
    await stage.page.keyboard.press("Control+C")
    return str(await stage.page.evaluate("navigator.clipboard.readText()"))


async def test_selected_answer_is_copied_as_it_was_written(stage: Stage) -> None:
    assert await copied(stage, "#words", "#words") == WRITTEN


async def test_selection_that_cuts_a_formula_has_the_whole_of_it(stage: Stage) -> None:
    text = await copied(stage, "#words math mfrac", "#words .block p")
    assert text == rf"\({INLINE}\) two."


async def test_selection_in_code_is_copied_exactly(stage: Stage) -> None:
    assert (await copied(stage, "#words pre code", "#words pre code")).rstrip("\n") == CODE
    assert (await copied(stage, "#words pre code", "#words pre code", inside=3)).startswith(
        ":\n\tcc  x.c"
    )


async def test_selected_source_of_a_refused_formula_is_copied(stage: Stage) -> None:
    assert (await copied(stage, "#refused", "#refused")).strip() == r"\(\foo\)"


async def test_words_alone_are_copied_by_the_browser(stage: Stage) -> None:
    assert (await copied(stage, "#plain", "#plain")).strip() == "Words alone."
    await stage.page.locator("#composer-text").fill("typed")
    await stage.page.locator("#composer-text").select_text()
    await stage.page.keyboard.press("Control+C")
    assert await stage.page.evaluate("navigator.clipboard.readText()") == "typed"
