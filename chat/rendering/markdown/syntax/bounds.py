"""How much of a text the parser reads in one go: what is beyond that is shown as it was written.

Each follower of a run renders its answer, on the event loop that carries all others.
"""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_block import StateBlock, blockquote, list_block, table
from markdown_it.rules_block.table import getLine
from markdown_it.token import Token
from markdown_it.utils import EnvType

MAX_PARSED = 8000  # characters of words in one render. The slowest take 5 ms for a thousand
# Characters that are read together: many marks take time that grows with the square of these.
MAX_TOGETHER = 4000
MAX_COLUMNS = 40  # of a table; each row takes time for all of them
# The parser drops the words at its own limit of 20. A list takes two levels, one for its item.
MAX_LEVEL = 17
PARSED = "parsed"  # in the parser's environment: the characters that were read so far


def bounds(md: MarkdownIt) -> None:
    """Bound the rules that were added before."""
    md.inline = Inline(md.inline)
    md.block.ruler.at("table", read_table, {"alt": ["paragraph"]})
    md.block.ruler.at("blockquote", read_quote, {"alt": ["paragraph", "blockquote", "list"]})
    md.block.ruler.at("list", read_list, {"alt": ["paragraph", "blockquote"]})


class Inline(ParserInline):
    """An inline parser that reads no more than MAX_PARSED characters in one render."""

    def __init__(self, parser: ParserInline) -> None:
        vars(self).update(vars(parser))
        self._parser = parser

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        room = max(0, MAX_PARSED - env.get(PARSED, 0))
        env[PARSED] = MAX_PARSED - room + len(src)
        for piece in pieces(src[:room]):
            tokens += self._parser.parse(piece, md, env, [])
        if rest := src[room:]:
            tokens.append(Token("text", "", 0, content=rest))
        return tokens


def pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces of at most MAX_TOGETHER characters, cut at an end of line or word.

    A link or emphasis that goes over a cut stays as it was written.
    """
    start = 0
    while len(text) - start > MAX_TOGETHER:
        most = start + MAX_TOGETHER
        end = max(text.rfind("\n", start, most), 0) or text.rfind(" ", start, most)
        end = end + 1 if end >= start else most
        yield text[start:end]
        start = end
    yield text[start:]


def read_table(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if start_line + 1 < end_line and getLine(state, start_line + 1).count("|") > MAX_COLUMNS + 1:
        return False
    return table(state, start_line, end_line, silent)


def read_quote(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    return state.level < MAX_LEVEL and blockquote(state, start_line, end_line, silent)


def read_list(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    return state.level < MAX_LEVEL and list_block(state, start_line, end_line, silent)
