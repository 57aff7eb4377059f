"""Links: bare addresses, references with their definitions, and images."""

import pytest

from chat.rendering.markdown.blocks import Blocks, render_all

from .reading import bare, read, read_growing


def link(address: str, words: str = "") -> str:
    return f'<a href="{address}">{words or address}</a>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://a.example/docs.", f"See {link('https://a.example/docs')}."),
        ("(see https://a.example/a_(b) there)", f"(see {link('https://a.example/a_(b)')} there)"),
        ("(https://a.example/b)", f"({link('https://a.example/b')})"),
        ("Go to www.a.example now", f"Go to {link('http://www.a.example', 'www.a.example')} now"),
        ("To a_b@a.example.", f"To {link('mailto:a_b@a.example', 'a_b@a.example')}."),
        ("**https://a.example/x**", f"<strong>{link('https://a.example/x')}</strong>"),
        ("*https://a.example/x*", f"<em>{link('https://a.example/x')}</em>"),
        ("https://a.example/_b_/*c*/d", link("https://a.example/_b_/*c*/d")),
        ("https://a.example/$b/c$d", link("https://a.example/$b/c$d")),
        ("看https://a.example/a，然后", f"看{link('https://a.example/a')}，然后"),
        (
            "https://ü.example/ß x",
            link("https://xn--tda.example/%C3%9F", "https://ü.example/ß") + " x",
        ),
        ("http://localhost:8000/?a=1&b=2", link("http://localhost:8000/?a=1&amp;b=2")),
        ("<https://a.example/>", link("https://a.example/")),
        ("[https://a.example](https://b.example)", link("https://b.example", "https://a.example")),
    ],
)
def test_bare_address_is_a_link(text: str, expected: str) -> None:
    assert read(text) == f"<p>{expected}</p>"


@pytest.mark.parametrize(
    "text",
    [
        "main.py, README.md, setup.sh, node.js, 1.2.3 and e.g. this",
        "ftp://a.example and xhttps://a.example",
        "http: and www. and https:// alone",
        "@name, a@b, a @ b.example, git@a.example:b and package@1.2",
    ],
)
def test_other_words_are_no_links(text: str) -> None:
    assert read(text) == f"<p>{text}</p>"


def test_address_in_code_is_no_link() -> None:
    assert "<a " not in read("`https://a.example`\n\n```\nhttps://a.example\n```")


@pytest.mark.parametrize("text", ["at https://a.exa", "at www.a", "at a@b.exam", "[a](https://a.e"])
def test_growing_address_is_no_link(text: str) -> None:
    assert "<a " not in read_growing(text)


DEFINED = '\n\n[d]: https://d.example/ "Title"\n[two words]: <https://two.example>\n[7]: https://7.example'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[text][d]", link("https://d.example/", "text")),
        (
            "[D][] and [d]",
            f"{link('https://d.example/', 'D')} and {link('https://d.example/', 'd')}",
        ),
        ("[x][Two\n  WORDS]", link("https://two.example", "x")),
        ("[x][Two  WORDS]", link("https://two.example", "x")),
        ("[a *b*][d]", link("https://d.example/", "a <em>b</em>")),
        ("[7]", link("https://7.example", "[7]")),
        ("[text][7]", link("https://7.example", "text")),
        ("[text][none] [none]", "[text][none] [none]"),
        ("`[d]`", "<code>[d]</code>"),
        (r"\[d]", "[d]"),
        ("a[i][7]", "a[i][7]"),
    ],
)
def test_reference_is_a_link_if_it_is_defined(text: str, expected: str) -> None:
    assert read(text + DEFINED).startswith(f"<p>{expected}</p>")


def test_definition_is_hidden_if_a_link_needs_it() -> None:
    assert read("[a] [b]\n[a]: https://a.example\n[c]: https://c.example") == (
        f"<p>{link('https://a.example', 'a')} [b]</p><p>[c]: {link('https://c.example')}</p>"
    )


def test_definition_of_another_scheme_is_text() -> None:
    assert read("[a]\n\n[a]: javascript:alert(1)") == "<p>[a]</p><p>[a]: javascript:alert(1)</p>"


def test_references_are_resolved_at_the_end() -> None:
    blocks = Blocks("r")
    blocks.feed("[a]\n\n[b]: https://b.example\n\n[b]\n\n[a]: https://a.example\n")
    assert "".join(map(bare, blocks.html())) == (
        f"<p>[a]</p><p>[b]: {link('https://b.example')}</p><p>[b]</p>"
    )
    sent = {element.id: bare(element.html) for element in blocks.finish()}
    assert sent == {
        "r-b0": f"<p>{link('https://a.example', 'a')}</p>",
        "r-b1": "",
        "r-b2": f"<p>{link('https://b.example', 'b')}</p>",
    }


def test_number_with_a_source_is_a_citation_and_not_a_reference() -> None:
    blocks = Blocks("r", lambda number: f"<a>source {number}</a>" if number == 1 else "")
    blocks.feed("[1] and [2] and [x][1]\n\n[1]: https://1.example\n[2]: https://2.example")
    blocks.finish()
    two, one = link("https://2.example", "[2]"), link("https://1.example", "x")
    assert [bare(html) for html in blocks.html()] == [f"<p><a>source 1</a> and {two} and {one}</p>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "![A *red* fox](https://a.example/f.png)",
            link("https://a.example/f.png", "<span>A red fox</span>"),
        ),
        (
            "[![Built](https://a.example/b)](https://c.example)",
            link("https://c.example", "<span>Built</span>"),
        ),
        (
            "![](https://a.example/f.png)",
            link("https://a.example/f.png", "<span>Image (a.example)</span>"),
        ),
        (
            "![a [b](https://x.example)](https://a.example)",
            link("https://a.example", "<span>a b</span>"),
        ),
        ("![a](data:image/png;base64,AAAA)", "<span>a</span>"),
        ("![a](local.png)", "<span>a</span>"),
        ("![a][d]", link("https://d.example/", "<span>a</span>")),
        ("[![a][7]][d]", link("https://d.example/", "<span>a</span>")),
        ("![a][none]", "![a][none]"),
    ],
)
def test_image_is_a_link_with_its_words(text: str, expected: str) -> None:
    assert read(text + DEFINED).startswith(f"<p>{expected}</p>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [text][la", "see text"),
        ("see [te", "see te"),
        ("see [text]", "see text"),
        ("see [text] x", "see [text] x"),
        ("see [1]", "see [1]"),
        ("so[^1", "so"),
        ("![alt](https://a.exa", "alt"),
    ],
)
def test_growing_line_shows_no_half_of_a_link(text: str, expected: str) -> None:
    assert read_growing(text) == f"<p>{expected}</p>"


@pytest.mark.parametrize(
    "text", ["[", "[la", "[label]", "[label]:", "[label]: https://a.exam", "[^1]: No"]
)
def test_line_that_may_be_a_definition_is_not_shown(text: str) -> None:
    assert read_growing(text) == ""


def test_history_has_what_the_stream_has_at_the_end() -> None:
    text = "[a] and [^n] and [^1]\n\n[a]: https://a.example\n[^1]: One [a]\n[^n]: N"
    blocks = Blocks("r")
    shown = {element.id: element.html for character in text for element in blocks.feed(character)}
    shown |= {element.id: element.html for element in blocks.finish()}
    assert [shown[f"r-b{number}"] for number in (0, 2, 3)] == render_all(text, "r")
