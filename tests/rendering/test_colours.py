"""Code in colours: the exact text, the same for every cut, and never slow."""

import random
import re
import time
from html import unescape
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from pygments.lexer import DelegatingLexer

from chat.rendering.markdown.blocks import Blocks, render_all
from chat.rendering.markdown.code import colours
from chat.rendering.markdown.code.colours import (
    CODE_CLASSES,
    MAX_COLOURED_CHARS,
    MAX_RUN,
    coloured,
    is_loaded,
    load,
    new_lexer,
)
from chat.rendering.markdown.code.languages import LEXERS, lexer_name
from chat.rendering.markdown.code.listing import MAX_CODE_LINES
from tests.cases import one_in

from .test_markdown import pieces

SPAN = re.compile(r'<span class="(\w)">([^<]*)</span>')


def text_of(html: str) -> str:
    """Return what the copy button of a block of code copies."""
    [code] = re.findall(r"<code[^>]*>(.*?)</code>", html, re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", "", code))


def words_of(html: str) -> dict[str, str]:
    """Return the coloured words with their classes."""
    return {unescape(text): name for name, text in SPAN.findall(html)}


@pytest.mark.parametrize(
    ("language", "code", "words"),
    [
        (
            "python",
            'def area(r):\n    """Of a circle."""\n    return 3.14 * r ** 2  # about\n',
            {"def": "k", "area": "f", "return": "k", "3.14": "n", "# about": "c"},
        ),
        (
            "typescript",
            "const n: number = 1;\nexport function f() { return `a${n}`; }\n",
            {"const": "k", "number": "t", "function": "k", "f": "f", "`a": "s"},
        ),
        (
            "json",
            '{"a": [1, true, null], "b": "text"}\n',
            {'"a"': "a", "1": "n", "true": "n", "null": "n", '"text"': "s"},
        ),
        ("diff", "- old line\n+ new line\n@@ 1 @@\n", {"- old line": "d", "+ new line": "i"}),
        ("go", "x := area(1)\n", {"area": "f", "1": "n"}),
    ],
)
def test_words_of_code_have_the_class_of_what_they_are(
    language: str, code: str, words: dict[str, str]
) -> None:
    [block] = render_all(f"```{language}\n{code}```\n", "r")
    assert f"<span>{language}</span>" in block
    assert text_of(block) == code
    assert words.items() <= words_of(block).items()


@pytest.mark.parametrize(
    ("names", "lexer"),
    [
        ("py py3 python3 Python ipython pycon .py", "python"),
        ("js mjs node JavaScript", "javascript"),
        ("ts mts", "typescript"),
        ("tsx", "tsx"),
        ("jsx", "jsx"),
        ("sh bash zsh shell fish", "bash"),
        ("console shell-session terminal", "console"),
        ("ps1 powershell pwsh", "powershell"),
        ("cpp c++ C++ cc hpp", "cpp"),
        ("c h", "c"),
        ("cs c# csharp", "csharp"),
        ("fs f#", "fsharp"),
        ("yml yaml docker-compose", "yaml"),
        ("docker dockerfile Dockerfile", "docker"),
        ("go golang", "go"),
        ("rs rust", "rust"),
        ("kt kts kotlin", "kotlin"),
        ("objc objective-c obj-c", "objective-c"),
        ("vue svelte", "vue"),
        ("html htm", "html"),
        ("jsonc json5", "json5"),
        ("json jsonl", "json"),
        ("toml", "toml"),
        ("ini env dotenv cfg", "ini"),
        ("diff patch", "diff"),
        ("make makefile", "make"),
        ("sql sqlite", "sql"),
        ("postgres postgresql pgsql", "postgresql"),
        ("plsql oracle", "plpgsql"),
        ("tsql mssql", "tsql"),
        ("mysql mariadb", "mysql"),
        ("tf terraform hcl", "terraform"),
        ("r", "splus"),
        ("tex latex", "tex"),
        ("md markdown", "markdown"),
        ("text txt plaintext mermaid csv foolang", ""),
    ],
)
def test_names_of_languages_are_known_as_models_write_them(names: str, lexer: str) -> None:
    assert {name: lexer_name(name) for name in names.split()} == dict.fromkeys(names.split(), lexer)


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("rust,ignore", "rust"),
        ("{python}", "python"),
        ("py:app/main.py", "py"),
        ('js title="a.js"', "js"),
        ("C++", "C++"),
        ("", "text"),
        ('"><b>', "b"),
    ],
)
def test_label_is_the_language_as_it_is_written(info: str, language: str) -> None:
    [block] = render_all(f"```{info}\nx\n```", "r")
    assert f"<span>{language}</span>" in block
    assert f'class="language-{language}"' in block


