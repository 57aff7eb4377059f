"""Parts of a block: lines that are rendered together."""

from dataclasses import dataclass, field

from .characters import CURSOR
from .elements import Element
from .formula_lines import is_in_formula, mask_pipes
from .lines import INDENT, LEAD, PIPES, UNDERLINE, indent_of, is_blank, is_in_fence
from .renderers import Render, code
from .tail import Tail
from .words import settled

MAX_PART_LINES = 40  # lines of a quote or list item before it is continued in the next part
MAX_PART_CHARS = 4000  # the same in characters
FENCED = 10  # times as much inside fenced code, which can't be cut anywhere and is quick to render
LONG_TEXT = 1500  # characters; rendering them takes 2 to 20 ms
MAX_CODE_LINE = 400  # characters of a line of code that are sent again with each delta

# How a part grows, by the example of a list item whose second line is being written:
#
#     - Kafka                 head  Kafka<ul><li>
#       - keeps **a lo        tail  keeps <strong>a lo</strong>
#                             foot  </li></ul>
#
# With the next delta, "g** of", `grow` renders and returns the tail alone. Head and foot stay as
# they are, because words can't change the structure before them. When the line ends, the part
# becomes stale: `refresh` renders its lines as a whole, and `tail` is None until the next line.


@dataclass(slots=True)
class Part:
    """Lines that are rendered together: a paragraph, a list item, a table row, lines of code."""

    tag: str
    id: str
    slot: str
    render: Render
    attributes: str = ""
    dedent: int = 0  # columns of indentation that belong to the block, not to the text
    lines: list[str] = field(default_factory=list)
    is_stale: bool = True  # its lines have changed more than the tail shows
    head: str = ""
    tail: Tail | None = None
    foot: str = ""

    @property
    def element(self) -> Element:
        tail = self.tail.element(self.id).html if self.tail else ""
        return Element(self.tag, self.id, self.slot, self.attributes, self.head + tail + self.foot)

    @property
    def is_full(self) -> bool:
        """Return True if the next line must go into another part.

        Every line of a part is rendered again when one is added, so that a part without a limit
        would make the work quadratic.
        """
        size = max(len(self.lines) / MAX_PART_LINES, self.chars / MAX_PART_CHARS)
        return size >= 1 and (size >= FENCED or not is_in_fence(self.lines))

    @property
    def has_code(self) -> bool:
        """Return True if there is fenced code in the part, whose colours can take 100 ms."""
        return any("```" in line or "~~~" in line for line in self.lines)

    @property
    def chars(self) -> int:
        return sum(map(len, self.lines))

    def dedented(self, line: str) -> str:
        return line[min(self.dedent, indent_of(line)) :] if self.dedent else line

    def add(self, line: str) -> None:
        self.lines.append(self.dedented(line))
        self.is_stale = True

    def grow(self, line: str) -> list[Element]:
        """Replace the line that is being written by a longer one; return the pieces that changed.

        If more than the words have changed, mark the part stale and return nothing.
        """
        line = self.lines[-1] = self.dedented(line)
        if self.tail is None or self.lead_of(line, self.tail.is_verbatim) != self.tail.lead:
            self.is_stale = True
            return []
        return self.tail.write(line[len(self.tail.lead) :])

    def refresh(self, *, is_growing: bool) -> bool:
        """Render the part if it is stale, with a tail if its last line is still growing.

        Return True if it was stale.
        """
        if not self.is_stale:
            return False
        self.is_stale = False
        is_short_code = self.render is code and len(self.lines[-1]) <= MAX_CODE_LINE
        if is_growing and not is_short_code and self.open_tail():
            return True
        self.head, self.tail, self.foot = self.render(self.lines), None, ""
        if is_growing:
            self.head = self.head.removesuffix("\n")
        return True

    def open_tail(self) -> bool:
        """Render the part with its last line's words in a tail; return False if it can't have one.

        A table row with more cells than columns can't: the parser drops the words. It is rendered
        as a whole with each delta.
        """
        *above, line = self.lines
        # Inside a fence the first try would fail: save its render. In a formula, nothing is prose.
        is_prose = not is_in_fence(above) and not is_in_formula(above)
        prose = self.tail_of(line, is_verbatim=False) if is_prose else None
        opened = prose or self.tail_of(line, is_verbatim=True)
        if opened is None:
            return False
        self.head, self.tail, self.foot = opened
        return True

    def tail_of(self, line: str, *, is_verbatim: bool) -> tuple[str, Tail, str] | None:
        """Return head, tail and foot of the part whose last line is `line`.

        Return None if the words belong elsewhere: not into code that takes them as they are, or
        into a place that the renderer repeats or leaves out.
        """
        lead = self.lead_of(line, is_verbatim)
        head, cursor, foot = self.render([*self.lines[:-1], lead + CURSOR]).partition(CURSOR)
        is_in_code = head.rfind("<pre") > head.rfind("</pre>")
        if not cursor or CURSOR in foot or (is_in_code and not is_verbatim):
            return None
        tail = Tail(f"{self.id}-t{len(self.lines)}", lead, is_verbatim)
        tail.write(line[len(lead) :])
        return head, tail, foot

    def lead_of(self, line: str, is_verbatim: bool) -> str:
        """Return what stands before the words of a line."""
        if self.tag == "tr":
            found = PIPES.match(mask_pipes(line, is_growing=True))
        else:
            found = (INDENT if is_verbatim else LEAD).match(line)
        return line[: found.end()] if found else ""

    def settle(self) -> None:
        """Close what is left open at the end of a text that was cut."""
        if is_in_fence(self.lines) or UNDERLINE.match(self.lines[-1]):
            return
        if self.tag == "tr":
            lead = self.lead_of(self.lines[-1], is_verbatim=False)
            self.lines[-1] = lead + settled(self.lines[-1][len(lead) :])
            self.is_stale = True
            return
        # Emphasis goes on from line to line, but not beyond a paragraph or an item.
        begin = len(self.lines) - 1
        while begin and not is_blank(self.lines[begin - 1]) and not self.marker_of(begin):
            begin -= 1
        self.lines[begin:] = settled("\n".join(self.lines[begin:])).split("\n")
        self.is_stale = True

    def marker_of(self, index: int) -> str:
        """Return the markers of headings and items that the line begins with."""
        return self.lead_of(self.lines[index], is_verbatim=False).strip(" \t>|")
