"""Code in colours: Pygments' tokens as spans with a class of ours, line by line.

A token's class says what it is, in one letter; chat.css gives each its colour in both themes.
"""

import re
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from html import escape
from itertools import groupby, pairwise
from operator import itemgetter

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType

from .languages import lexer_name

MAX_COLOURED_CHARS = 40_000  # of a block; what follows them stays plain
# Seconds of CPU time after which a text stays plain. The slowest of the usual lexers take 4 µs for
# a character; what is made to be slow takes a thousand times as long.
TIME_ALLOWED, TIME_PER_CHAR = 0.005, 12e-6
TOKENS_PER_LOOK = 16  # tokens between two looks at the clock
# Within one token no clock can be looked at, and the time of some grows with the square of the
# letters, blanks or signs in a row, or of the line. Text with more than this stays plain.
MAX_RUN, MAX_LINE = 400, 2000
RUNS = re.compile(r"\w+|\s+|[^\w\s]+")

NAME = "name"  # of something that may be a function: it is called if a bracket follows
# Of a token's type and the types above it, the first that is listed decides.
CLASSES = {
    Token.Name: NAME,
    Token.Keyword: "k",
    Token.Keyword.Constant: "n",
    Token.Keyword.Type: "t",
    Token.Operator.Word: "k",
    Token.Comment: "c",
    Token.Comment.Preproc: "k",
    Token.Comment.PreprocFile: "s",
    Token.Literal: "n",
    Token.Literal.String: "s",
    Token.Literal.String.Doc: "c",
    Token.Literal.String.Escape: "n",
    Token.Literal.String.Interpol: "n",
    Token.Literal.String.Symbol: "n",
    Token.Name.Attribute: "t",
    Token.Name.Builtin: "t",
    Token.Name.Builtin.Pseudo: "n",
    Token.Name.Class: "t",
    Token.Name.Constant: "n",
    Token.Name.Decorator: "f",
    Token.Name.Entity: "n",
    Token.Name.Exception: "t",
    Token.Name.Function: "f",
    Token.Name.Namespace: "",
    Token.Name.Tag: "a",
    Token.Name.Variable: "a",
    Token.Generic.Deleted: "d",
    Token.Generic.Emph: "e",
    Token.Generic.Error: "d",
    Token.Generic.Heading: "h",
    Token.Generic.Inserted: "i",
    Token.Generic.Prompt: "c",
    Token.Generic.Strong: "h",
    Token.Generic.Subheading: "h",
    Token.Generic.Traceback: "d",
}
CODE_CLASSES = set(CLASSES.values()) - {"", NAME}
# Code that shows code would take any lexer, also one that isn't listed.
OPTIONS = {"handlecodeblocks": False}
# A text that makes a lexer load those of the languages inside its own.
SAMPLE = "<style>a{}</style><script>a()</script><?php a() ?>\n"

_loading = threading.Lock()
_loaded: set[str] = set()


def is_loaded(language: str) -> bool:
    """Return False if colouring this language must load its lexer first, for up to 0.2 s."""
    name = lexer_name(language)
    return not name or name in _loaded


def load(name: str) -> None:
    # One thread at a time: a lexer's class builds its tables at its first use, without a lock.
    with _loading:
        if name not in _loaded:
            for _ in new_lexer(name).get_tokens_unprocessed(SAMPLE):
                pass
            _loaded.add(name)


def new_lexer(name: str) -> Lexer:
    # A new one for each text, as some keep what they have seen. Its tables belong to its class.
    return get_lexer_by_name(name, **OPTIONS)


@lru_cache(maxsize=128)
def coloured(code: str, language: str) -> tuple[str, ...]:
    """Return the lines of the code as safe HTML, in colours if `colour_lines` has them.

    They are remembered, because each reader and each page renders the same blocks.
    """
    return colour_lines(code, language) or plain(code)


def plain(code: str) -> tuple[str, ...]:
    # Keep quotes, as the cleaner does: cut or whole, a text must give the same HTML.
    return tuple(escape(code, quote=False).split("\n"))


def colour_lines(code: str, language: str) -> tuple[str, ...] | None:
    """Return the lines of the code in colours, as safe HTML.

    Return None if the language is unknown, or if the text would take too long.
    """
    name = lexer_name(language)
    if not name:
        return None
    if len(code) > MAX_COLOURED_CHARS:
        end = code.rfind("\n", 0, MAX_COLOURED_CHARS) + 1
        head = colour_lines(code[:end], language)
        return (*head[:-1], *plain(code[end:])) if head else None
    if has_long_run(code):
        return None
    load(name)
    try:
        tokens = list(in_time(new_lexer(name).get_tokens_unprocessed(code), len(code)))
    except Exception:  # noqa: BLE001 - lexers are many and by many hands; some raise for broken code
        return None
    if "".join(text for _, text in tokens) != code:
        return None  # Better no colours than other words.
    return tuple(html_lines(with_calls(tokens)))


def has_long_run(code: str) -> bool:
    return any(len(line) > MAX_LINE for line in code.split("\n")) or any(
        found.end() - found.start() > MAX_RUN for found in RUNS.finditer(code)
    )


def in_time(tokens: Iterable[tuple[int, _TokenType, str]], chars: int) -> Iterator[tuple[str, str]]:
    """Yield the class and the text of each token. Raise TimeoutError if they take too long."""
    deadline = time.thread_time() + TIME_ALLOWED + TIME_PER_CHAR * chars
    for count, (_, token, text) in enumerate(tokens):
        if not count % TOKENS_PER_LOOK and time.thread_time() > deadline:
            raise TimeoutError
        yield class_of(token), text


@cache
def class_of(token: _TokenType) -> str:
    """Return the class of a token's type; empty if it has none."""
    types = reversed(token.split())  # itself first, then the types above it
    return next((CLASSES[kind] for kind in types if kind in CLASSES), "")


def with_calls(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the tokens, with names that are called as functions."""
    for (name, text), (_, after) in pairwise([*tokens, ("", "")]):
        yield ("f" if after.startswith("(") else "") if name == NAME else name, text


def html_lines(tokens: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the tokens' lines as HTML. A token of several lines has a span in each of them."""
    line: list[str] = []
    # Neighbours of one class, such as a string and its quotes, share a span.
    for name, group in groupby(tokens, key=itemgetter(0)):
        first, *rest = "".join(text for _, text in group).split("\n")
        line.append(span(name, first))
        for text in rest:
            yield "".join(line)
            line = [span(name, text)]
    yield "".join(line)


def span(name: str, text: str) -> str:
    text = escape(text, quote=False)
    return f'<span class="{name}">{text}</span>' if name and text.strip() else text