@pytest.mark.parametrize("language", ["foolang", ""])
def test_code_in_an_unknown_language_is_plain(language: str) -> None:
    [block] = render_all(f"```{language}\na <b> & 'c'\n```", "r")
    assert text_of(block) == "a <b> & 'c'\n"
    assert not SPAN.search(block)


EXACT = [
    "\n\n  a \t \n\tb\t\n\n\n",
    "x = 1",
    "x = '''\n\n  y\t \n",
    "<b>&amp;</b> \u00a0\u2028x\n",
    "#!/bin/sh\n\n",
    "   \n",
]


@pytest.mark.parametrize(
    "language", ["py", "sh", "make", "json", "html", "diff", "yaml", "c", "md"]
)
@pytest.mark.parametrize("code", EXACT)
def test_text_of_code_is_exact(language: str, code: str) -> None:
    whole = code if code.endswith("\n") else f"{code}\n"
    for end in ("```", ""):
        [block] = render_all(f"```{language}\n{whole}{end}", "r")
        assert text_of(block) == whole


CODE = [
    *("def f(x):", '    """', "    text def", "'''", "/* open", "*/ x = 1", "// c", "# c", ""),
    *("\tx = 1", "    y <b> & c;", "`a ${b", "}`", "<!-- c", "-->", "<style>", "</style>", "\\"),
    *("SELECT 'it", "s' FROM t;", "{", '"a": [1, true],', "}", "<<EOF", "EOF", "=begin", "=end"),
    *("- old", "+ new", "@@ 1 @@", "$ ls", "  ", "\t", "a: &b |", "%{", "~~~", "``", "é 👩‍👩‍👧 中"),
]
OFTEN = ("python", "ts", "bash", "html", "c++", "yaml", "sql", "ruby", "md", "rust", "php", "foo")


@pytest.mark.parametrize("seed", one_in(4, range(200)))
def test_code_cut_anywhere_ends_with_the_same_colours_and_its_exact_text(seed: int) -> None:
    choose = random.Random(seed)
    lines = [choose.choice(CODE) for _ in range(choose.randint(1, 5 * MAX_CODE_LINES))]
    code = "\n".join(lines)
    text = f"```{choose.choice(OFTEN)}\n{code}\n" + choose.choice(["```", "```\n\nwords", ""])
    blocks = Blocks("r")
    page: dict[str, str] = {}
    for piece in pieces(text, choose):
        page |= {element.id: element.inner for element in blocks.feed(piece)}
    page |= {element.id: element.inner for element in blocks.finish()}
    html = render_all(text, "r")
    assert blocks.html() == html
    assert text_of(html[0]) == f"{code}\n"
    for id_, part in re.findall(r'<span id="([^"]*)">(.*?\n)</span>', html[0], re.DOTALL):
        # What the stream sent last is what history shows.
        assert page.get(id_, part) == part
        assert re.sub(SPAN, "", part).count("<") == 0
        assert all(line.count("<span") == line.count("</span>") for line in part.split("\n"))


LONG_STRING = 'x = """\n' + "text def line\n" * 30 + '"""\ndef after(): pass\n'


@pytest.mark.parametrize("end", ["```\n", ""])
def test_string_longer_than_a_part_is_one_at_the_end(end: str) -> None:
    blocks = Blocks("r")
    for line in f"```python\n{LONG_STRING}{end}".splitlines(keepends=True):
        blocks.feed(line)
    blocks.finish()
    [block] = blocks.html()
    assert text_of(block) == LONG_STRING
    assert SPAN.findall(block).count(("k", "def")) == 1
    assert SPAN.findall(block).count(("s", "text def line")) == 30
    assert ("k", "pass") in SPAN.findall(block)


def test_part_is_coloured_when_it_is_full() -> None:
    blocks = Blocks("r")
    blocks.feed("```python\n" + "return 1\n" * (MAX_CODE_LINES - 1))
    assert "return 1" in blocks.html()[0]
    [full] = blocks.feed("return 1\n")
    assert full.inner == '<span class="k">return</span> <span class="n">1</span>\n' * MAX_CODE_LINES
    [growing] = blocks.feed("return")
    assert (growing.id, growing.inner) == ("r-b0-p1", "return")


def test_end_of_code_sends_only_parts_whose_colours_differ() -> None:
    blocks = Blocks("r")
    blocks.feed("```python\n" + "return 1\n" * (3 * MAX_CODE_LINES + 1))
    assert [element.id for element in blocks.feed("```\n")] == ["r-b0-p3"]


