"""Markdown that is still being written: the same blocks for every cut, at the same cost."""

import random
import re
import time

import pytest

from chat.rendering.markdown.blocks import Blocks, render_all
from chat.rendering.markdown.cleaning import cleaner
from chat.rendering.markdown.parser import parser
from chat.rendering.markdown.parts import MAX_PART_LINES
from chat.rendering.markdown.renderers import flow, item
from chat.rendering.markdown.words import simple_html
from tests.cases import one_in

from .test_citations import cite

LINES = [
    *[
        "# Title",
        "## Sub",
        "#tag",
        "words with **bold** and `code`",
        "more words",
        "Title",
        "===",
        "---",
        "***",
        "* * *",
    ],
    *[
        "",
        "",
        "",
        "",
        "  ",
        "    ",
        "- one",
        "- **two**",
        "  - nested",
        "    - deeper",
        "* star",
        "+ plus",
        "-",
        "- ",
        "-\t x",
    ],
    *[
        "1. one",
        "2. two",
        "10. ten",
        "1986. A great year",
        "1.",
        "   continued",
        "   ```py",
        "   code()",
        "   ```",
        "- [ ] todo",
    ],
    *[
        "```python",
        "x = 1",
        "    indented",
        "```",
        "~~~",
        "\ttabbed",
        "> quote",
        "> - q",
        "> > deep",
        ">",
        "lazy",
    ],
    *["| a | b |", "|---|--:|", "| 1 | 2 |", "a | b", "--|--", "| x", "|", "||"],
    *["2024", "null", "{", "true", "**", "*", "``", "`", "~~gone~~", "&amp; &lt;", "text\\", "#"],
    *[
        "<script>alert(1)</script>",
        "[r]: http://x.example",
        "![i](http://x.example/y)",
        "[l](http://x.example)",
        "[l][r]",
    ],
    *[
        "it is so [1][2], and [7]",
        "- [1, 2] [1](http://x.example)",
        "`[1]` | [2]",
        "[see [1]](http://x.example)",
    ],
    *['x = """', '"""', "    \tdeep", "  \tcc", ">\ttabbed", "> ```js", "> ```", "\t```", "``` js"],
    *["a[1]", "\ufdd3[1]\ufdd4"],
    *[
        "see https://example.com/a_b.",
        "www.example.com",
        "help@example.com",
        "**https://x.example**",
    ],
    *["[docs][d] and [d]", "[d]: https://d.example", "[1]: https://one.example", "[words][1]"],
    *["![i][d]", "[![b](http://x.example/b)][d]", "[c]: https://c.example (unused)", "[half]["],
    *["claim[^1] and[^w]", "[^1]: The note.", "[^w]: Word", "    of a note", "[^9]"],
    *["- [x] done", "1. [ ] first", "  - [ ] nested task", "x<sup>2</sup>", "<kbd>**a", "b<br>c"],
    *["| a<br>b | [d] |", "`<sub>` </sub>", "__bold words", "_it", "<!-- hidden -->", "<!-- opens"],
    *["closes -->", "x <!-- in --> y", "<details>", "<summary>More</summary>", "</details>"],
    *["<details open><summary>In</summary>text</details>", "ends</details>", "  <details>"],
    *["\tends</details>", "> </details>", "1. </details>", "```md", "| `a | b` | c |"],
    *["**「强调」**的", "**注意：**请", "<summary>", "</summary>"],
    *[
        "$$",
        "\\[",
        "  \\]",
        "x_1 = *a*",
        "= y",
        "+ b\\) is",
        "so \\(a_1",
        "$$ words",
        "\\[ a \\] b",
    ],
    *[
        "\\begin{align}",
        "\\end{align} tail",
        "- \\[",
        "> $$",
        "| $x|y$ | \\(a|b\\) |",
        "$$x$$",
        "\\",
    ],
    *["$5 and $10-$", "$n$th **\\(x^*\\)", "$x_1$, *$y$* `$z$`", "w " * 90 + "\\(x^2"],
    *["👩‍👩‍👧 family", "مرحبا بالعالم", "\x07bell", "a\rb", "x" * 300, "many words " * 40],
]

FRAGMENTS = [
    *["a", "b c", " ", "  ", ".", ": ", "(", ")", "é", "中", "。", "“x”", "!", "-", "#", "1.", ">"],
    *["**", "*", "`", "``", "_", "~~", "\\", "[1]", "]", "<b>", "&amp;", "$", "@", "w", "://"],
    *["**a**", "*a*", "`x`", "**a:** ", "`a <b>`", "(**a b**)", '"', "\xa0", "\u3000", "\u0301"],
]


def random_text(choose: random.Random) -> str:
    line_end = choose.choice(["\n", "\n", "\r\n"])
    return line_end.join(choose.choice(LINES) for _ in range(choose.randint(1, 14)))


