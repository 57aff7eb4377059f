"""Render Markdown that is still being written: finished blocks and one open block, as clean HTML.

Blocks are cut line by line, so a finished block never changes, and history and a live stream give
the same HTML. Long lists, tables and code close part by part (item, row, a few lines). While a line
is being written, only its last piece is rendered again, so the work for a delta doesn't grow with
the answer.

Everything is cleaned by the allow-list in cleaning.py: the ids, classes and buttons in the HTML are
made here, never by a model.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from chat.rendering.partials import worded_pattern

from .block import BLOCK_ATTRIBUTES, VERBATIM, Block, Kind
from .characters import without_controls
from .code.languages import language_of, lexer_name
from .code.listing import MAX_CODE_LINES, Listing
from .elements import Element
from .extensions import Extensions
from .formula_lines import is_half_opener, is_in_formula, opens_formula
from .labels import Labels, has_marks, uncited, used_in
from .lines import (
    CLOSING,
    DELIMITER,
    FENCE,
    HEADING,
    INNER_FENCE,
    MARKER,
    QUOTE,
    RULE,
    UNDECIDED,
    UNDERLINE,
    expand_tabs,
    indent_of,
    interrupts_paragraph,
    is_blank,
    is_in_fence,
    is_lazy,
    is_table,
    is_undecided,
    list_kind,
)
from .parts import LONG_TEXT, Part
from .renderers import Render, code, flow, item, paragraph, row_renderer, table_head
from .syntax.maths import displayed


def render_all(text: str, prefix: str) -> list[str]:
    """Return the blocks of a text that is complete."""
    blocks = Blocks(prefix)
    blocks.feed(text)
    blocks.finish()
    return blocks.html()


class Blocks(Extensions):
    """Takes text as it arrives and returns the elements that changed.

    All ids begin with `prefix`; the body's id is `<prefix>-body`. `cite` returns the link for a
    [number] in prose, as safe HTML. If it returns nothing, there is no such source, and the number
    stays text.
    """

    def __init__(self, prefix: str, cite: Callable[[int], str] = uncited) -> None:
        super().__init__(Labels(prefix, cite))
        self._prefix = prefix
        self._used: set[str] = set()  # labels in the blocks that were handed out
        self._handed_out = 0  # blocks that are finished and were handed out
        self._rest = ""  # half of a line end or of a surrogate pair
        self._line = ""  # the line that is being written

    @property
    def finished(self) -> int:
        """The number of blocks in `html` that stay as they are, at least until the end."""
        growing = self._around[0] if self._around else self._open
        return sum(
            block.is_sent and block is not growing and block.slot == self.body
            for block in self._blocks
        )

    @property
    def body(self) -> str:
        return f"{self._prefix}-body"

    def feed(self, text: str) -> list[Element]:
        """Take the next piece of the text; return the elements that it changed."""
        text = self._rest + text
        self._rest = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = without_controls(text.removesuffix(self._rest))
        if "\r" in text:
            if text.endswith("\r"):
                text, self._rest = text[:-1], "\r" + self._rest
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._line = (self._line + text).split("\n")
        # Most deltas only add words to a line: then no other block or part needs a look.
        if not lines and self._placed:
            changed = self._placed.grow(self.spaced(self._line))
            if not self._placed.is_stale:
                return [self._labels.filled(element) for element in changed]
        for line in lines:
            self.complete_line(self.spaced(line))
        if self._line and not self._placed:
            self.begin_line(self.spaced(self._line))
        return self.changed()

    def finish(self, *, cut: bool = False) -> list[Element]:
        """End the text; return the elements that this changed.

        Only now may finished blocks change: what their labels stand for is known. `cut`: the text
        was to go on, so close what is left open, as while it was growing.
        """
        if cut:
            self._line = self.cut_off(self._line)
        line, last = self.spaced(self._line), self._open
        if (line or self._rest) and not (cut and self.is_half(line)):
            self.complete_line(line)
            last = self._blocks[-1] if line and self._blocks else last
        if cut and last and last.parts and last.kind not in VERBATIM:
            last.parts[-1].settle()
        self._rest = self._line = ""
        if self._comment:
            self.release_comment()
        if self._open and self._open.kind == "details":
            self.enter_details(self._open)
        self._open = self._placed = None
        self._around.clear()
        return [*self.changed(), *self.resolved()]

    def may_take_long(self, text: str, *, is_end: bool = False) -> bool:
        """Return True if taking the text may need more than 20 ms: for much, or for colours."""
        if len(text) > LONG_TEXT or "```" in text or "~~~" in text:
            return True
        if not is_end and "\n" not in text and self._placed and self._placed.tail:
            return False
        return len(self._line) > LONG_TEXT or bool(self._open and self._open.may_take_long)

    def is_half(self, line: str) -> bool:
        """Return True if the line has only a mark so far, such as of an item or of code."""
        kind = self._open.kind if self._open else "paragraph"
        if kind in VERBATIM:
            return kind == "fence" and CLOSING.match(line) is not None
        is_mark = UNDECIDED.match(line) is not None and not line.lstrip()[:1].isdigit()
        return is_mark or is_half_opener(line)

    def html(self) -> list[str]:
        """Return all blocks in their present state, those in details with the details."""
        shown: dict[str, list[str]] = defaultdict(list)  # by slot, the last one first
        for block in reversed(self._blocks):
            if block.is_sent and not self.is_hidden(block):
                children = "".join(reversed(shown[f"{block.id}-in"]))
                element = self._labels.filled(block.with_children(children))
                shown[block.slot].append(element.html)
        return shown[self.body][::-1]

    # Elements, with what their labels stand for

    def changed(self) -> list[Element]:
        elements: list[Element] = []
        finished = len(self._blocks) - (self._open is not None)
        for block in self._blocks[self._handed_out :]:
            if self.is_undecided(block):
                break
            # Refresh all of them first: a block that is new to the page is sent as a whole.
            changed = block.refresh(self._placed, is_complete=block is not self._open)
            if not self.is_hidden(block):
                elements += [part.element for part in changed] if block.is_sent else [block.element]
                block.is_sent = True
            if block is not self._open and block.kind != "details":
                # Definitions below need to know. What is still open may yet be something else.
                self._used.update(used_in(block.element.inner))
        self._handed_out = finished
        return [self._labels.filled(element) for element in elements]

    def resolved(self) -> list[Element]:
        """Fill in all labels for good; return the blocks that this changed."""
        sent = [block for block in self._blocks if block.is_sent and is_open_to_change(block)]
        before = [self._labels.filled(block.element) for block in sent]
        self._labels.complete()
        elements = []
        for block, filled in zip(sent, before, strict=True):
            after = self._labels.filled(block.element)
            if self.is_hidden(block):
                after = replace(after, inner="")  # which is not displayed
            if after != filled:
                elements.append(after)
        return elements

    def is_hidden(self, block: Block) -> bool:
        """Return True for a definition that a link needs.

        One that was shown because no link above it does stays until the end.
        """
        is_final = self._labels.is_complete or not block.is_sent
        return block.kind == "definition" and is_final and block.label in self._used

    def is_undecided(self, block: Block) -> bool:
        return block is self._open and (block.kind == "details" or self.may_become_table(block))

    def may_become_table(self, block: Block) -> bool:
        """Return True if the block ends with what looks like the header of a table.

        It is shown when the next line has decided, or it would be a paragraph for a moment.
        """
        is_candidate = block.kind == "paragraph" and self._placed is None
        return is_candidate and block.parts[0].lines[-1].lstrip().startswith("|")

    # Lines: begun when it is clear what they are, then completed

    def spaced(self, line: str) -> str:
        """Replace the tabs before the words by spaces, except those that are text of code."""
        block = self._open
        if "\t" not in line or block is None:
            return expand_tabs(line)
        if block.fence:
            return line
        if block.kind in ("list", "quote"):
            part = block.parts[-1]
            above = part.lines[:-1] if part is self._placed else part.lines
            if is_in_fence(above):
                return expand_tabs(line, columns=block.offset)
        return expand_tabs(line)

    def begin_line(self, line: str) -> None:
        block = self._open
        if block and block.kind == "maths":
            is_decided = False
        elif block and block.fence:
            is_decided = not is_blank(line) and not CLOSING.match(line)
        else:
            is_header = line.lstrip().startswith("|") and not (block and block.kind == "table")
            is_open_kind = is_undecided(line) or self.is_held(line)
            is_decided = not is_header and not is_open_kind
        if is_decided:
            self.place(line)

    def complete_line(self, line: str) -> None:
        closing = self.closing_of(line)
        if closing:
            line = closing["words"].rstrip()
        if self._placed:
            self._placed.grow(line)
            # Render the line as a whole now: its pieces may have cut emphasis or a link.
            self._placed.is_stale = True
        elif line or not closing:
            self.place(line)
        self._placed = None
        if self._open and self._open.kind in ("line", "definition"):
            self._open = None
        if closing:
            self.leave_details()

    def place(self, line: str) -> None:
        """Put the line into the open block, or end that block and begin another."""
        if self.is_comment(line):
            self.take_comment(line)
            return
        if self._open:
            if not self.begins_extension(line) and self.continues(self._open, line):
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
                    or not (is_lazy(line) or QUOTE.match(line))
                )
                return not ends and self.add(block.parts[0], line)
            case "note":
                return self.continue_note(block, line)
            case "details":
                return self.continue_details(block, line)
            case "maths":
                return self.continue_formula(block, line)
            case "paragraph" | "line" | "definition":
                return self.continue_paragraph(block, line)

    def continue_fence(self, block: Block, line: str) -> bool:
        closing, inner = CLOSING.match(line), INNER_FENCE.match(line)
        if closing and closing[1].startswith(block.fence):
            if not block.inner_fences:
                self._open = None
                return True
            block.inner_fences -= 1
        elif block.is_markdown and inner and inner[1].startswith(block.fence):
            block.inner_fences += 1
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
        goes_on = (
            not block.blanks
            and not marker
            and is_lazy(line)
            and MARKER.sub("", block.parts[-1].lines[-1])
        )
        if goes_on or indent_of(line) >= block.offset:
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
        if is_in_formula(part.lines) and not FENCE.match(line) and not HEADING.match(line):
            return self.add(part, line)
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
        if self.begins_extension(line):
            self.begin_extension(line)
        elif opens_formula(line) and not self._is_maths_off:
            self.begin_flow("maths", line, displayed)
        elif fence := FENCE.match(line):
            language = language_of(fence[3])
            block = self.new_block("fence", "code", language=language)
            block.fence, block.offset = fence[2], len(fence[1])
            if lexer_name(language):
                block.listing = Listing(language, block.parts)
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
            self.begin_flow("paragraph", line, paragraph)

    def begin_flow(self, kind: Kind, line: str, render: Render = flow) -> Block:
        block = self.new_block(kind)
        block.parts.append(Part("div", block.id, block.slot, render, BLOCK_ATTRIBUTES))
        self.add(block.parts[0], line)
        return block

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
            worded_pattern(f"chat/markdown.html#{partial}", "slot", "parts", *values)
            if partial
            else ""
        )
        id_ = f"{self._prefix}-b{len(self._blocks)}"
        slot = f"{self._around[-1].id}-in" if self._around else self.body
        self._open = Block(id_, slot, kind, wrapper, values)
        self._blocks.append(self._open)
        return self._open


def is_open_to_change(block: Block) -> bool:
    """Return True if the end of the text may change the block."""
    return block.kind == "definition" or has_marks(block.element.inner)