@pytest.mark.parametrize(
    "text",
    [
        "- ```py\n  return 1\n",
        "> a\n>\n> ```py\n> return 1\n",
        "1. a\n   - b\n     ```py\n     return 1\n",
    ],
)
def test_nested_code_is_coloured_when_its_end_is_there(text: str) -> None:
    blocks = Blocks("r")
    blocks.feed(text)
    assert not SPAN.search(blocks.html()[0])
    blocks.feed(text.splitlines()[-1].replace("return 1", "```") + "\n")
    [block] = blocks.html()
    assert words_of(block) == {"return": "k", "1": "n"}
    assert text_of(block) == "return 1\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```make\nall:\n\tcc x.c\n\t\tb\n```", "all:\n\tcc x.c\n\t\tb\n"),
        ("1. Run:\n   ```make\n   all:\n   \tcc\n   ```", "all:\n\tcc\n"),
        ("- a\n  - b\n\n    ```make\n    all:\n    \tcc\n    ```", "all:\n\tcc\n"),
        ("- x\n\n\t```make\n\tall:\n\t\tcc\n\t```", "all:\n\tcc\n"),
        ("> ```make\n> all:\n> \tcc\n> ```", "all:\n\tcc\n"),
        ("1. Run:\n   ```\n   a\n\tb\n   ```", "a\n b\n"),  # One column is left of this tab.
    ],
)
def test_tabs_inside_fences_stay_tabs(text: str, code: str) -> None:
    for step in (1, 3, len(text)):
        blocks = Blocks("r")
        for at in range(0, len(text), step):
            blocks.feed(text[at : at + step])
        blocks.finish()
        [block] = blocks.html()
        assert text_of(block) == code


def test_lines_after_a_long_block_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine the lines before take several times as long as the product allows.
    monkeypatch.setattr(colours, "TIME_PER_CHAR", 8 * colours.TIME_PER_CHAR)
    code = "return 1\n" * (MAX_COLOURED_CHARS // 9 + 30)
    [block] = render_all(f"```python\n{code}```", "r")
    assert text_of(block) == code
    assert len(SPAN.findall(block)) == 2 * (MAX_COLOURED_CHARS // 9)


# Each takes a lexer a second or far more if nothing stops it.
SLOW = {
    "php": "<?php " + "$" * 10_000,
    "php in lines": "<?php " + ("$" * MAX_RUN + "\n") * 90,
    "python": " \n" * 19_000,
    "python in lines": (" \n" * 150 + "a\n") * 100,
    "scala": '"' + "\\\\ " * 2000,
    "fish": '"' + "\\\\ " * 2000,
    "ini": "a = " + " " * 30_000,
    "ini in words": "a::" * 13_000,
    "ini in lines": ("a::" * 600 + "\n") * 20,
    "ocaml": "0" * 30_000,
    "c": "<" + "\n a" * 13_000,
    "csharp": "a\n" * 19_000,
    "markdown": "```php\n" + "$" * 30_000,
    "typescript": "a." * 19_000,
}


@pytest.mark.parametrize("language", SLOW)
def test_text_that_is_slow_to_colour_is_shown_plain_in_time(language: str) -> None:
    name = lexer_name(language.split()[0])
    load(name)
    started = time.thread_time()
    lines = coloured(SLOW[language], name)
    assert unescape(re.sub("<[^>]*>", "", "\n".join(lines))) == SLOW[language]
    # 0.5 s at most when this was written.
    assert time.thread_time() - started < 1.5


def test_slow_code_is_not_tried_again_with_each_part() -> None:
    blocks = Blocks("r")
    load("csharp")
    blocks.feed("```c#\n" + "a\n" * 2000)
    started = time.thread_time()
    for _ in range(1000):
        blocks.feed("a\n")
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("name", sorted(LEXERS.split()))
def test_each_lexer_keeps_the_text_and_uses_our_classes(name: str) -> None:
    code = "\n".join(CODE) + "\n"
    lines = coloured(code, name)
    assert unescape(re.sub("<[^>]*>", "", "\n".join(lines))) == code
    assert {name for name, _ in SPAN.findall("\n".join(lines))} <= CODE_CLASSES
    assert is_loaded(name)


def test_no_lexer_reads_all_before_its_first_token() -> None:
    # Such a lexer can't be stopped when it takes too long.
    assert not [name for name in LEXERS.split() if isinstance(new_lexer(name), DelegatingLexer)]


def channel(value: int) -> float:
    part = value / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    red, green, blue = (channel(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def sheet() -> str:
    path = finders.find("chat/chat.css")
    assert isinstance(path, str)
    return Path(path).read_text()


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_of_code_can_be_read_in_both_themes(theme: int) -> None:
    css = sheet()
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", css)
    colours = {name: pair[theme] for name, *pair in found}
    used = [name for name in colours if name.startswith("code-")]
    assert len(used) <= 7
    for name in [*used, "quiet", "text"]:
        assert contrast(colours[name], colours["raised"]) >= 4.5, name


def test_each_class_of_code_has_a_rule() -> None:
    assert set(re.findall(r"^\.code \.(\w)(?:,| \{)$", sheet(), re.MULTILINE)) == CODE_CLASSES