def unlinked(html: str) -> str:
    """Replace the links of citations by their numbers, whether to a source or a definition."""
    html = re.sub(r'<a href="(?:#s\d|https://one.example")[^>]*>(\[.*?\])</a>', r"\1", html)
    return html.replace("[1, 2]", "[1][2]")


def pieces(text: str, choose: random.Random) -> list[str]:
    found = []
    while text:
        length = choose.choice([1, 1, 2, 3, 5, 9, 40])
        found.append(text[:length])
        text = text[length:]
    return found


@pytest.mark.parametrize("seed", one_in(4, range(600)))
def test_text_cut_anywhere_gives_the_same_blocks_and_changes_no_finished_one(
    seed: int,
) -> None:
    choose = random.Random(seed)
    text = random_text(choose)
    blocks, linked = Blocks("r"), Blocks("r", cite)
    finished: list[str] = []
    for piece in pieces(text, choose):
        blocks.feed(piece)
        now = blocks.html()[: blocks.finished]
        assert now[: len(finished)] == finished
        finished = now
        linked.feed(piece)
    blocks.finish()
    linked.finish()
    assert blocks.html() == render_all(text, "r")
    assert [unlinked(html) for html in linked.html()] == [unlinked(html) for html in blocks.html()]
    assert not re.search("[\ufdd0-\ufdef]", "".join(linked.html() + blocks.html()))


@pytest.mark.parametrize(
    "character", [chr(code) for code in range(0x20, 0x180)] + list("中مか\u2028\u3000’—…")
)
def test_plain_text_is_what_the_parser_makes_of_it(character: str) -> None:
    for text in (
        character,
        f"{character} a",
        f"a {character}",
        f"a{character}b",
        f"({character}{character}a{character}{character})",
    ):
        html = simple_html(text)
        assert html is None or html == cleaner.clean(parser.renderInline(text))


def html_with_parser(text: str) -> str:
    return cleaner.clean(parser.render(text)).strip()


@pytest.mark.parametrize("seed", range(20))
def test_simple_words_are_what_the_parser_makes_of_them(seed: int) -> None:
    choose = random.Random(seed)
    found = 0
    for _ in range(300):
        text = "".join(choose.choice(FRAGMENTS) for _ in range(choose.randint(1, 8)))
        html = simple_html(text)
        if html is not None:
            found += html != text
            assert html == cleaner.clean(parser.renderInline(text))
            line = choose.choice(["a", "**b** ", "`c` "]) + text
            assert flow([line]) == html_with_parser(line)
            assert f"<li>{item(['- ' + line])}</li>" in html_with_parser(f"- {line}")
    assert found > 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title", "<h3>Title</h3>"),
        ("Title\n=====\n", "<h3>Title</h3>"),
        ("a *b* **c** ~~d~~ `e`", "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("> said", "<blockquote> <p>said</p> </blockquote>"),
        ("---", "<hr>"),
        ("<b>no</b>", "<p>&lt;b&gt;no&lt;/b&gt;</p>"),
        ("2024", "<p>2024</p>"),
        ("null", "<p>null</p>"),
        ("{", "<p>{</p>"),
        ("👩‍👩‍👧", "<p>👩‍👩‍👧</p>"),
        ("line one\r\nline two", "<p>line one<br> line two</p>"),
        ("[r] [s]\n\n[r]: ftp://x.example", "<p>[r] [s]</p> <p>[r]: ftp://x.example</p>"),
    ],
)
def test_block_is_rendered_as_in_commonmark(text: str, expected: str) -> None:
    inner = [
        re.sub(r"^<div [^>]*>(.*)</div>$", r"\1", block, flags=re.DOTALL)
        for block in render_all(text, "r")
    ]
    assert " ".join(" ".join(inner).split()) == expected


def test_list_keeps_its_start_and_each_item_is_a_part() -> None:
    [block] = render_all("3. three\n4. four\n   - nested\n", "r")
    assert '<ol id="r-b0-in" start="3">' in block
    assert '<li id="r-b0-p0">three</li>' in block
    assert "<li>nested</li>" in block


def test_table_is_aligned_without_styles() -> None:
    [block] = render_all("| a | b |\n|---|--:|\n| 1 | 2 |\n", "r")
    assert '<td align="right">2</td>' in block
    assert "style" not in block


def test_fence_is_code_in_its_language_from_the_first_line() -> None:
    blocks = Blocks("r")
    blocks.feed("```python\nprint(")
    [block] = blocks.html()
    assert 'class="language-python"' in block
    assert "print(" in block


def test_code_in_a_list_item_has_a_head_with_its_language() -> None:
    [block] = render_all("1. Install:\n   ```bash\n   pip install x\n   ```\n", "r")
    assert 'class="language-bash"' in block
    assert 'data-copy="code"' in block


