"""Markdown that is still being written: finished blocks and one open block, as clean HTML.

Blocks are cut line by line, so a block that is finished never changes, and history and a live stream give the same HTML.
Long lists, tables and code close part by part (item, row, a few lines). While a line is being written, only its last piece
is rendered again: the work for a delta does not grow with the answer.

Everything here is cleaned by an allow-list: no ids, classes, styles, images, scripts or hx-* of a model's making.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chat.rendering.partials import pattern

from .inline import MARKED_CITATION, language_of, uncited, without_controls
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
    expanded,
    indent,
    interrupts,
    is_table,
    kind_of,
)
from .parts import Element, Part, Render, code, flow, item, row_renderer, table_head

CODE_PART = 12  # lines of code that are sent again together


def render_all(text: str, prefix: str) -> list[str]:
    """The blocks of a text that is complete."""
    blocks = Blocks(prefix)
    blocks.feed(text)
    blocks.finish()
    return blocks.html()


# --- Parts and blocks -------------------------------------------------------------------------------------------------

BLOCK_ATTRIBUTES = ' class="block" dir="auto"'


@dataclass(slots=True)
class Block:
    """A top-level block. Its `wrapper` holds its parts; without one it is its only part."""

    id: str
    slot: str
    kind: str
    wrapper: str = ""
    values: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    sent: bool = False
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
        return Element(
            "div",
            self.id,
            self.slot,
            BLOCK_ATTRIBUTES,
            self.wrapper % {"slot": f"{self.id}-in", "parts": parts, **self.values},
        )

    def new_part(self, tag: str, render: Render, *, attributes: str = "", dedent: int = 0) -> Part:
        part = Part(
            tag, f"{self.id}-p{len(self.parts)}", f"{self.id}-in", render, attributes, dedent
        )
        self.parts.append(part)
        return part


class Blocks:
    """Takes text as it comes and says which elements changed. All ids begin with `prefix`; the body's id is `<prefix>-body`.

    `cite` makes the link for a [number] in prose, as safe HTML; nothing where there is no such source, and the text stays.
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
        """How many blocks will never change again."""
        return len(self._blocks) - (self._open is not None)

    def feed(self, text: str) -> list[Element]:
        text = self._rest + text
        self._rest = text[-1:] if text.endswith("\r") or "\ud800" <= text[-1:] <= "\udbff" else ""
        text = without_controls(text.removesuffix(self._rest))
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._line = (self._line + text).split("\n")
        if not lines and self._placed:
            changed = self._placed.grow(expanded(self._line))
            if not self._placed.stale:
                return [self._cited(element) for element in changed]
        for line in lines:
            self._complete(expanded(line))
        if self._line and not self._placed:
            self._begin_line(expanded(self._line))
        return self._changed()

    def finish(self) -> list[Element]:
        """The text is complete."""
        if self._line or self._rest:
            self._complete(expanded(self._line))
        self._rest = self._line = ""
        self._open = None
        return self._changed()

    def html(self) -> list[str]:
        """The blocks as they stand."""
        return [self._cited(block.element).html for block in self._blocks if block.sent]

    def _changed(self) -> list[Element]:
        elements: list[Element] = []
        for block in self._blocks[self._handed_out :]:
            if self._may_become_table(block):
                break
            changed = [part for part in block.parts if part.refresh(writing=part is self._placed)]
            elements += [part.element for part in changed] if block.sent else [block.element]
            block.sent = True
        self._handed_out = self.finished
        return [self._cited(element) for element in elements]

    def _cited(self, element: Element) -> Element:
        if "\ufdd3" not in element.inner:
            return element
        return replace(element, inner=MARKED_CITATION.sub(self._links, element.inner))

    def _links(self, marked: re.Match[str]) -> str:
        links = [self._cite(int(number)) for number in re.findall(r"\d+", marked[1])]
        return "".join(links) if all(links) else marked[1]

    def _may_become_table(self, block: Block) -> bool:
        """Whether the block ends with what looks like a table's header: it is shown when the next line has decided."""
        header = block is self._open and block.kind == "paragraph" and self._placed is None
        return header and block.parts[0].lines[-1].lstrip().startswith("|")

    # --- Lines: begun when it is clear what they are, then completed

    def _begin_line(self, line: str) -> None:
        block = self._open
        if block and block.fence:
            decided = line.strip(" ") and not CLOSING.match(line)
        else:
            header = line.lstrip().startswith("|") and not (block and block.kind == "table")
            decided = not header and not UNDECIDED.match(line)
        if decided:
            self._place(line)

    def _complete(self, line: str) -> None:
        if self._placed:
            self._placed.grow(line)
            self._placed.stale = True
        else:
            self._place(line)
        self._placed = None
        if self._open and self._open.kind == "line":
            self._open = None

    def _place(self, line: str) -> None:
        """Put the line into the open block, or end that and begin another."""
        if self._open:
            if self._continue(self._open, line):
                return
            self._open = None
        if line.strip(" "):
            self._begin(line)

    def _add(self, part: Part, line: str) -> bool:
        part.add(line)
        self._placed = part
        return True

    # --- Open blocks: whether the line was theirs

    def _continue(self, block: Block, line: str) -> bool:
        match block.kind:
            case "fence":
                return self._continue_fence(block, line)
            case "indented":
                return self._continue_indented(block, line)
            case "list":
                return self._continue_list(block, line)
            case "table":
                ends = not line.strip(" ") or interrupts(line)
                return not ends and self._add(block.new_part("tr", block.row), line)
            case "quote":
                ends = (
                    not line.strip(" ")
                    or block.parts[0].full
                    or (interrupts(line) and not QUOTE.match(line))
                )
                return not ends and self._add(block.parts[0], line)
            case _:
                return self._continue_paragraph(block, line)

    def _continue_fence(self, block: Block, line: str) -> bool:
        closing = CLOSING.match(line)
        if closing and closing[1].startswith(block.fence):
            self._open = None
            return True
        return self._add_code(block, line)

    def _continue_indented(self, block: Block, line: str) -> bool:
        if not line.strip(" "):
            block.blanks += 1
            return True
        if indent(line) < block.offset:
            return False
        while block.blanks:
            self._add_code(block, "")
            block.blanks -= 1
        return self._add_code(block, line)

    def _add_code(self, block: Block, line: str) -> bool:
        if not block.parts or len(block.parts[-1].lines) >= CODE_PART:
            block.new_part("span", code, dedent=block.offset)
        return self._add(block.parts[-1], line)

    def _continue_list(self, block: Block, line: str) -> bool:
        if not line.strip(" "):
            block.blanks += 1
            return True
        marker = MARKER.match(line)
        lazy = (
            not block.blanks
            and not marker
            and not interrupts(line)
            and MARKER.sub("", block.parts[-1].lines[-1])
        )
        if lazy or indent(line) >= block.offset:
            return self._add_to_item(block, line)
        if marker and kind_of(marker) == block.marker and not RULE.match(line):
            return self._add_item(block, marker, line)
        return False

    def _add_item(self, block: Block, marker: re.Match[str], line: str) -> bool:
        gap = len(marker[3] or " ")
        block.offset = len(marker[1]) + len(marker[2]) + (gap if gap < 5 else 1)
        block.blanks = 0
        return self._add(block.new_part("li", item), line)

    def _add_to_item(self, block: Block, line: str) -> bool:
        part = block.parts[-1]
        if part.full:
            part = block.new_part("li", flow, attributes=' class="more"', dedent=block.offset)
            block.blanks = 0
        while block.blanks:
            part.add("")
            block.blanks -= 1
        return self._add(part, line)

    def _continue_paragraph(self, block: Block, line: str) -> bool:
        part = block.parts[0]
        if not line.strip(" ") or part.full:
            return False
        if DELIMITER.match(line) and is_table(part.lines[-1], line):
            self._begin_table(part, line)
            return True
        if UNDERLINE.match(line):
            part.add(line)
            self._open = None
            return True
        return not interrupts(line) and self._add(part, line)

    # --- New blocks

    def _begin(self, line: str) -> None:
        if fence := FENCE.match(line):
            block = self._new("fence", "chat/markdown.html#code", language=language_of(fence[3]))
            block.fence, block.offset = fence[2], len(fence[1])
        elif indent(line) >= 4:
            block = self._new("indented", "chat/markdown.html#code", language="text")
            block.offset = 4
            self._add_code(block, line)
        elif HEADING.match(line) or RULE.match(line):
            self._begin_flow("line", line)
        elif QUOTE.match(line):
            self._begin_flow("quote", line)
        elif marker := MARKER.match(line):
            self._begin_list(marker, line)
        else:
            self._begin_flow("paragraph", line)

    def _begin_flow(self, kind: str, line: str) -> None:
        block = self._new(kind)
        block.parts.append(Part("div", block.id, block.slot, flow, BLOCK_ATTRIBUTES))
        self._add(block.parts[0], line)

    def _begin_list(self, marker: re.Match[str], line: str) -> None:
        number = marker[2][:-1]
        if number:
            block = self._new("list", "chat/markdown.html#numbers", start=str(int(number)))
        else:
            block = self._new("list", "chat/markdown.html#bullets")
        block.marker = kind_of(marker)
        self._add_item(block, marker, line)

    def _begin_table(self, above: Part, delimiter: str) -> None:
        """The last line of the paragraph above was the table's header."""
        header = above.lines.pop()
        if above.lines:
            above.stale = True
        else:
            self._blocks.pop()
        block = self._new("table", "chat/markdown.html#table", head=table_head(header, delimiter))
        block.row = row_renderer(delimiter)

    def _new(self, kind: str, wrapper: str = "", **values: str) -> Block:
        holes = pattern(wrapper, "slot", "parts", *values) if wrapper else ""
        self._open = Block(
            f"{self._prefix}-b{len(self._blocks)}", f"{self._prefix}-body", kind, holes, values
        )
        self._blocks.append(self._open)
        return self._open
