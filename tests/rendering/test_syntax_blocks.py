"""Details and footnotes: blocks that CommonMark doesn't have."""

import pytest

from chat.rendering.markdown.blocks import Blocks

from .reading import bare, read, read_growing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<details>\n<summary>More</summary>\n\nHidden *text*\n\n- item\n\n</details>\n\nAfter",
            "<details><summary>More</summary><div><div><p>Hidden <em>text</em></p></div>"
            "<div><ul><li>item</li></ul></div></div></details><p>After</p>",
        ),
        (
            "<details open><summary>More</summary>One line</details>",
            "<details open><summary>More</summary><div><div><p>One line</p></div></div></details>",
        ),
        (
            "<details>\n<summary>\n<b>More</b> <code>a[0]</code>\n</summary>\nx\n</details>",
            "<details><summary>More <code>a[0]</code></summary>"
            "<div><div><p>x</p></div></div></details>",
        ),
        (
            "<details>\nno summary\n</details>\nend",
            "<details><summary>Details</summary><div><div><p>no summary</p></div></div></details>"
            "<p>end</p>",
        ),
        (
            "<details><summary>A</summary>\n<details><summary>B</summary>\nb\n</details>\na",
            "<details><summary>A</summary><div><div><details><summary>B</summary>"
            "<div><div><p>b</p></div></div></details></div><div><p>a</p></div></div></details>",
        ),
        (
            "- a\n  <details>\n  <summary>M</summary>\n\n  b\n\n  </details>\n- c",
            "<ul><li><p>a</p><details><summary>M</summary><p>b</p></details></li><li>c</li></ul>",
        ),
        ("<details class=x>", "<p>&lt;details class=x&gt;</p>"),
        ("a </details>", "<p>a &lt;/details&gt;</p>"),
        ("`<details>`", "<p><code>&lt;details&gt;</code></p>"),
    ],
)
def test_details_take_the_blocks_up_to_their_end(text: str, expected: str) -> None:
    assert read(text) == expected


def test_end_of_details_in_code_is_code() -> None:
    text = "<details>\n\n```\n</details>\n```\n`</details>`\n\nb"
    assert read(text).count("&lt;/details&gt;") == 2
    assert read(text).endswith("<p>b</p></div></div></details>")


def test_blocks_go_into_details_that_are_not_sent_again() -> None:
    blocks = Blocks("r")
    [details] = blocks.feed("<details>\n<summary>More</summary>\n")
    sent = blocks.feed("\nHidden\n\nmore") + blocks.feed(" words\n</details>\nAfter")
    sent += blocks.finish()
    assert details.id == "r-b0"
    assert {element.slot for element in sent if element.id == "r-b1"} == {"r-b0-in"}
    assert "r-b0" not in {element.id for element in sent}
    assert blocks.html()[1].endswith("<p>After</p></div>")


def test_many_nested_details_are_bounded() -> None:
    text = "<details>\n" * 1000 + "words"
    assert read(text).count("<details>") == 8
    assert read(text).count("&lt;details&gt;") == 992


@pytest.mark.parametrize("text", ["<", "<det", "<details", "<details>", "<details>\n<summary>Mo"])
def test_growing_details_are_not_shown_before_their_summary(text: str) -> None:
    assert read_growing(text) == ""


def test_growing_end_of_details_is_not_shown() -> None:
    for end in ("</", "</detai", "</details>"):
        assert "lt;" not in read_growing(f"<details>\nwords{end}")


def test_notes_are_numbered_by_their_first_use() -> None:
    text = "a[^b] c[^2] d[^b]\n\n[^2]: Two\n[^b]: Bee\n    *more*\n\n    - item\n\nend"
    assert read(text) == (
        '<p>a<sup><a href="#r-note-1">1</a></sup> c<sup><a href="#r-note-2">2</a></sup>'
        ' d<sup><a href="#r-note-1">1</a></sup></p>'
        '<div><a href="#r-b0">2</a><div><div><p>Two</p></div></div></div>'
        '<div><a href="#r-b0">1</a><div><div><p>Bee<br><em>more</em></p>'
        "<ul><li>item</li></ul></div></div></div><p>end</p>"
    )


def test_note_without_a_definition_is_text() -> None:
    assert read("The class [^abc] and [^1]") == "<p>The class [^abc] and [^1]</p>"


def test_number_of_a_note_is_a_mark_before_its_definition() -> None:
    blocks = Blocks("r")
    blocks.feed("a[^1] b[^word]\n")
    assert bare(blocks.html()[0]) == '<p>a<sup><a href="#r-note-1">1</a></sup> b[^word]</p>'
