"""Maths: formulas in words, over the lines of items and quotes, and in the cells of tables.

They are only marked here, with their TeX as words: the cleaner would take MathML away.
"""

import re
from html import escape, unescape

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chat.rendering.markdown.characters import DISPLAYED_MATHS, MATHS, MATHS_END, PIPE
from chat.rendering.markdown.formula_lines import (
    MAX_FORMULA_LINES,
    ends_formula,
    formula_of,
    is_open,
    mask_pipes,
    opens_formula,
)
from chat.rendering.markdown.formulas import Formula, formula_at, may_have_maths
from chat.rendering.markdown.tex import convert

MARKED_MATHS = re.compile(f"([{MATHS}{DISPLAYED_MATHS}])([^{MATHS_END}]*){MATHS_END}")


def maths(md: MarkdownIt) -> None:
    md.inline.ruler.before("escape", "maths", inline_formula)
    md.block.ruler.before(
        "fence", "formula", nested_formula, {"alt": ["paragraph", "blockquote", "list"]}
    )
    md.core.ruler.before("block", "maths_pipes", without_pipes)
    md.add_render_rule("maths", marked)
    md.add_render_rule("formula", in_paragraph)
    md.add_render_rule("formula_source", source_in_paragraph)


def inline_formula(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    formula = formula_at(state.src, state.pos)
    if formula is None or formula.end > state.posMax:
        return skip_dollars(state, silent)
    if not silent:
        push(state, "maths", formula)
    state.pos = formula.end
    return True


def skip_dollars(state: StateInline, silent: bool) -> bool:
    """Take a run of dollars as text: the second of two begins no formula."""
    end = state.pos
    while end < state.posMax and state.src[end] == "$":
        end += 1
    if not silent:
        state.pending += state.src[state.pos : end]
    is_run, state.pos = end > state.pos, end
    return is_run


def push(state: StateInline | StateBlock, kind: str, formula: Formula) -> None:
    token = state.push(kind, "", 0)
    token.content, token.meta = formula.source, {"display": formula.is_display}


def nested_formula(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Take a formula over lines in an item or a quote. Blocks takes those at the top."""
    begin = state.bMarks[start_line] + state.tShift[start_line]
    if not state.level or state.src[begin : begin + 1] not in ("$", "\\"):
        return False
    first = state.src[begin : state.eMarks[start_line]]
    if state.is_code_block(start_line) or not opens_formula(first):
        return False
    lines = lines_of(state, start_line, end_line)
    formula = formula_of(lines)
    if formula is None and not is_open(lines):
        return False
    taken = taken_by(formula, lines)
    if any(ends_formula(lines[:count]) for count in range(1, taken)):
        return False
    if silent:
        return True
    if formula is None:
        state.push("formula_source", "", 0).content = "\n".join(lines)
    else:
        push(state, "formula", formula)
    state.line = start_line + taken
    rest = "\n".join(lines[:taken])[formula.end :] if formula else ""
    if rest.strip():
        # The words behind the closer are the next line.
        state.line -= 1
        state.bMarks[state.line] = state.eMarks[state.line] - len(rest.lstrip())
        state.tShift[state.line], state.sCount[state.line] = 0, state.blkIndent
    return True


def lines_of(state: StateBlock, start_line: int, end_line: int) -> list[str]:
    """Return the lines of the item or quote from here on, without its indentation."""
    lines: list[str] = []
    for number in range(start_line, min(end_line, start_line + MAX_FORMULA_LINES)):
        if not state.isEmpty(number) and state.sCount[number] < state.blkIndent:
            break
        lines.append(state.getLines(number, number + 1, state.blkIndent, False))
    return lines


def taken_by(formula: Formula | None, lines: list[str]) -> int:
    """Return how many of these lines the formula goes over; an open one takes all."""
    return "\n".join(lines).count("\n", 0, formula.end) + 1 if formula else len(lines)


def without_pipes(state: StateCore) -> None:
    if not state.inlineMode and "|" in state.src and may_have_maths(state.src):
        state.src = "\n".join(map(mask_pipes, state.src.split("\n")))


# Renderers


def marked(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    token = tokens[index]
    mark = DISPLAYED_MATHS if token.meta["display"] else MATHS
    return f"{mark}{escape(token.content, quote=False)}{MATHS_END}"


def in_paragraph(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    return f"<p>{marked(_renderer, tokens, index)}</p>\n"


def source_in_paragraph(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    return f"{source_paragraph(tokens[index].content)}\n"


def source_paragraph(source: str) -> str:
    return f'<p><code class="tex displayed">{escape(source.strip(), quote=False)}</code></p>'


def displayed(lines: list[str]) -> str:
    """Render the lines of a formula; while it is open, as its source."""
    formula = formula_of(lines)
    if formula is None:
        return source_paragraph("\n".join(lines))
    return f"<p>{convert.maths(formula.source, is_display=formula.is_display)}</p>"


def with_maths(html: str) -> str:
    """Replace marked TeX in clean HTML by maths, and the masks of pipes by pipes."""
    if PIPE in html:
        html = html.replace(PIPE, "|")
    return MARKED_MATHS.sub(as_maths, html) if MATHS_END in html else html


def as_maths(marked: re.Match[str]) -> str:
    return convert.maths(unescape(marked[2]), is_display=marked[1] == DISPLAYED_MATHS)
