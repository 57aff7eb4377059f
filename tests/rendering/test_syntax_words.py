"""Words of a line: breaks, tags, tasks, headings, comments and emphasis beside CJK text."""

import pytest

from .reading import read, read_growing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", "<p>one<br>two</p>"),
        ("one  \ntwo\\\nthree", "<p>one<br>two<br>three</p>"),
        ("- one\n  two", "<ul><li>one<br>two</li></ul>"),
        ("> one\n> two", "<blockquote><p>one<br>two</p></blockquote>"),
        ("one<br>two<br/>three<BR />four", "<p>one<br>two<br>three<br>four</p>"),
        ("one<br>\ntwo", "<p>one<br>two</p>"),
    ],
)
def test_line_end_is_one_break(text: str, expected: str) -> None:
    assert read(text) == expected


def test_break_in_a_cell_of_a_table() -> None:
    assert "<td>one<br>two</td><td>three<br>four</td>" in read(
        "|a|b|\n|-|-|\n|one<br>two|three<br/>four|"
    )


@pytest.mark.parametrize("levels", [(1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (6, 6)])
def test_heading_is_two_levels_below(levels: tuple[int, int]) -> None:
    written, shown = levels
    assert read(f"{'#' * written} Title") == f"<h{shown}>Title</h{shown}>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "H<sub>2</sub>O and x<sup>**2**</sup>",
            "H<sub>2</sub>O and x<sup><strong>2</strong></sup>",
        ),
        ("<kbd>Ctrl</kbd>+<KBD>C</KBD>", "<kbd>Ctrl</kbd>+<kbd>C</kbd>"),
        ("**<mark>a *b*</mark>**", "<strong><mark>a <em>b</em></mark></strong>"),
        (
            "[a<sub>b](http://x.example)</sub>",
            '<a href="http://x.example">a&lt;sub&gt;b</a>&lt;/sub&gt;',
        ),
        ("<sub>a", "&lt;sub&gt;a"),
        ("a</sub>", "a&lt;/sub&gt;"),
        ("<sub>a<sup>b</sub>", "<sub>a&lt;sup&gt;b</sub>"),
        ("`<sub>a</sub>`", "<code>&lt;sub&gt;a&lt;/sub&gt;</code>"),
        (r"\<sub>a</sub>", "&lt;sub&gt;a&lt;/sub&gt;"),
        ("<sub hidden>a</sub>", "&lt;sub hidden&gt;a&lt;/sub&gt;"),
        ("List<String>, a <b and c> d", "List&lt;String&gt;, a &lt;b and c&gt; d"),
    ],
)
def test_pair_of_tags_is_kept_and_all_else_is_text(text: str, expected: str) -> None:
    assert read(text) == f"<p>{expected}</p>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "- [ ] open\n- [x] done",
            "<ul><li><span>☐</span> open</li><li><span>☑</span> done</li></ul>",
        ),
        ("1. [ ] a\n2. [X] b", "<ol><li><span>☐</span> a</li><li><span>☑</span> b</li></ol>"),
        ("- a\n  - [ ] b", "<ul><li>a<ul><li><span>☐</span> b</li></ul></li></ul>"),
        ("> - [x] b", "<blockquote><ul><li><span>☑</span> b</li></ul></blockquote>"),
        ("- [ ]", "<ul><li>[ ]</li></ul>"),
        ("- [y] a", "<ul><li>[y] a</li></ul>"),
        ("[x] a", "<p>[x] a</p>"),
    ],
)
def test_box_at_the_beginning_of_an_item_is_a_task(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <!-- hidden --> b", "<p>a  b</p>"),
        ("a <!-- hidden\nhere --> b", "<p>a  b</p>"),
        ("a\n\n<!-- one\n\n# two -->\n\nb", "<p>a</p><p>b</p>"),
        ("<!-- one --> **b**", "<p> <strong>b</strong></p>"),
        ("- a\n  <!-- one\n  two -->\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("`<!-- a -->`", "<p><code>&lt;!-- a --&gt;</code></p>"),
        ("    <!-- a -->", "<div><div><span>text"),
        ("a\n\n<!-- no end\n\n**b**", "<p>a</p><p>&lt;!-- no end</p><p><strong>b</strong></p>"),
        ("a <!-- no end", "<p>a &lt;!-- no end</p>"),
    ],
)
def test_comment_is_hidden_if_it_ends(text: str, expected: str) -> None:
    assert read(text).startswith(expected)


def test_comment_without_an_end_does_not_swallow_a_long_answer() -> None:
    text = "<!-- no end\n" + "words\n\n" * 100
    assert read_growing(text).count("words") > 60
    assert read(text).count("words") == 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("这是**「强调」**的", "这是<strong>「强调」</strong>的"),
        ("**注意：**请", "<strong>注意：</strong>请"),
        ("これは**「重要」**です", "これは<strong>「重要」</strong>です"),
        ("**“강조”**는", "<strong>“강조”</strong>는"),
        ("*（注）*は ~~「旧」~~を", "<em>（注）</em>は <s>「旧」</s>を"),
        ("** 不 **", "** 不 **"),
        ('a**"b"**c', 'a**"b"**c'),
        ("foo_bar_baz and 2 * 3 * 4 = 24", "foo_bar_baz and 2 * 3 * 4 = 24"),
    ],
)
def test_punctuation_beside_cjk_text_does_not_stop_emphasis(text: str, expected: str) -> None:
    assert read(text) == f"<p>{expected}</p>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("H<su", "H"),
        ("H<sub>2", "H<sub>2</sub>"),
        ("H<sub>2</s", "H<sub>2</sub>"),
        ("one<br", "one"),
        ("a <!-- hid", "a "),
        ("a ~~b", "a <s>b</s>"),
        ("a __b c_", "a <strong>b c</strong>"),
        ("a _b", "a <em>b</em>"),
        ("a_b", "a_b"),
        ("List<Str", "List&lt;Str"),
    ],
)
def test_growing_line_shows_no_halves(text: str, expected: str) -> None:
    assert read_growing(text) == f"<p>{expected}</p>"
