"""Parts of a block: lines that are rendered together, and the line that is being written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from chat.rendering.partials import pattern

from .inline import PIECE_CHARS, cleaned, close_unfinished, inline_html, is_balanced, parser
from .lines import CELLS, INDENT, LEAD, MARKER, PIPES, UNDECIDED, indent_of, is_in_fence

MAX_PART_LINES = 40  # lines of a quote or list item before it is continued in the next part
MAX_FENCED_LINES = 10 * MAX_PART_LINES  # the same inside fenced code, which can't be cut anywhere
MAX_BRACKETS = 16  # in a piece that is parsed
MAX_ASTERISKS = 32  # in a piece that is parsed

# A noncharacter that stands for the growing end of a line while the structure around it is
# rendered: what is before it in the HTML is the head of a part, what follows is its foot.
CURSOR = "\ufdd0"


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is new or has changed.

    It replaces the one with its id; if there is none, it goes to the end of the element `slot`.
    """

    tag: str
    id: str
    slot: str
    attributes: str
    inner: str

    @property
    def html(self) -> str:
        return pattern("chat/markdown.html#element", "tag", "id", "attributes", "html") % {
            "tag": self.tag,
            "id": self.id,
            "attributes": self.attributes,
            "html": self.inner,
        }


# Renderers: the source lines of a part as clean HTML.
type Render = Callable[[list[str]], str]


def flow(lines: list[str]) -> str:
    """Render lines as blocks: a paragraph, a heading, a quote."""
    # The beginning of every paragraph, and the only text that needs neither parser nor cleaner.
    if lines == [CURSOR]:
        return f"<p>{CURSOR}</p>"
    return cleaned(parser.render("\n".join(lines))).strip()


def item(lines: list[str]) -> str:
    """Render the lines of one list item, without its <li>."""
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


def code(lines: list[str]) -> str:
    """Render lines of code, without the <pre> around them."""
    # Keep quotes, as the cleaner does: cut or whole, a text must give the same HTML.
    return "".join(f"{escape(line, quote=False)}\n" for line in lines)


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


def row_renderer(delimiter: str) -> Render:
    """Return a renderer for single rows of the table with this delimiter."""
    # The parser knows rows only in a table, so give each row a header of its own and cut it off.
    header = "|x" * len(CELLS.findall(delimiter)) + "|"

    def row(lines: list[str]) -> str:
        html = table([header, delimiter, *lines])
        if "<tbody>" not in html:  # Without a pipe in front, this line would begin another block.
            html = table([header, delimiter, "|" + lines[0]])
        return html[html.index("<tr>", html.index("<tbody>")) + 4 : html.rindex("</tr>")].strip()

    return row


@dataclass(slots=True)
class Tail:
    """The words of the line that is being written, in pieces of which only the last one changes.

    A line may be as long as an answer. With pieces, a delta costs at most two of them.
    """

    id: str
    lead: str  # what stands before the words
    is_verbatim: bool  # words are shown as they are: code
    start: int = 0  # where the last piece begins in the words
    pieces: list[str] = field(default_factory=lambda: [""])

    def write(self, words: str) -> list[Element]:
        """Render the line's words so far; return the pieces that changed."""
        first = len(self.pieces) - 1
        while (end := self.piece_end(words)) > self.start:
            self.pieces[-1] = self.html_of(words[self.start : end])
            self.pieces.append("")
            self.start = end
        rest = words[self.start :]
        if self.is_verbatim:
            self.pieces[-1] = self.html_of(rest)
        elif not self.start and UNDECIDED.match(rest):
            # A nested line begins, and may still become an item or a heading.
            self.pieces[-1] = ""
        else:
            self.pieces[-1] = self.html_of(close_unfinished(rest))
        return [self.piece(index) for index in range(first, len(self.pieces))]

    def element(self, slot: str) -> Element:
        inner = "".join(self.piece(index).html for index in range(len(self.pieces)))
        return Element("span", self.id, slot, ' class="tail"', inner)

    def piece(self, index: int) -> Element:
        return Element("span", f"{self.id}-{index}", self.id, "", self.pieces[index])

    def piece_end(self, words: str) -> int:
        """Return where the last piece may end for good; its start if it must stay open."""
        length = len(words) - self.start
        if length <= PIECE_CHARS:
            return self.start
        end = words.rfind(" ", self.start, self.start + PIECE_CHARS) + 1 or self.start + PIECE_CHARS
        # Wait for the end of an open link or emphasis, but not longer than a second piece: the
        # line is rendered as a whole when it is complete, so what was cut is repaired then.
        is_whole = length > 2 * PIECE_CHARS or is_balanced(words[self.start : end])
        return end if is_whole else self.start

    def html_of(self, words: str) -> str:
        # Many open brackets or asterisks are no prose, and looking for their ends is quadratic.
        is_prose = words.count("[") <= MAX_BRACKETS and words.count("*") <= MAX_ASTERISKS
        if self.is_verbatim or not is_prose:
            return escape(words, quote=False)
        return inline_html(words)


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
        count = len(self.lines)
        return count >= MAX_PART_LINES and (
            count >= MAX_FENCED_LINES or not is_in_fence(self.lines)
        )

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
        if is_growing and self.render is not code and self.open_tail():
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
        # Inside a fence the first try would fail: save its render.
        prose = None if is_in_fence(above) else self.tail_of(line, is_verbatim=False)
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
        found = (PIPES if self.tag == "tr" else INDENT if is_verbatim else LEAD).match(line)
        return found[0] if found else ""
