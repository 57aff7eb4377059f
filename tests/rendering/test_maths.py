"""Maths in Markdown: found where a person means it, never where they don't, for every cut."""

import random
import re
import time
from collections.abc import Iterator
from html import unescape

import pytest

from chat.protocol.events import AnyEvent, Cancelled, Done, Error, ResponseDelta
from chat.protocol.terms import Ending, ErrorInfo, Summary, Timings
from chat.rendering.answer import AnswerView
from chat.rendering.markdown import renderers
from chat.rendering.markdown.blocks import Blocks, render_all
from chat.rendering.markdown.tex import convert

from .events import RUN
from .page import history_page, shown
from .test_markdown import pieces


@pytest.fixture(autouse=True)
def _notation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show maths as ⟨TeX⟩ and ⟪TeX⟫, so that these tests see where formulas are."""

    def notation(source: str, *, is_display: bool) -> str:
        source = " ".join(source.split()).replace("&", "&amp;").replace("<", "&lt;")
        return f"⟪{source}⟫" if is_display else f"⟨{source}⟩"

    monkeypatch.setattr(convert, "maths", notation)
    # Other tests render some of the same lines, with real maths.
    renderers.remembered.cache_clear()
    yield
    renderers.remembered.cache_clear()


def seen(blocks: list[str]) -> str:
    """Return what is seen: words, maths and code in brackets, with a line for each block."""
    html = "\n".join(blocks)
    html = re.sub(r"<(/?)code[^>]*>", lambda tag: "›" if tag[1] else "‹", html)
    html = re.sub(r"</?(?:p|li|h\d|tr|blockquote|div)\b[^>]*>", "\n", html)
    text = unescape(re.sub("<[^>]*>", "", html))
    return re.sub(r"\s*\n\s*", "\n", text).strip()


MATHS = [
    (r"The energy is \(E = mc^2\) at rest.", r"The energy is ⟨E = mc^2⟩ at rest."),
    (r"\[ a^2 + b^2 \]", "⟪a^2 + b^2⟫"),
    ("Let $x_i$ and $y_i$ be.", "Let ⟨x_i⟩ and ⟨y_i⟩ be."),
    ("We get\n$$\nx = 1\n$$\nwhich ends it.", "We get\n⟪x = 1⟫\nwhich ends it."),
    ("We get\n\\[\nx = 1\n\\] which ends it.", "We get\n⟪x = 1⟫\nwhich ends it."),
    ("We get: $$\nx\n= 1\n+ 2\n$$ and end", "We get: ⟪x = 1 + 2⟫ and end"),
    (r"\(p^* \ge q^*\) and $a * b * c$", r"⟨p^* \ge q^*⟩ and ⟨a * b * c⟩"),
    (
        "\\begin{align*}\nx &= 3 \\\\\ny &= 1\n\\end{align*}",
        r"⟪\begin{align*} x &= 3 \\ y &= 1 \end{align*}⟫",
    ),
    ("A\n\n\\begin{pmatrix} 1 \\end{pmatrix} b", "A\n⟪\\begin{pmatrix} 1 \\end{pmatrix}⟫ b"),
    ("\\[\n\nx\n=\ny + 1\n\n\\]", "⟪x = y + 1⟫"),
    (
        "1. Take\n   \\[\n   - f(x)\n   \\]\n   and go on.\n2. Next",
        "Take\n⟪- f(x)⟫\nand go on.\nNext",
    ),
    ("- a\n  - b:\n    $$\n    y = 2\n    $$ end\n- c", "a\nb:\n⟪y = 2⟫\nend\nc"),
    ("> Recall \\(r^2\\).\n>\n> \\[\n> V\n> = r^3\n> \\]", "Recall ⟨r^2⟩.\n⟪V = r^3⟫"),
    ("| n | v |\n|---|---|\n| \\(x_1\\) | $P(A|B)$ |", "n\nv\n⟨x_1⟩\n⟨P(A|B)⟩"),
    ("| $a|b$ | v |\n|---|---|\n| 1 | 2 |", "⟨a|b⟩\nv\n1\n2"),
    (r"**Result: \(x_1 = 2\)**", "Result: ⟨x_1 = 2⟩"),
    (r"The set $\{1, 2\}$ and \(a\,b\%\).", r"The set ⟨\{1, 2\}⟩ and ⟨a\,b\%⟩."),
    (r"设函数$f(x)$，则\(f'\)。", "设函数⟨f(x)⟩，则⟨f'⟩。"),
    ("It costs $5, and $x = 3$ holds.", "It costs $5, and ⟨x = 3⟩ holds."),
    (r"The sum is $\$5 + \$3 = \$8$.", r"The sum is ⟨\$5 + \$3 = \$8⟩."),
    ("\\[\na = 1\n\\]\n\\[\nb = 2\n\\]", "⟪a = 1⟫\n⟪b = 2⟫"),
    ("so \\(a\n+ b\\) is it", "so ⟨a + b⟩ is it"),
    ("the $n$th and $k$s, _$x$_", "the ⟨n⟩th and ⟨k⟩s, ⟨x⟩"),
    (r"[see \(x_{[1]}\)](https://x.example)", "see ⟨x_{[1]}⟩"),
    (r"\(a &lt; b\)", "⟨a &lt; b⟩"),
    (r"a \\(b\\) and \(c\)", r"a \(b\) and ⟨c⟩"),
]
NOT_MATHS = [
    ("It costs $5 and $10.", None),
    ("Prices from $5-$10 or $1,200–$1,500, $5-$.50.", None),
    ("It rose from $2bn to $4bn, then $65B at $965B.", None),
    ("About $100 (US$), or $20 (A$30).", None),
    ("export PATH=$HOME/bin:$PATH or ${HOME}/bin:${PATH} or $(pwd):$(date)", None),
    (r"It is \$5 and \$6, not \$x\$.", "It is $5 and $6, not $x$."),
    ("`$x$`, `\\(y\\)` and `` a $b$ `c` ``", "‹$x$›, ‹\\(y\\)› and ‹a $b$ `c`›"),
    (
        "See https://x.example/$a$/b and <https://x.example/$b$>.",
        "See https://x.example/$a$/b and https://x.example/$b$.",
    ),
    ("US$5, A$7 and R$ 12,29, R$ 15,83.", None),
    ("$AAPL is up, $MSFT is down.", None),
    ("Read $user->name or $('#id') and $.ajax(), $x=$_GET['a'].", None),
    ("Pay **$1.50** each or **$4** for three.", "Pay $1.50 each or $4 for three."),
    ("| tea | $3 |\n|---|---|\n| cake | $4 |", "tea\n$3\ncake\n$4"),
    ("- $5 tea\n- $6 coffee", "$5 tea\n$6 coffee"),
    ("a $ b $ c and $$$ now $$$ later", None),
    (r"Write \( to open and nothing more.", "Write ( to open and nothing more."),
    ("&dollar;5 and &#36;6", "$5 and $6"),
    ("Code:\n\n    $x = $y;\n    \\(z\\)", "Code:\ntext\nCopy\n‹$x = $y;\n\\(z\\)\n›"),
]


@pytest.mark.parametrize(("text", "expected"), MATHS)
def test_formula_is_maths_for_every_cut(text: str, expected: str) -> None:
    whole = render_all(text, "r")
    assert seen(whole) == expected
    for seed in range(12):
        assert streamed(text, seed) == whole
    for cut in range(len(text)):
        blocks = Blocks("r")
        blocks.feed(text[:cut])
        blocks.feed(text[cut:])
        blocks.finish()
        assert blocks.html() == whole


def streamed(text: str, seed: int) -> list[str]:
    blocks = Blocks("r")
    finished: list[str] = []
    for piece in pieces(text, random.Random(seed)):
        blocks.feed(piece)
        now = blocks.html()[: blocks.finished]
        assert now[: len(finished)] == finished
        finished = now
    blocks.finish()
    return blocks.html()


@pytest.mark.parametrize(("text", "expected"), NOT_MATHS)
def test_other_signs_are_never_maths_not_even_on_the_way(text: str, expected: str | None) -> None:
    blocks = Blocks("r")
    for character in text:
        blocks.feed(character)
        assert not re.search("[⟨⟪]", seen(blocks.html()))
    blocks.finish()
    assert seen(blocks.html()) == (text if expected is None else expected)
    assert blocks.html() == render_all(text, "r")


@pytest.mark.parametrize("line", ["It costs $5 and **10** more, $6 or $7", "Prices: $5-$10 each"])
def test_prices_are_prose_while_they_grow(line: str) -> None:
    blocks = Blocks("r")
    for character in line:
        blocks.feed(character)
        assert "‹" not in seen(blocks.html())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \(a_1 *b* + c", r"so ‹\(a_1 *b* + c›"),
        (r"so $\frac{a}{b} * c", r"so ‹$\frac{a}{b} * c›"),
        (r"**so \(a_1", r"so ‹\(a_1›"),
        ("- so\n  \\[\n  a_1 *b* c", "so\n‹\\[\na_1 *b* c›"),
        (r"so \(a_1\) and \(", r"so ⟨a_1⟩ and"),
        ("cost $", "cost"),
        (r"cost \$", "cost"),
    ],
)
def test_formula_that_is_open_is_shown_as_its_source(text: str, expected: str) -> None:
    blocks = Blocks("r")
    for character in text:
        blocks.feed(character)
        assert "<em>" not in "".join(blocks.html())
    assert seen(blocks.html()) == expected


def test_long_formula_is_never_cut_while_it_grows() -> None:
    formula = " + ".join(f"a_{{{n}}} * b^*" for n in range(40))
    text = f"{'Some words before it. ' * 8}so \\({formula}\\) converges, and more."
    blocks = Blocks("r")
    for at in range(0, len(text), 3):
        blocks.feed(text[at : at + 3])
        assert "<em>" not in "".join(blocks.html())
    assert f"⟨{formula}⟩" in seen(blocks.html())


@pytest.mark.parametrize(
    "opener", ["$$", "$$ words", "\\[", "\\[ words", "\\begin{align}", "text \\("]
)
def test_opener_that_is_never_closed_does_not_swallow_the_answer(opener: str) -> None:
    text = f"{opener}\n\nThe words of an answer.\n\n- one\n- two\n\n```py\nx\n```\n\n## Title *a*"
    html = "".join(render_all(text, "r"))
    assert "<li" in html
    assert "<em>a</em>" in html
    assert 'class="language-py"' in html
    assert streamed(text, 1) == render_all(text, "r")


def test_formula_without_an_end_is_shown_as_its_source() -> None:
    assert seen(render_all("So\n\n\\[\na_1 *b*", "r")) == "So\n‹\\[\na_1 *b*›"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Some **bold wor", "Some <strong>bold wor</strong>"),
        ("Some **bold\nwor", "Some <strong>bold|wor</strong>"),
        ("Some ***both** wor", "Some <em><strong>both</strong> wor</em>"),
        ("Some ~~gone", "Some <s>gone</s>"),
        ("Some _it and `co", "Some <em>it and <code>co</code></em>"),
        ("Use `` a `b` c", "Use <code>a `b` c</code>"),
        ("Now this **", "Now this"),
        ("Now this\n**", "Now this"),
        ("Now this\n\n```", "Now this"),
        ("see [docs](https://x.exa", "see docs"),
        (r"The sum is \(a_1 + b_1", r"The sum is <code>\(a_1 + b_1</code>"),
        ("It is\n\n42", "It is|42"),
        ("- a\n- some **bo", "a|some <strong>bo</strong>"),
        ("| a | b |\n|---|---|\n| 1 | **bo", "a|b|1|<strong>bo</strong>"),
        ("## A *ti", "A <em>ti</em>"),
        ("It costs $5 and a 2 * 3 * 4", "It costs $5 and a 2 * 3 * 4"),
        ("snake_case and **done** (", "snake_case and <strong>done</strong> ("),
    ],
)
def test_marks_that_a_stop_left_open_are_closed_live_and_in_history(
    text: str, expected: str
) -> None:
    failure = ErrorInfo("internal", "It failed.")
    stopped: list[AnyEvent] = [
        Cancelled(),
        Done(data=Summary(status="cancelled", timings=Timings())),
    ]
    endings: list[tuple[Ending, list[AnyEvent]]] = [
        (Ending(status="cancelled"), stopped),
        (Ending(status="failed", error=failure), [Error(error=failure)]),
    ]
    for ending, events in endings:
        page, view = shown(*map(delta, text), *events)
        record = AnswerView.of_record(RUN, [], text, ending)
        assert view.blocks == record.blocks
        assert page.part("body") == history_page(record).part("body")
        assert words_of(record.blocks) == expected
    whole = AnswerView.of_record(RUN, [], text, Ending(status="completed"))
    assert whole.blocks == render_all(text, whole.run)


def delta(character: str) -> ResponseDelta:
    return ResponseDelta(delta=character)


def words_of(blocks: list[str]) -> str:
    html = re.sub(r"<(?!/?(?:strong|em|s|code)>)[^>]*>", "|", "".join(blocks))
    return re.sub(r"\s*\|[\s|]*", "|", html).strip("|\n ")


HOSTILE = {
    "dollars": "$" * 5000,
    "dollar words": "$a " * 1500,
    "escaped dollars": "x $a" + "\\$" * 1500,
    "parens": "\\(" * 1500,
    "brackets": "w \\[ " * 750,
    "begins": "w " + "\\begin{align} " * 400,
    "begins on lines": "\\begin{align}\n\\begin{cases}\n" * 250,
    "displays": "$$\n" * 1500,
    "displays with words": "$$ a\n" * 1000,
    "openers": "\\[\n" * 1000,
    "open display": "\\[\n" + "a + b_1 \\\\\n" * 600,
    "item": "- \\[\n" + "  a + b_1 \\\\\n" * 250,
    "row": "| a |\n|---|\n| " + "$x|y " * 100,
    "backslashes": "\\" * 2500,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_openers_take_linear_time(text: str) -> None:
    started = time.thread_time()
    blocks = Blocks("r")
    for at in range(0, len(text), 5):
        blocks.feed(text[at : at + 5])
    blocks.finish()
    # At most 0.8 s on a busy machine when this was written; quadratic work takes half a minute.
    assert time.thread_time() - started < 4