@pytest.mark.parametrize("text", ["- ```\n  a **b", "- x\n\n      a **b", "> ```\n> a **b"])
def test_growing_line_of_nested_code_is_shown_verbatim(text: str) -> None:
    blocks = Blocks("r")
    blocks.feed(text)
    [piece] = blocks.feed(" *c")
    assert re.search(r"-t\d+-0$", piece.id)
    assert piece.inner.endswith("a **b *c")


def test_growing_row_with_too_many_cells_is_shown_without_them() -> None:
    blocks = Blocks("r")
    blocks.feed("| a |\n|---|\n| 1 | 2 |")
    blocks.feed(" 3")
    [block] = blocks.html()
    assert "<td>1</td></tr>" in re.sub(r">\s+<", "><", block)


def test_unfinished_fence_is_closed_at_the_end() -> None:
    [block] = render_all("```\nstill <open>", "r")
    assert "still &lt;open&gt;\n</span></code></pre>" in block


@pytest.mark.parametrize(
    "text", ["#", "##", "-", "1", "1.", "| a", "``", "```py", "**", "--", "~~~", "   "]
)
def test_ambiguous_beginning_of_a_line_is_not_shown(text: str) -> None:
    assert Blocks("r").feed(text) == []


def test_unfinished_emphasis_and_links_are_closed() -> None:
    blocks = Blocks("r")
    blocks.feed("Some **bold words")
    assert "<strong>bold words</strong>" in blocks.html()[0]
    blocks.feed("** and [a link](https://example.com/very/lo")
    assert "example.com" not in blocks.html()[0]
    assert "a link" in blocks.html()[0]


def test_header_of_a_table_is_not_shown_as_a_paragraph_first() -> None:
    blocks = Blocks("r")
    assert blocks.feed("| name | value |\n|--") == []
    assert "<table>" in blocks.feed("-|---|\n")[0].html


def test_surrogate_pair_may_be_cut_in_half() -> None:
    blocks = Blocks("r")
    blocks.feed("ok \ud83d")
    blocks.feed("\ude00 done")
    blocks.finish()
    assert "ok 😀 done" in blocks.html()[0]


def test_control_and_invisible_characters_are_removed() -> None:
    [block] = render_all("a\x00b\x1b[31mc\U000e0041\U000e0042d\u202ee\ufdd0f\u200dg", "r")
    assert "ab[31mcdef\u200dg" in block


LONG = {
    "list": "".join(
        f"{n}. **Item {n}**: some words about it and why it matters\n" for n in range(1, 61)
    ),
    "code": "```python\n"
    + "".join(f"    value_{n} = compute(value_{n - 1}, {n}) if ok else None\n" for n in range(300))
    + "```\n",
    "table": "| a | b |\n|---|---|\n"
    + "".join(f"| row {n} | some note about it |\n" for n in range(60)),
    "line": "one long line of words without any end " * 200,
    "word": "x" * 8000,
    "quote": "> words in a quote\n" * 200,
    "item": "- top\n" + "".join(f"  - nested item {n}\n" for n in range(200)),
    "brackets": "[" * 4000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_size_of_a_delta_does_not_grow_with_the_answer(text: str) -> None:
    blocks = Blocks("r")
    sent = [
        sum(len(element.html) for element in blocks.feed(text[at : at + 5]))
        for at in range(0, len(text), 5)
    ]
    line = max(map(len, text.splitlines()))
    most = 80 * min(line, 700) if text.startswith((">", "-")) else 6000
    # A complete line is rendered once more as a whole; only then may a delta be large.
    assert sorted(sent)[len(sent) * 9 // 10] < 3 * MAX_PART_LINES * min(line, 60)
    assert max(sent) < most


def test_many_open_brackets_take_linear_time() -> None:
    started = time.thread_time()
    blocks = Blocks("r")
    for _ in range(800):
        blocks.feed("[" * 5)
    # 0.04 s when this was written, 2 s if each delta looks for the end of every bracket.
    assert time.thread_time() - started < 0.8


def test_long_answer_takes_linear_time() -> None:
    text = "".join(LONG.values())
    started = time.thread_time()
    blocks = Blocks("r")
    for at in range(0, len(text), 5):
        blocks.feed(text[at : at + 5])
    # 80 µs a delta when this was written; quadratic work would take minutes.
    assert time.thread_time() - started < 15


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<!--",
        "<!--\n",
        "<sub>",
        "www.",
        "[^1]",
        "[a][b]",
        "![a][",
        "<details>\n",
        "a@",
        "__a ",
    ],
)
def test_many_beginnings_of_one_kind_take_linear_time(unit: str) -> None:
    text = unit * (12_000 // len(unit))
    started = time.thread_time()
    render_all(text, "r")
    blocks = Blocks("r")
    for at in range(0, len(text), 20):
        blocks.feed(text[at : at + 20])
    # At most 0.3 s when this was written; quadratic work takes 3.6 s and more.
    assert time.thread_time() - started < 2.4
