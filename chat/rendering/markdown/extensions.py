"""Lines that CommonMark has no blocks for: details, definitions, notes, comments, formulas."""

import re
from abc import ABC, abstractmethod

from .block import VERBATIM, Block, Kind
from .formula_lines import ends_formula, formula_of, is_open
from .labels import Labels
from .lines import LEAD, indent_of, is_blank, is_lazy
from .parts import Part
from .renderers import Render, definition, flow, paragraph
from .syntax.comments import COMMENT, END, MAX_COMMENT_LINES
from .syntax.details import (
    BEGINS_SUMMARY,
    CLOSING,
    MAX_SUMMARY_LINES,
    MAYBE_TAG,
    OPENING,
    SUMMARY,
    summary_of,
)
from .syntax.notes import NOTE_BEGINS, marked
from .syntax.references import MAYBE_DEFINITION
from .words import inline_html

MAX_DETAILS = 8  # that are open at a time; deeper ones are text
HALF_END = re.compile(r"<[/a-z]*$", re.IGNORECASE)
# The lines that aren't shown before they are complete.
HELD = (MAYBE_DEFINITION, MAYBE_TAG, COMMENT, NOTE_BEGINS)


class Extensions(ABC):
    """The part of Blocks that takes the lines of these blocks."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._around: list[Block] = []  # the details that take the next block
        self._comment: list[str] = []  # lines that are hidden if the comment ends
        self._is_maths_off = False  # while the lines of no formula are taken again
        self._placed: Part | None = None  # the part that holds the line that is being written

    def is_held(self, line: str) -> bool:
        """Return True if the line may still become one of these blocks, or end details."""
        is_in_summary = self._open is not None and bool(self._open.held)
        if self._comment or is_in_summary or self.closing_of(line):
            return True
        if self._around and MAYBE_TAG.match(LEAD.sub("", line, count=1)):
            return True
        if self.is_inside(line):
            return False
        return any(begins.match(line) for begins in HELD)

    def is_inside(self, line: str) -> bool:
        """Return True if the line belongs to the open block, whatever it looks like."""
        block = self._open
        if block is None or block.kind == "details":
            return False
        is_indented = block.kind in ("indented", "list", "note") and (
            indent_of(line) >= block.offset
        )
        return bool(block.fence) or block.kind == "maths" or is_indented

    def begins_extension(self, line: str) -> bool:
        """Return True if the line ends the open block because it begins one of these."""
        if self.is_inside(line) or (self._open and self._open.kind == "details"):
            return False
        labels = self._labels
        return labels.can_begin_note(line) or labels.can_define(line) or self.is_details(line)

    def begin_extension(self, line: str) -> None:
        if self._labels.can_begin_note(line):
            self.begin_note(line)
        elif label := self._labels.define(line):
            self.begin_flow("definition", line, definition).label = label
        else:
            self.begin_details(line)

    # Notes

    def begin_note(self, line: str) -> None:
        begins = NOTE_BEGINS.match(line)
        assert begins
        label = begins[1]
        self._labels.defined_notes.add(label)
        values = {
            "prefix": self._labels.prefix,
            "number": marked("=", label),
            "back": marked("@", label),
        }
        block = self.new_block("note", "note", **values)
        block.offset = 2
        # As in an item, the lines that follow are indented by two or four spaces.
        self.add(block.new_part("div", flow, dedent=4), line[begins.end() :])

    def continue_note(self, block: Block, line: str) -> bool:
        part = block.parts[-1]
        if is_blank(line):
            block.blanks += 1
            return True
        goes_on = not block.blanks and is_lazy(line)
        if not (goes_on or indent_of(line) >= block.offset):
            return False
        if part.is_full:
            part, block.blanks = block.new_part("div", flow, dedent=part.dedent), 0
        while block.blanks:
            part.add("")
            block.blanks -= 1
        return self.add(part, line)

    # Details

    def is_details(self, line: str) -> bool:
        is_code = indent_of(line) >= 4 and not self._around
        return not is_code and len(self._around) < MAX_DETAILS and OPENING.match(line) is not None

    def begin_details(self, line: str) -> None:
        opening = OPENING.match(line)
        assert opening
        values = {"open": " open" if opening["open"] else "", "summary": ""}
        self.new_block("details", "details", **values)
        if rest := opening["rest"].strip():
            self.complete_line(rest)

    def continue_details(self, block: Block, line: str) -> bool:
        """Take the summary, and let the next blocks go into the details."""
        if is_blank(line) and not block.held:
            return True
        text = "\n".join([*block.held, line])
        if summary := SUMMARY.match(text):
            block.held.clear()
            self.enter_details(block, inline_html(summary_of(summary)))
            if rest := summary["rest"].strip():
                self.place(rest)
        elif len(block.held) < MAX_SUMMARY_LINES and BEGINS_SUMMARY.match(text):
            block.held.append(line)
        else:
            self.enter_details(block)
            self.place(line)
        return True

    def enter_details(self, block: Block, summary: str = "") -> None:
        """Let the next blocks go into the details. Lines without an end of a summary are text."""
        block.values["summary"] = summary or "Details"
        self._open = None
        self._around.append(block)
        lines, block.held = block.held, []
        for line in lines:
            self.place(line)

    def closing_of(self, line: str) -> re.Match[str] | None:
        """Return the end of details at the end of the line, if there is one and it is no code."""
        block = self._open
        is_within = self._around or (block and block.kind == "details")
        if not is_within or (block and block.kind in VERBATIM and self.is_inside(line)):
            return None
        closing = CLOSING.match(line) if "</" in line else None
        return None if closing and closing["words"].strip() and self.begins_code(line) else closing

    def begins_code(self, line: str) -> bool:
        """Return True if the line is indented, and goes on no paragraph and no item."""
        block = self._open
        is_apart = block is None or block.kind == "details" or block.blanks > 0
        return is_apart and indent_of(line) >= 4 and not self.is_inside(line)

    def leave_details(self) -> None:
        if self._open and self._open.kind == "details":
            self.enter_details(self._open)
        self._open = None
        self._around.pop()

    # Comments

    def is_comment(self, line: str) -> bool:
        return bool(self._comment) or (not self.is_inside(line) and COMMENT.match(line) is not None)

    def take_comment(self, line: str) -> None:
        self._comment.append(line)
        if END in line:
            self._comment.clear()
            # What a comment stands in stays open, such as details without their summary yet.
            self._open = self._open if self._open and self._open.kind == "details" else None
            if rest := line.rpartition(END)[2].strip():
                self.place(rest)
        elif len(self._comment) >= MAX_COMMENT_LINES:
            self.release_comment()

    def release_comment(self) -> None:
        """Show the lines of a comment that doesn't end, as text."""
        lines, self._comment = self._comment, []
        for line in lines:
            if not (self._open and self.continues(self._open, line)):
                self._open = None
                if not is_blank(line):
                    self.begin_block(line)

    # Formulas over lines

    def continue_formula(self, block: Block, line: str) -> bool:
        part = block.parts[0]
        part.add(line)
        if formula := formula_of(part.lines):
            self._open = None
            behind = "\n".join(part.lines)[formula.end :]
            part.lines[-1] = line.removesuffix(behind)
            if not is_blank(behind):
                self.place(behind.lstrip(" "))
        elif ends_formula(part.lines) or not is_open(part.lines):
            self.give_up_formula(part.lines)
        return True

    def give_up_formula(self, lines: list[str]) -> None:
        """Take the lines as prose: what seemed to open a formula is never closed."""
        self._blocks.pop()
        self._open = None
        first, *rest, last = lines
        self.begin_flow("paragraph", first, paragraph)
        self._placed = None  # The line is complete.
        # The other lines open no formula, or many that are never closed would be quadratic.
        self._is_maths_off = True
        for line in rest:
            self.complete_line(line)
        self._is_maths_off = False
        self.complete_line(last)

    # The end of a text that was cut

    def cut_off(self, line: str) -> str:
        """Return the last line with the end of a summary, and without half a definition.

        A comment that is open stays hidden.
        """
        if self._comment or (self.is_comment(line) and END not in line):
            self._comment.clear()
            return ""
        if self._open and self._open.kind == "details":
            held = "\n".join([*self._open.held, line])
            is_open = BEGINS_SUMMARY.match(held) and not SUMMARY.match(held)
            return HALF_END.sub("", line) + "</summary>" if is_open else line
        return "" if self.begins_extension(line) and self._labels.can_define(line) else line

    # What Blocks does with lines

    @abstractmethod
    def complete_line(self, line: str) -> None: ...

    @abstractmethod
    def place(self, line: str) -> None: ...

    @abstractmethod
    def continues(self, block: Block, line: str) -> bool: ...

    @abstractmethod
    def add(self, part: Part, line: str) -> bool: ...

    @abstractmethod
    def begin_block(self, line: str) -> None: ...

    @abstractmethod
    def begin_flow(self, kind: Kind, line: str, render: Render = flow) -> Block: ...

    @abstractmethod
    def new_block(self, kind: Kind, partial: str = "", **values: str) -> Block: ...
