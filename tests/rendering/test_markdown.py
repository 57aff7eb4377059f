"""Markdown that is still being written: the same blocks for every way of cutting it, and nothing of a model's making in the markup."""

import random
import re
import time
from html.parser import HTMLParser

import pytest

from chat.rendering.markdown.blocks import Blocks, render_all
from chat.rendering.markdown.inline import PLAIN, cleaner, parser
from chat.rendering.markdown.parts import MAX_PART_LINES

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
    *["a[1]", "\ufdd3[1]\ufdd4"],
    *["👩‍👩‍👧 family", "مرحبا بالعالم", "\x07bell", "a\rb", "x" * 300, "many words " * 40],
]


def random_text(choose: random.Random) -> str:
    line_end = choose.choice(["\n", "\n", "\r\n"])
    return line_end.join(choose.choice(LINES) for _ in range(choose.randint(1, 14)))


def cite(number: int) -> str:
    return f'<a href="#s{number}">[{number}]</a>' if number < 4 else ""


def unlinked(html: str) -> str:
    """With its citations as words again."""
    return re.sub(r'<a href="#s\d">(.*?)</a>', r"\1", html).replace("[1, 2]", "[1][2]")


def pieces(text: str, choose: random.Random) -> list[str]:
    found = []
    while text:
        length = choose.choice([1, 1, 2, 3, 5, 9, 40])
        found.append(text[:length])
        text = text[length:]
    return found


