"""Formulas over lines: which line begins one, which ends it, and which can't be part of it."""

import re
from collections.abc import Sequence

from .characters import PIPE
from .formulas import ENVIRONMENTS, Formula, formula_at, formulas_of, may_have_maths, open_source

# A row is searched for formulas with each delta, unless it has more of TeX's signs or characters.
MAX_ROW_CHARS, MAX_ROW_SIGNS = 2000, 100
MAX_OPENER_CHARS = 2000  # of a line that a formula over lines begins with; it is not shown so far

# A formula over more than this is no formula: its lines are read again with each one that is added.
MAX_FORMULA_LINES = 100
MAX_FORMULA_CHARS = 10_000

# No formula has these. An opener that is never closed must not swallow the answer.
NOT_IN_MATHS = re.compile(r" {0,3}(?:`{3}|~{3}|#{1,6}[ \t])")
# Below a blank line, these are the text that follows: an item, a quote, a row, a sentence.
NOT_BELOW_BLANK = re.compile(
    r" {0,3}(?:[-+*>][ \t]|\d{1,9}[.)][ \t]|\|.*\|[ \t]*$"
    r"|[^\\=^_]*?(?:\b[^\W\d_]{2,30} [^\W\d_]{2,30} [^\W\d_]{2,30}\b|[\u3040-\u9fff]{4}))"
)

# A line that a formula over lines begins with, and the beginning of such a line.
OPENER = re.compile(rf" {{0,3}}(?=\$\$(?!\$)|\\\[|\\begin\{{(?:{ENVIRONMENTS})\*?\}})")
HALF_OPENER = re.compile(r" {0,3}(?:\$|\\(?:b|be|beg|begi|begin(?:\{[A-Za-z]*\*?)?)?)\Z")


def opens_formula(line: str) -> bool:
    """Return True if a displayed formula begins the line and goes on below it."""
    opener = OPENER.match(line)
    return (
        opener is not None
        and len(line) <= MAX_OPENER_CHARS
        and open_source(line, opener.end()) is not None
    )


def may_open_formula(line: str) -> bool:
    """Return True if the beginning of a line may become one that `opens_formula`."""
    if HALF_OPENER.match(line) or opens_formula(line):
        return True
    opener = OPENER.match(line)
    formula = formula_at(line, opener.end()) if opener else None
    # With a third dollar it is not closed.
    return formula is not None and formula.end == len(line) and line.endswith("$$")


def is_half_opener(line: str) -> bool:
    """Return True if the line has no more than an opener so far."""
    is_opener = line.strip() in ("$$", r"\[") and opens_formula(line)
    return is_opener or HALF_OPENER.match(line) is not None


def is_in_formula(lines: Sequence[str]) -> bool:
    """Return True if the lines end inside a formula."""
    if not any(map(may_have_maths, lines)):
        return False
    text = "\n".join(lines)
    return formulas_of(text)[1] < len(text)


def formulas_in_one_line(lines: list[str]) -> list[str]:
    """Join the lines over which a formula goes: `+ b` in it begins no list."""
    if len(lines) == 1 or not any(map(may_have_maths, lines)):
        return lines
    text = "\n".join(lines)
    formulas, _ = formulas_of(text)
    for formula in formulas:  # the length stays, and with it the positions
        source = text[formula.start : formula.end].replace("\n", " ")
        text = text[: formula.start] + source + text[formula.end :]
    return text.split("\n")


def mask_pipes(line: str, *, is_growing: bool = False) -> str:
    """Replace the pipes that belong to a formula, so that they don't end a cell.

    An escaped pipe stays: the parser takes the escape away.
    """
    if "|" not in line or not may_have_maths(line):
        return line
    if len(line) > MAX_ROW_CHARS or line.count("$") + line.count("\\") > MAX_ROW_SIGNS:
        return line
    formulas, open_at = formulas_of(line)
    spans = [(formula.start, formula.end) for formula in formulas]
    for start, end in [*spans, (open_at, len(line))] if is_growing else spans:
        line = line[:start] + re.sub(r"(?<!\\)\|", PIPE, line[start:end]) + line[end:]
    return line


def formula_of(lines: list[str]) -> Formula | None:
    """Return the formula that these lines begin with, if it is closed."""
    text = "\n".join(lines)
    return formula_at(text, len(text) - len(text.lstrip(" ")))


def is_open(lines: list[str]) -> bool:
    text = "\n".join(lines)
    return open_source(text, len(text) - len(text.lstrip(" "))) is not None


def ends_formula(lines: list[str]) -> bool:
    """Return True if a formula that these lines don't close can't be closed below them."""
    if len(lines) > MAX_FORMULA_LINES or sum(map(len, lines)) > MAX_FORMULA_CHARS:
        return True
    *above, line = lines
    if not line.strip(" "):
        # Only an opener alone goes over blank lines.
        return lines[0].strip() not in ("$$", r"\[")
    return NOT_IN_MATHS.match(line) is not None or (
        bool(above) and not above[-1].strip(" ") and NOT_BELOW_BLANK.match(line) is not None
    )
