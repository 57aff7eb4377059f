"""Numbers in brackets as links to the sources of an answer."""

import pytest

from chat.rendering.markdown.blocks import Blocks, render_all


def cite(number: int) -> str:
    return f'<a href="#s{number}">[{number}]</a>' if number < 4 else ""


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
        ("# Title [1]", f"<h3>Title {ONE}</h3>"),
        ("- item [1]", f"item {ONE}</li>"),
        ("| a [1] |\n|---|\n| b [2] |", f"<th>a {ONE}</th>"),
        ("| a [1] |\n|---|\n| b [2] |", f"<td>b {TWO}</td>"),
        ("> quoted [1]", f"<p>quoted {ONE}</p>"),
        ("[1] is the first [link](http://x.example)", f"{ONE} is the first <a href="),
        ("`x` [1]", f"<code>x</code> {ONE}"),
        ("中文[1]。", f"中文{ONE}。"),
    ],
)
def test_number_in_brackets_is_linked_if_there_is_such_a_source(text: str, expected: str) -> None:
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
def test_other_brackets_stay_unchanged(text: str) -> None:
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
def test_link_in_the_answer_is_not_a_citation(text: str) -> None:
    html = cited(text)
    assert html.count("https://x.example") == "".join(render_all(text, "r")).count(
        "https://x.example"
    )
    assert "#s1" not in html


def test_citation_is_linked_from_its_last_bracket_on() -> None:
    blocks = Blocks("r", cite)
    linked = [
        "#s1" in "".join(element.html for element in blocks.feed(piece))
        for piece in ("So it is [", "1", "]", ".")
    ]
    assert linked == [False, False, True, True]


def test_text_cannot_contain_the_marks_of_a_citation() -> None:
    assert cited("\ufdd31\ufdd4 `\ufdd3[1]\ufdd4`").count("#s1") == 0


def test_source_that_arrives_later_is_linked_in_earlier_blocks() -> None:
    known: dict[int, str] = {}
    blocks = Blocks("r", lambda number: known.get(number, ""))
    blocks.feed("It is so [1].\n\nEnd")
    assert "It is so [1]." in blocks.html()[0]
    known[1] = ONE
    assert f"It is so {ONE}." in blocks.html()[0]
