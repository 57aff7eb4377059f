"""What a line of Markdown is: its indentation, its marker, and what it begins, continues or ends.

These patterns follow CommonMark closely, but not exactly. If parser and patterns disagree, the
renderers in renderers.py show the words without their structure.
"""

import re

from .formula_lines import may_open_formula, opens_formula
from .parser import parser

# The lines that begin a block. All take up to three spaces; four would make indented code.
FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$")
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
QUOTE = re.compile(r" {0,3}>")
MARKER = re.compile(r"( {0,3})([-+*]|\d{1,9}[.)])(?:( +)(?=\S)| *$)")

# The lines that end a block or decide what the lines above are.
CLOSING = re.compile(r" {0,3}(`+|~+)[ \t]*$")
# Fenced code in fenced Markdown, which models put into a fence of the same length.
INNER_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*[A-Za-z]")
UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
DELIMITER = re.compile(r" {0,3}(?=[^|]*\|)\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
CELLS = re.compile(r":?-+:?")  # one match for each column of a delimiter

# The beginning of a line that could still become something else. `-` may begin an item, a rule or
# the underline of a heading: to show it at once would mean to take it back later.
UNDECIDED = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]*|[-*_=+|: \t]+|\d{1,9}[.)]?[ \t]*|`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*"
    r"|(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)?\[(?:[ xX]\]?)?[ \t]*)?$"
)

# What stands before the words of a line: of prose, also in nested lists and quotes; of code, whose
# text begins at the first character that is no indentation; and of the newest cell in a table.
LEAD = re.compile(
    r"[ \t]*(?:(?:>|#{1,6}(?=[ \t])"
    r"|(?:[-+*]|\d{1,9}[.)])(?=[ \t])(?:[ \t]+\[[ xX]\](?=[ \t]))?)[ \t]*){0,100}"
)
INDENT = re.compile(r"[ \t>]*")
PIPES = re.compile(r"(?:(?:[^|\\]|\\.)*\|)+[ \t]*")


def expand_tabs(line: str, *, columns: int | None = None) -> str:
    """Replace the tabs before the words of the line by spaces.

    With `columns`, only those that begin in the first of that many columns.
    """
    if "\t" not in line:
        return line
    # Tabs inside the words stay: in code they are text.
    lead = LEAD.match(line)
    words = lead.end() if lead else 0
    if columns is None:
        return line[:words].expandtabs(4) + line[words:]
    end = 0
    while end < words and len(line[:end].expandtabs(4)) < columns:
        end += 1
    return line[:end].expandtabs(4) + line[end:]


def is_undecided(line: str) -> bool:
    """Return True if this beginning of a line could still become something else."""
    return UNDECIDED.match(line) is not None or may_open_formula(line)


def is_blank(line: str) -> bool:
    """Return True if the line has only spaces. Other white space, such as U+00A0, is text."""
    return not line.strip(" ")


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def interrupts_paragraph(line: str) -> bool:
    """Return True if the line begins a block of its own even directly below a paragraph."""
    if FENCE.match(line) or HEADING.match(line) or RULE.match(line) or QUOTE.match(line):
        return True
    if opens_formula(line):
        return True
    # As CommonMark has it, an empty item or a number other than 1 continues the paragraph, so that
    # a line which happens to begin with a year is no list.
    marker = MARKER.match(line)
    return (
        marker is not None
        and marker[3] is not None
        and (marker[2] in "-+*" or marker[2][:-1] == "1")
    )


def is_lazy(line: str) -> bool:
    """Return True if the line, without a marker, goes on a paragraph in an item or a quote.

    Unlike in CommonMark, what looks like a row doesn't: models put tables right below an item.
    """
    return not interrupts_paragraph(line) and not line.lstrip().startswith("|")


def list_kind(marker: re.Match[str]) -> str:
    """Return the sign of a list marker. Items with the same sign belong to one list."""
    return marker[2].lstrip("0123456789")


def is_in_fence(lines: list[str]) -> bool:
    """Return True if the lines of a quote or an item end inside fenced code."""
    fences = sum(LEAD.sub("", line, count=1).startswith(("```", "~~~")) for line in lines)
    return fences % 2 == 1


def is_table(header: str, delimiter: str) -> bool:
    # Only the parser knows whether both lines have the same number of cells.
    return "|" in header and parser.parse(f"{header}\n{delimiter}")[0].type == "table_open"
