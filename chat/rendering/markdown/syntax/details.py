"""Text that a reader unfolds: <details> with its <summary>, and Markdown up to </details>.

The tags stand on lines of their own, without attributes but "open". Blocks takes those at the top
level; the parser has a rule for those in list items and quotes.
"""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from .comments import text_of

IGNORED = re.IGNORECASE | re.DOTALL
OPENING = re.compile(r"\s*<details(?P<open>\s+open(?:=\"\w*\"|='\w*')?)?\s*>(?P<rest>.*)", IGNORED)
SUMMARY = re.compile(r"\s*<summary>(?P<words>.*?)</summary>(?P<rest>.*)", IGNORED)
BEGINS_SUMMARY = re.compile(r"\s*<summary>", IGNORED)
CLOSING = re.compile(r"(?P<words>(?:[^`]|`[^`]*`)*?)</details>\s*$", IGNORED)
# Tags in a summary that would be shown as text. What they say is said by its looks.
LOOKS = re.compile(r"</?(?:b|strong|i|em|u|span|h[1-6])>", re.IGNORECASE)
CODE = re.compile(r"</?code>", re.IGNORECASE)
BRACKET = re.compile(r"(`[^`]*`)|\[")
# The beginning of a line that may still become one of these lines.
MAYBE_TAG = re.compile(
    r"\s*<(?:!?-{0,2}|/?[a-z]{0,7}|(?:details|summary)\b.*|/details>\s*)$", re.IGNORECASE
)
MAX_SUMMARY_LINES = 10


def details(md: MarkdownIt) -> None:
    md.block.ruler.before(
        "fence", "details", read_tags, {"alt": ["paragraph", "blockquote", "list"]}
    )
    md.add_render_rule("details", raw)


def read_tags(state: StateBlock, first: int, _last: int, silent: bool) -> bool:
    """Read a line of these tags in a list item or a quote. The cleaner closes what is open."""
    line = text_of(state, first)
    if not state.level or state.is_code_block(first) or not line.startswith("<"):
        return False
    opening = OPENING.match(line)
    rest = opening["rest"] if opening else line
    summary = SUMMARY.match(rest)
    rest = summary["rest"] if summary else rest
    closing = CLOSING.match(rest)
    if not (opening or summary or closing) or (closing["words"] if closing else rest).strip():
        return False
    if silent:
        return True
    if opening:
        add_html(state, "<details open>" if opening["open"] else "<details>")
    if summary:
        add_html(state, "<summary>")
        words = state.push("inline", "", 0)
        words.content, words.children = summary_of(summary), []
        add_html(state, "</summary>")
    if closing:
        add_html(state, "</details>")
    state.line = first + 1
    return True


def add_html(state: StateBlock, html: str) -> None:
    state.push("details", "", 0).content = html


def raw(_renderer: object, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    return tokens[index].content


def summary_of(found: re.Match[str]) -> str:
    """Return the Markdown of a summary, in which brackets are text: it can't hold links."""
    words = CODE.sub("`", LOOKS.sub("", found["words"])).strip()
    return BRACKET.sub(lambda part: part[1] or "\\[", words)
