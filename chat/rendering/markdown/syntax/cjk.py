"""Emphasis beside Chinese, Japanese and Korean text.

In CommonMark, `**` between a letter and punctuation can't open or close emphasis: **「強調」**の
would keep its asterisks. These scripts put no spaces between words, so beside them only white
space decides.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token
from markdown_it.utils import EnvType

CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)


class State(StateInline):
    """The state of the inline parser, with other rules beside these scripts."""

    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        scanned = super().scanDelims(start, canSplitWord)
        if not canSplitWord or self.src.isascii():
            return scanned
        end = start + scanned.length
        before = self.src[start - 1] if start else " "
        after = self.src[end] if end < self.posMax else " "
        if not (CJK.match(before) or CJK.match(after)):
            return scanned
        return Scanned(
            can_open=scanned.can_open or not after.isspace(),
            can_close=scanned.can_close or not before.isspace(),
            length=scanned.length,
        )


class Inline(ParserInline):
    """The inline parser with that state, and with the rules of another one."""

    def __init__(self, rules: ParserInline) -> None:
        vars(self).update(vars(rules))

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def cjk_emphasis(md: MarkdownIt) -> None:
    md.inline = Inline(md.inline)
