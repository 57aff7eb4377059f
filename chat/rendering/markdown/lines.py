"""What a line of Markdown is: its indentation, its marker, and what it begins or ends."""

import re

from .inline import parser

# --- Lines ------------------------------------------------------------------------------------------------------------

FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$")
HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
QUOTE = re.compile(r" {0,3}>")
MARKER = re.compile(r"( {0,3})([-+*]|\d{1,9}[.)])(?:( +)(?=\S)| *$)")
UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
DELIMITER = re.compile(r" {0,3}(?=[^|]*\|)\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
CELLS = re.compile(r":?-+:?")
# The beginning of a line that could still become something else.
UNDECIDED = re.compile(
    r"[ \t]*(?:#{1,6}|[-*_=+|: \t]+|\d{1,9}[.)]?[ \t]*|`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*)?$"
)
CLOSING = re.compile(r" {0,3}(`+|~+)[ \t]*$")
# Everything before the words of a line, also in nested lists and quotes.
LEAD = re.compile(r"[ \t]*(?:(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])|#{1,6}(?=[ \t]))[ \t]*)*")
INDENT = re.compile(r"[ \t>]*")
PIPES = re.compile(r"(?:(?:[^|\\]|\\.)*\|)+[ \t]*")


def expanded(line: str) -> str:
    """The line with the tabs before its words as spaces."""
    if "\t" not in line:
        return line
    lead = LEAD.match(line)
    words = lead.end() if lead else 0
    return line[:words].expandtabs(4) + line[words:]


def indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def interrupts(line: str) -> bool:
    """Whether the line begins a block of its own even directly below a paragraph."""
    if FENCE.match(line) or HEADING.match(line) or RULE.match(line) or QUOTE.match(line):
        return True
    marker = MARKER.match(line)
    return (
        marker is not None
        and marker[3] is not None
        and (marker[2] in "-+*" or marker[2][:-1] == "1")
    )


def kind_of(marker: re.Match[str]) -> str:
    return marker[2].lstrip("0123456789")


def is_table(header: str, delimiter: str) -> bool:
    return "|" in header and parser.parse(f"{header}\n{delimiter}")[0].type == "table_open"