@pytest.mark.parametrize("seed", range(600))
def test_every_way_of_cutting_a_text_gives_the_same_blocks_and_no_finished_one_changes(
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
def test_words_that_are_taken_for_plain_are_what_markdown_makes_of_them(character: str) -> None:
    for text in (
        character,
        f"{character} a",
        f"a {character}",
        f"a{character}b",
        f"({character}{character}a{character}{character})",
    ):
        if PLAIN.fullmatch(text):
            assert cleaner.clean(parser.renderInline(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title", "<h1>Title</h1>"),
        ("Title\n=====\n", "<h1>Title</h1>"),
        ("a *b* **c** ~~d~~ `e`", "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("> said", "<blockquote> <p>said</p> </blockquote>"),
        ("---", "<hr>"),
        ("<b>no</b>", "<p>&lt;b&gt;no&lt;/b&gt;</p>"),
        ("2024", "<p>2024</p>"),
        ("null", "<p>null</p>"),
        ("{", "<p>{</p>"),
        ("👩‍👩‍👧", "<p>👩‍👩‍👧</p>"),
        ("line one\r\nline two", "<p>line one line two</p>"),
        ("[r]: http://x.example\n\n[r]", "<p>[r]: http://x.example</p> <p>[r]</p>"),
    ],
)
def test_a_block_is_rendered_as_commonmark_says(text: str, expected: str) -> None:
    inner = [
        re.sub(r"^<div [^>]*>(.*)</div>$", r"\1", block, flags=re.DOTALL)
        for block in render_all(text, "r")
    ]
    assert " ".join(" ".join(inner).split()) == expected


def test_a_list_keeps_its_start_and_each_item_is_a_part() -> None:
    [block] = render_all("3. three\n4. four\n   - nested\n", "r")
    assert '<ol id="r-b0-in" start="3">' in block
    assert '<li id="r-b0-p0">three</li>' in block
    assert "<li>nested</li>" in block


def test_a_table_keeps_its_alignment_without_styles() -> None:
    [block] = render_all("| a | b |\n|---|--:|\n| 1 | 2 |\n", "r")
    assert '<td align="right">2</td>' in block
    assert "style" not in block


def test_a_fence_is_code_from_its_first_line_and_knows_its_language() -> None:
    blocks = Blocks("r")
    blocks.feed("```python\nprint(")
    [block] = blocks.html()
    assert 'class="language-python"' in block
    assert "print(" in block


def test_code_in_a_list_item_has_its_head_and_its_language() -> None:
    [block] = render_all("1. Install:\n   ```bash\n   pip install x\n   ```\n", "r")
    assert 'class="language-bash"' in block
    assert 'data-copy="code"' in block


def test_an_unfinished_fence_is_closed_at_the_end() -> None:
    [block] = render_all("```\nstill <open>", "r")
    assert "still &lt;open&gt;\n</span></code></pre>" in block


@pytest.mark.parametrize(
    "text", ["#", "##", "-", "1", "1.", "| a", "``", "```py", "**", "--", "~~~", "   "]
)
def test_the_beginning_of_a_line_that_could_become_anything_is_not_shown(text: str) -> None:
    assert Blocks("r").feed(text) == []


def test_half_written_emphasis_and_links_do_not_flash_by() -> None:
    blocks = Blocks("r")
    blocks.feed("Some **bold words")
    assert "<strong>bold words</strong>" in blocks.html()[0]
    blocks.feed("** and [a link](https://example.com/very/lo")
    assert "example.com" not in blocks.html()[0]
    assert "a link" in blocks.html()[0]


def test_a_table_header_is_not_shown_as_a_paragraph_first() -> None:
    blocks = Blocks("r")
    assert blocks.feed("| name | value |\n|--") == []
    assert "<table>" in blocks.feed("-|---|\n")[0].html


def test_the_last_half_of_a_surrogate_pair_may_come_later() -> None:
    blocks = Blocks("r")
    blocks.feed("ok \ud83d")
    blocks.feed("\ude00 done")
    blocks.finish()
    assert "ok 😀 done" in blocks.html()[0]


def test_control_and_invisible_characters_are_left_out() -> None:
    [block] = render_all("a\x00b\x1b[31mc\U000e0041\U000e0042d\u202ee\ufdd0f\u200dg", "r")
    assert "ab[31mcdef\u200dg" in block


# --- Citations ----------------------------------------------------------------------------------------------------------


def cited(text: str) -> str:
    blocks = Blocks("r", cite)
    blocks.feed(text)
    blocks.finish()
    return "".join(blocks.html())


ONE, TWO = cite(1), cite(2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So it is [1].", f"So it is {ONE}."),
        ("So it is[1][2]", f"So it is{ONE}{TWO}"),
        ("So it is [1, 2] or [1,2]", f"So it is {ONE}{TWO} or {ONE}{TWO}"),
        ("**Bold [1]** and *[2]*", f"<strong>Bold {ONE}</strong> and <em>{TWO}</em>"),
        ("# Title [1]", f"<h1>Title {ONE}</h1>"),
        ("- item [1]", f"item {ONE}</li>"),
        ("| a [1] |\n|---|\n| b [2] |", f"<th>a {ONE}</th>"),
        ("| a [1] |\n|---|\n| b [2] |", f"<td>b {TWO}</td>"),
        ("> quoted [1]", f"<p>quoted {ONE}</p>"),
        ("[1] is the first [link](http://x.example)", f"{ONE} is the first <a href="),
        ("`x` [1]", f"<code>x</code> {ONE}"),
        ("中文[1]。", f"中文{ONE}。"),
    ],
)
def test_a_number_in_brackets_is_a_link_where_there_is_such_a_source(
    text: str, expected: str
) -> None:
    assert expected in cited(text)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "out of range [4]",
            "in part [1, 4]",
            "[0] [01] [-1] [1.5] [1000] [2024]",
            "[ 1 ] [1,] [x] [] [^1]",
        ],
        *[
            "an index a[1], a[i][2] and x[1][2]",
            "code `a [1]` and ``[1]``",
            "escaped \\[1] \\[1\\]",
            "[half [1",
        ],
        *[
            "    indented [1]",
            "```\nfenced [1]\n```",
            "- ```\n  [1]\n  ```",
            "```py [1]\n```",
            "~~~\nunfinished [1]",
        ],
    ],
)
def test_other_brackets_stay_as_they_are(text: str) -> None:
    assert cited(text) == "".join(render_all(text, "r"))


@pytest.mark.parametrize(
    "text",
    [
        "[1](https://x.example)",
        "[see [1]](https://x.example)",
        "[1]: https://x.example",
        "![1](https://x.example)",
    ],
)
def test_a_link_of_the_answer_is_what_it_was(text: str) -> None:
    html = cited(text)
    assert html.count("https://x.example") == "".join(render_all(text, "r")).count(
        "https://x.example"
    )
    assert ("#s1" in html) == text.startswith("[1]:")


def test_a_citation_is_a_link_from_its_last_bracket_on() -> None:
    blocks = Blocks("r", cite)
    linked = [
        "#s1" in "".join(element.html for element in blocks.feed(piece))
        for piece in ("So it is [", "1", "]", ".")
    ]
    assert linked == [False, False, True, True]


def test_a_text_cannot_bring_the_marks_of_a_citation() -> None:
    assert cited("\ufdd31\ufdd4 `\ufdd3[1]\ufdd4`").count("#s1") == 0


def test_a_source_that_is_known_later_is_linked_when_the_blocks_are_asked_for() -> None:
    known: dict[int, str] = {}
    blocks = Blocks("r", lambda number: known.get(number, ""))
    blocks.feed("It is so [1].\n\nEnd")
    assert "It is so [1]." in blocks.html()[0]
    known[1] = ONE
    assert f"It is so {ONE}." in blocks.html()[0]


