"""Render Markdown that is still being written: finished blocks and one open block, as clean HTML.

Blocks are cut line by line, so a finished block never changes, and history and a live stream give
the same HTML. Long lists, tables and code close part by part (item, row, a few lines). While a line
is being written, only its last piece is rendered again, so the work for a delta doesn't grow with
the answer.

Everything is cleaned by the allow-list in cleaning.py: the ids, classes and buttons in the HTML are
made here, never by a model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from chat.rendering.partials import pattern

from .characters import CITATION, without_controls
from .cleaning import language_of
from .elements import Element
from .lines import (
    CLOSING,
    DELIMITER,
    FENCE,
    HEADING,
    MARKER,
    QUOTE,
    RULE,
    UNDECIDED,
    UNDERLINE,
    expand_tabs,
    indent_of,
    interrupts_paragraph,
    is_blank,
    is_table,
    list_kind,
)
from .parts import Part
from .renderers import Render, code, flow, item, row_renderer, table_head
from .syntax.citations import MARKED_CITATION, uncited

MAX_CODE_LINES = 12  # lines of code in a part; they are sent again together
BLOCK_ATTRIBUTES = ' class="block" dir="auto"'

# "line" is a block that ends with its line: a heading or a rule.
type Kind = Literal["paragraph", "line", "quote", "fence", "indented", "list", "table"]


def render_all(text: str, prefix: str) -> list[str]:
    """Return the blocks of a text that is complete."""
    blocks = Blocks(prefix)
    blocks.feed(text)
    blocks.finish()
    return blocks.html()


@dataclass(slots=True)
class Block:
    """A top-level block. Its `wrapper` holds its parts; without a wrapper it is its only part."""

    id: str
    slot: str
    kind: Kind
    wrapper: str = ""
    values: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    is_sent: bool = False
    marker: str = ""  # of a list: "-", "*", "+", "." or ")"
    offset: int = 0  # the column where the words of the current item, or of the code, begin
    fence: str = ""  # what opened the code
    blanks: int = 0  # blank lines that belong to the block only if more of it follows
    row: Render = flow

    @property
    def element(self) -> Element:
        if not self.wrapper:
            return self.parts[0].element
        parts = "".join(part.element.html for part in self.parts)
        inner = self.wrapper % {"slot": f"{self.id}-in", "parts": parts, **self.values}
        return Element("div", self.id, self.slot, BLOCK_ATTRIBUTES, inner)

    def new_part(self, tag: str, render: Render, *, attributes: str = "", dedent: int = 0) -> Part:
        id_ = f"{self.id}-p{len(self.parts)}"
        part = Part(tag, id_, f"{self.id}-in", render, attributes, dedent)
        self.parts.append(part)
        return part


class Blocks:
    """Takes text as it arrives and returns the elements that changed.

    All ids begin with `prefix`; the body's id is `<prefix>-body`. `cite` returns the link for a
    [number] in prose, as safe HTML. If it returns nothing, there is no such source, and the number
    stays text.
    """

    def __init__(self, prefix: str, cite: Callable[[int], str] = uncited) -> None:
        self._prefix = prefix
        self._cite = cite
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._handed_out = 0  # blocks that are finished and were handed out
        self._rest = ""  # half of a line end or of a surrogate pair
        self._line = ""  # the line that is being written
        self._placed: Part | None = None  # the part that holds it, once it is clear which

    @property
    def finished(self) -> int:
        """The number of blocks that will never change again."""
        return len(self._blocks) - (self._open is not None)

    def feed(self, text: str) -> list[Element]:
        """Take the next piece of the text; return the elements that it changed."""
        text = self._rest + text
        self._rest = text[-1:] if text.endswith("\r") or "\ud800" <= text[-1:] <= "\udbff" else ""
        text = without_controls(text.removesuffix(self._rest))
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._line = (self._line + text).split("\n")
        # Most deltas only add words to a line: then no other block or part needs a look.
        if not lines and self._placed:
            changed = self._placed.grow(expand_tabs(self._line))
            if not self._placed.is_stale:
                return [self.cited(element) for element in changed]
        for line in lines:
            self.complete_line(expand_tabs(line))
        if self._line and not self._placed:
            self.begin_line(expand_tabs(self._line))
        return self.changed()

    def finish(self) -> list[Element]:
        """End the text; return the elements that this changed."""
        if self._line or self._rest:
            self.complete_line(expand_tabs(self._line))
        self._rest = self._line = ""
        self._open = None
        return self.changed()

    def html(self) -> list[str]:
        """Return all blocks in their present state."""
        return [self.cited(block.element).html for block in self._blocks if block.is_sent]

    # Elements and their citations

    def changed(self) -> list[Element]:
        elements: list[Element] = []
        for block in self._blocks[self._handed_out :]:
            if self.may_become_table(block):
                break
            # Refresh all of them first: a block that is new to the page is sent as a whole.
            changed = [
                part for part in block.parts if part.refresh(is_growing=part is self._placed)
            ]
            elements += [part.element for part in changed] if block.is_sent else [block.element]
            block.is_sent = True
        self._handed_out = self.finished
        return [self.cited(element) for element in elements]

    def cited(self, element: Element) -> Element:
        # Links are made here and not stored in the parts: a source may become known only later.
        if CITATION not in element.inner:
            return element
        return replace(element, inner=MARKED_CITATION.sub(self.links, element.inner))

    def links(self, marked: re.Match[str]) -> str:
        links = [self._cite(int(number)) for number in re.findall(r"\d+", marked[1])]
        return "".join(links) if all(links) else marked[1]

    def may_become_table(self, block: Block) -> bool:
        """Return True if the block ends with what looks like the header of a table.

        It is shown when the next line has decided, or it would be a paragraph for a moment.
        """
        is_candidate = block is self._open and block.kind == "paragraph" and self._placed is None
        return is_candidate and block.parts[0].lines[-1].lstrip().startswith("|")

    # Lines: begun when it is clear what they are, then completed

    def begin_line(self, line: str) -> None:
        block = self._open
        if block and block.fence:
            is_decided = not is_blank(line) and not CLOSING.match(line)
        else:
            is_header = line.lstrip().startswith("|") and not (block and block.kind == "table")
            is_decided = not is_header and not UNDECIDED.match(line)
        if is_decided:
            self.place(line)

    def complete_line(self, line: str) -> None:
        if self._placed:
            self._placed.grow(line)
            # Render the line as a whole now: its pieces may have cut emphasis or a link.
            self._placed.is_stale = True
        else:
            self.place(line)
        self._placed = None
        if self._open and self._open.kind == "line":
            self._open = None

    def place(self, line: str) -> None:
        """Put the line into the open block, or end that block and begin another."""
        if self._open:
            if self.continues(self._open, line):
                return
            self._open = None
        if not is_blank(line):
            self.begin_block(line)

    def add(self, part: Part, line: str) -> bool:
        part.add(line)
        self._placed = part
        return True

    # Open blocks: each method takes the line and returns True, or returns False if the block ends

    def continues(self, block: Block, line: str) -> bool:
        match block.kind:
            case "fence":
                return self.continue_fence(block, line)
            case "indented":
                return self.continue_indented(block, line)
            case "list":
                return self.continue_list(block, line)
            case "table":
                ends = is_blank(line) or interrupts_paragraph(line)
                return not ends and self.add(block.new_part("tr", block.row), line)
            case "quote":
                ends = (
                    is_blank(line)
                    or block.parts[0].is_full
                    or (interrupts_paragraph(line) and not QUOTE.match(line))
                )
                return not ends and self.add(block.parts[0], line)
            case "paragraph" | "line":
                return self.continue_paragraph(block, line)

    def continue_fence(self, block: Block, line: str) -> bool:
        closing = CLOSING.match(line)
        if closing and closing[1].startswith(block.fence):
            self._open = None
            return True
        return self.add_code(block, line)

    def continue_indented(self, block: Block, line: str) -> bool:
        if is_blank(line):
            block.blanks += 1
            return True
        if indent_of(line) < block.offset:
            return False
        while block.blanks:
            self.add_code(block, "")
            block.blanks -= 1
        return self.add_code(block, line)

    def add_code(self, block: Block, line: str) -> bool:
        if not block.parts or len(block.parts[-1].lines) >= MAX_CODE_LINES:
            block.new_part("span", code, dedent=block.offset)
        return self.add(block.parts[-1], line)

    def continue_list(self, block: Block, line: str) -> bool:
        if is_blank(line):
            block.blanks += 1
            return True
        marker = MARKER.match(line)
        # As CommonMark has it, a paragraph in an item goes on without indentation.
        is_lazy = (
            not block.blanks
            and not marker
            and not interrupts_paragraph(line)
            and MARKER.sub("", block.parts[-1].lines[-1])
        )
        if is_lazy or indent_of(line) >= block.offset:
            return self.add_to_item(block, line)
        if marker and list_kind(marker) == block.marker and not RULE.match(line):
            return self.add_item(block, marker, line)
        return False

    def add_item(self, block: Block, marker: re.Match[str], line: str) -> bool:
        # Five spaces or more are one space, and indented code in the item.
        gap = len(marker[3] or " ")
        block.offset = len(marker[1]) + len(marker[2]) + (gap if gap < 5 else 1)
        block.blanks = 0
        return self.add(block.new_part("li", item), line)

    def add_to_item(self, block: Block, line: str) -> bool:
        part = block.parts[-1]
        if part.is_full:
            # The page shows an <li class="more"> without a marker, as if the item went on.
            part = block.new_part("li", flow, attributes=' class="more"', dedent=block.offset)
            block.blanks = 0
        while block.blanks:
            part.add("")
            block.blanks -= 1
        return self.add(part, line)

    def continue_paragraph(self, block: Block, line: str) -> bool:
        part = block.parts[0]
        if is_blank(line) or part.is_full:
            return False
        if DELIMITER.match(line) and is_table(part.lines[-1], line):
            self.begin_table(part, line)
            return True
        if UNDERLINE.match(line):
            part.add(line)
            self._open = None
            return True
        return not interrupts_paragraph(line) and self.add(part, line)

    # New blocks

    def begin_block(self, line: str) -> None:
        if fence := FENCE.match(line):
            block = self.new_block("fence", "code", language=language_of(fence[3]))
            block.fence, block.offset = fence[2], len(fence[1])
        elif indent_of(line) >= 4:
            block = self.new_block("indented", "code", language="text")
            block.offset = 4
            self.add_code(block, line)
        elif HEADING.match(line) or RULE.match(line):
            self.begin_flow("line", line)
        elif QUOTE.match(line):
            self.begin_flow("quote", line)
        elif marker := MARKER.match(line):
            self.begin_list(marker, line)
        else:
            self.begin_flow("paragraph", line)

    def begin_flow(self, kind: Kind, line: str) -> None:
        block = self.new_block(kind)
        block.parts.append(Part("div", block.id, block.slot, flow, BLOCK_ATTRIBUTES))
        self.add(block.parts[0], line)

    def begin_list(self, marker: re.Match[str], line: str) -> None:
        number = marker[2][:-1]
        partial, values = ("numbers", {"start": str(int(number))}) if number else ("bullets", {})
        block = self.new_block("list", partial, **values)
        block.marker = list_kind(marker)
        self.add_item(block, marker, line)

    def begin_table(self, above: Part, delimiter: str) -> None:
        """Take the last line of the paragraph above as the header of a table."""
        header = above.lines.pop()
        if above.lines:
            above.is_stale = True
        else:
            # The table gets the id of the paragraph, and with it its place on the page.
            self._blocks.pop()
        block = self.new_block("table", "table", head=table_head(header, delimiter))
        block.row = row_renderer(delimiter)

    def new_block(self, kind: Kind, partial: str = "", **values: str) -> Block:
        wrapper = (
            pattern(f"chat/markdown.html#{partial}", "slot", "parts", *values) if partial else ""
        )
        id_ = f"{self._prefix}-b{len(self._blocks)}"
        self._open = Block(id_, f"{self._prefix}-body", kind, wrapper, values)
        self._blocks.append(self._open)
        return self._open
