"""Which marks of a text are citations, and where it has code."""

import pytest

from tooling.citations import citations_in, defined_in, without_code


def cited(text: str) -> list[tuple[int, ...]]:
    return [citation.numbers for citation in citations_in(without_code(text))]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("So [1], so [2, 3][4] and [ 5 ].", [(1,), (2, 3), (4,)]),
        ("an index a[1], a[i][2]; 中文[3]", [(3,)]),
        ("escaped \\[1] \\[2\\], a link [3](https://x.example), [0], [1000]", []),
        ("[1]: https://x.example\n[2]: so it is", [(2,)]),
        ("`a [1]`, ``b ` [2]`` and ` [3]", [(3,)]),
        ("```\n[1]\n```\n[2]\n~~~\n[3]\n```\n[4]", [(2,)]),
        ("- ```\n  [1]\n  ```\n- [2]\n\n    [3]", [(2,), (3,)]),
        ("Code:\n\n    [1]\n\nNo code [2]", [(2,)]),
        ("`open\n\nin another paragraph` [1]", [(1,)]),
    ],
)
def test_numbers_in_brackets_are_citations_where_the_page_links_them(
    text: str, numbers: list[tuple[int, ...]]
) -> None:
    assert cited(text) == numbers


def test_places_stay_the_same_without_code() -> None:
    text = "`a` [1]\n\n```\nx\n```\n[2]"
    assert len(without_code(text)) == len(text)
    assert [text[each.start : each.end] for each in citations_in(without_code(text))] == [
        "[1]",
        "[2]",
    ]


def test_text_may_define_numbers_by_itself() -> None:
    assert defined_in("So [1].\n\n[1]: https://x.example\n [2]: no address") == {1}