# --- Hostile ------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)" id="announce" class="x" style="position:fixed">x</a>',
    '<div hx-get="/admin/" hx-trigger="load" hx-swap-oob="true" id="composer">x</div>',
    '<div data-hx-get="/logout/" data-slot="thread" data-action="stop">x</div>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](/admin/logout/)",
    "[x](//evil.example/)",
    '[x](http://ok.example "onmouseover=alert(1)")',
    "![alt](http://evil.example/pixel.png)",
    "[![alt](http://evil.example/p.png)](http://ok.example)",
    "![alt][ref]\n\n[ref]: http://evil.example/p.png",
    '```x" onclick="alert(1)\ncode\n```',
    '- ```py"><img src=x>\n  x\n  ```',
    "<http://ok.example/><svg onload=alert(1)>",
    "| <img src=x> | b |\n|---|---|\n| <script> | [x](javascript:1) |",
    "> <iframe src=//evil.example></iframe>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!-- --><style>*{display:none}</style>",
    '</code></pre></div><form action="//evil.example"><input name=q>',
]
ALLOWED = {
    "a": {"href", "rel", "target"},
    "button": {"type", "class", "data-copy"},
    "code": {"class", "id"},
    "div": {"class", "id", "dir", "tabindex"},
    "li": {"id", "class"},
    "ol": {"id", "start"},
    "pre": {"tabindex"},
    "span": {"id", "class"},
    "tbody": {"id"},
    "td": {"align"},
    "th": {"align"},
    "tr": {"id"},
    "ul": {"id"},
}
BARE = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "br",
    "strong",
    "em",
    "s",
    "blockquote",
    "table",
    "thead",
}


class Inspector(HTMLParser):
    """Refuses every element and attribute that only a model could have brought."""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED or tag in BARE, tag
        for name, value in attributes:
            assert name in ALLOWED.get(tag, ()), (tag, name)
            if name == "id":
                assert re.fullmatch(r"run-7-b\d+(-in|-p\d+|(-p\d+)?-t\d+(-\d+)?)?", str(value)), (
                    value
                )
            if name == "href":
                assert re.match(r"(https?://|mailto:)", str(value)), value
            if name == "class":
                allowed = {"block", "code", "code-head", "link", "table", "tail", "more"}
                assert value in allowed or re.fullmatch(r"language-[\w+#.-]+", str(value)), value


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_survives_whole_or_cut_anywhere(text: str) -> None:
    Inspector().feed("".join(render_all(text, "run-7")))
    for cut in range(1, len(text)):
        blocks = Blocks("run-7")
        for piece in (text[:cut], text[cut:], "\n\nend"):
            for element in blocks.feed(piece):
                Inspector().feed(element.html)
        blocks.finish()
        Inspector().feed("".join(blocks.html()))


def test_a_link_tells_nobody_where_it_was_clicked() -> None:
    [block] = render_all("[x](https://example.com/)", "r")
    assert 'rel="noopener noreferrer nofollow ugc"' in block
    assert 'target="_blank"' in block


def test_an_image_is_only_its_words() -> None:
    [block] = render_all("![a cat](https://example.com/cat.png)", "r")
    assert "a cat" in block
    assert "cat.png" not in block


# --- What a delta costs -------------------------------------------------------------------------------------------------

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
def test_what_is_sent_for_a_delta_does_not_grow_with_the_answer(text: str) -> None:
    blocks = Blocks("r")
    sent = [
        sum(len(element.html) for element in blocks.feed(text[at : at + 5]))
        for at in range(0, len(text), 5)
    ]
    line = max(map(len, text.splitlines()))
    most = 80 * min(line, 700) if text.startswith((">", "-")) else 6000
    # A line that is complete is rendered once more as a whole; only then may much be sent.
    assert sorted(sent)[len(sent) * 9 // 10] < 3 * MAX_PART_LINES * min(line, 60)
    assert max(sent) < most


def test_open_brackets_without_end_are_not_looked_up_again_and_again() -> None:
    started = time.thread_time()
    blocks = Blocks("r")
    for _ in range(800):
        blocks.feed("[" * 5)
    # 0.04 s here, 2 s when each delta looks for the end of every bracket.
    assert time.thread_time() - started < 0.8


def test_a_long_answer_is_rendered_quickly() -> None:
    text = "".join(LONG.values())
    started = time.thread_time()
    blocks = Blocks("r")
    for at in range(0, len(text), 5):
        blocks.feed(text[at : at + 5])
    # 80 µs a delta here; quadratic work would need minutes.
    assert time.thread_time() - started < 15
