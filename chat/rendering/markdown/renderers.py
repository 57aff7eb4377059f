"""Renderers: the source lines of a part of a block as clean HTML."""

import re
from collections.abc import Callable
from functools import lru_cache, wraps

from django.utils.translation import get_language

from .characters import CURSOR, PIPE
from .cleaning import cleaned
from .code.colours import plain
from .formula_lines import MAX_ROW_CHARS, formulas_in_one_line, mask_pipes
from .lines import CELLS, MARKER
from .parser import parser
from .words import simple_html

CELL_END = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")

type Render = Callable[[list[str]], str]

SHARED = 512  # results that are remembered
MAX_SHARED_CHARS = 4000  # of the source of one; bounds the memory

# The beginning of a line whose words can't be the marker of a block.
WORDS = re.compile(f"[*`]{{0,2}}[^\\W\\d_]|{CURSOR}")


def shared(render: Render) -> Render:
    """Have the renderer remember its results: all followers of a run need the same ones."""

    @wraps(render)
    def recalled(lines: list[str]) -> str:
        source = "\n".join(lines)
        if len(source) > MAX_SHARED_CHARS:
            return render(lines)
        # Buttons and labels are in the reader's language.
        return remembered(render, source, get_language())

    return recalled


@lru_cache(maxsize=SHARED)
def remembered(render: Render, source: str, _language: str | None) -> str:
    return render(source.split("\n"))


def simple_line(line: str) -> str | None:
    """Return the words of a line that begins with words as HTML, if they need no parser."""
    return simple_html(line.strip()) if WORDS.match(line) else None


def flow(lines: list[str]) -> str:
    """Render lines as blocks: a paragraph, a heading, a quote."""
    if len(lines) == 1 and (html := simple_line(lines[0])):
        return f"<p>{html}</p>"
    return document(lines)


@shared
def document(lines: list[str]) -> str:
    return cleaned(parser.render("\n".join(lines))).strip()


def paragraph(lines: list[str]) -> str:
    return flow(formulas_in_one_line(lines))


def item(lines: list[str]) -> str:
    """Render the lines of one list item, without its <li>."""
    marker = MARKER.match(lines[0])
    words = lines[0][marker.end() :] if marker and len(lines) == 1 else ""
    if marker and len(marker[3] or "") < 5 and (html := simple_line(words)):
        return html
    return whole_item(lines)


@shared
def whole_item(lines: list[str]) -> str:
    tokens = parser.parse("\n".join(lines))
    items = sum(token.type == "list_item_open" and token.level == 1 for token in tokens)
    if (
        items != 1
        or not tokens[0].type.endswith("_list_open")
        or any(token.level == 0 for token in tokens[1:-1])
    ):
        # The parser sees another structure than the patterns in lines.py. Show the words anyway.
        return flow([MARKER.sub("", line, count=1).strip() for line in lines])
    html = cleaned(parser.renderer.render(tokens, parser.options, {}))
    return html[html.index("<li>") + 4 : html.rindex("</li>")].strip()


def definition(lines: list[str]) -> str:
    """Render the definition of a reference as text: its label is not the reference itself."""
    return flow(["\\" + lines[0].lstrip()])


def code(lines: list[str]) -> str:
    """Render lines of code, without the <pre> around them."""
    return "".join(f"{line}\n" for line in plain("\n".join(lines)))


@shared
def table(lines: list[str]) -> str:
    tokens = parser.parse("\n".join(lines))
    for token in tokens:
        # The parser aligns cells with a style, which the content security policy forbids.
        if style := token.attrs.pop("style", None):
            token.attrs["align"] = str(style).removeprefix("text-align:")
    return cleaned(parser.renderer.render(tokens, parser.options, {}))


def table_head(header: str, delimiter: str) -> str:
    html = table([header, delimiter])
    return html[html.index("<thead>") : html.index("</thead>") + 8]


def with_code_in_cells(line: str, columns: int) -> str:
    """Mask the pipes in code if the row has more cells than columns: `a || b` is one cell.

    The parser would drop the cells that are too many, and with them words.
    """
    if "`" not in line or len(line) > MAX_ROW_CHARS:
        return line
    cells = len(CELL_END.findall(mask_pipes(line).strip().removeprefix("|").removesuffix("|"))) + 1
    return CODE.sub(lambda code: CELL_END.sub(PIPE, code[0]), line) if cells > columns else line


def row_renderer(delimiter: str) -> Render:
    """Return a renderer for single rows of the table with this delimiter."""
    # The parser knows rows only in a table, so give each row a header of its own and cut it off.
    columns = len(CELLS.findall(delimiter))
    header = "|x" * columns + "|"

    def row(lines: list[str]) -> str:
        line = with_code_in_cells(lines[0], columns)
        html = table([header, delimiter, line])
        if "<tbody>" not in html:  # Without a pipe in front, this line would begin another block.
            html = table([header, delimiter, "|" + line])
        return html[html.index("<tr>", html.index("<tbody>")) + 4 : html.rindex("</tr>")].strip()

    return row
