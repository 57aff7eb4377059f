"""Comments: `<!-- … -->` is hidden, in a line and over lines. One that never ends is text."""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

END = "-->"
# The first line of a comment that is a block: no words stand behind its end.
COMMENT = re.compile(r" {0,3}<!--(?!.*-->[ \t]*\S)")
MAX_COMMENT_LINES = 40  # after which it is text


def comments(md: MarkdownIt) -> None:
    md.inline.ruler.before("autolink", "comment", skip_comment)
    md.block.ruler.before(
        "fence", "comment", skip_lines, {"alt": ["paragraph", "blockquote", "list"]}
    )


def skip_comment(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("<!--", state.pos):
        return False
    # The last end is known without a search, so that many beginnings cost no more than one.
    if state.html_terminator_last(END) < state.pos:
        return False
    end = state.src.find(END, state.pos + 2, state.posMax)
    if end < 0:
        return False
    state.pos = end + len(END)
    return True


def skip_lines(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Skip a comment in a list item or a quote; Blocks takes the others."""
    if state.is_code_block(first) or not COMMENT.match(text_of(state, first)):
        return False
    for line in range(first, min(last, first + MAX_COMMENT_LINES)):
        if state.sCount[line] < state.blkIndent:
            return False
        if END in text_of(state, line):
            if not silent:
                state.line = line + 1
            return True
    return False


def text_of(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
