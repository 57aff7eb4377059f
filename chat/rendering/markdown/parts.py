"""Parts of a block: source lines that are rendered together, and the line that is being written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from chat.rendering.partials import pattern

from .inline import PIECE, balanced, cleaned, inline, parser, settled
from .lines import CELLS, INDENT, LEAD, MARKER, PIPES, UNDECIDED, indent

MAX_PART_LINES = 40  # lines of a quote or list item before it is continued in the next part

# A noncharacter that stands for the growing end of a line while the structure around it is rendered.
CURSOR = "\ufdd0"


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is new or has changed: it replaces the one with its id, or goes to the end of the element `slot`."""

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


# --- Rendering the source lines of a part ------------------------------------------------------------------------------

type Render = Callable[[list[str]], str]


def flow(lines: list[str]) -> str:
    if lines == [CURSOR]:
        return f"<p>{CURSOR}</p>"
    return cleaned(parser.render("\n".join(lines))).strip()


def item(lines: list[str]) -> str:
    tokens = parser.parse("\n".join(lines))
    items = sum(token.type == "list_item_open" and token.level == 1 for token in tokens)
    if (
        items != 1
        or not tokens[0].type.endswith("_list_open")
        or any(token.level == 0 for token in tokens[1:-1])
    ):
        # Our line scanner and the parser see the structure differently; the words come first.
        return flow([MARKER.sub("", line, count=1).strip() for line in lines])
    html = cleaned(parser.renderer.render(tokens, parser.options, {}))
    return html[html.index("<li>") + 4 : html.rindex("</li>")].strip()


def code(lines: list[str]) -> str:
    # The cleaner writes text without &quot;, and so does this.
    return "".join(f"{escape(line, quote=False)}\n" for line in lines)


def table(lines: list[str]) -> str:
    tokens = parser.parse("\n".join(lines))
    for token in tokens:
        if style := token.attrs.pop("style", None):
            token.attrs["align"] = str(style).removeprefix("text-align:")
    return cleaned(parser.renderer.render(tokens, parser.options, {}))


def table_head(header: str, delimiter: str) -> str:
    html = table([header, delimiter])
    return html[html.index("<thead>") : html.index("</thead>") + 8]


def row_renderer(delimiter: str) -> Render:
    header = "|x" * len(CELLS.findall(delimiter)) + "|"

    def row(lines: list[str]) -> str:
        html = table([header, delimiter, *lines])
        if "<tbody>" not in html:  # by itself this line would be something else than a row
            html = table([header, delimiter, "|" + lines[0]])
        return html[html.index("<tr>", html.index("<tbody>")) + 4 : html.rindex("</tr>")].strip()

    return row


@dataclass(slots=True)
class Tail:
    """The end of the line that is being written, in pieces of which only the last one changes."""

    id: str
    lead: str
    verbatim: bool
    start: int = 0
    pieces: list[str] = field(default_factory=lambda: [""])

    def write(self, words: str) -> list[Element]:
        """Take the words of the line so far; the pieces that changed come back."""
        first = len(self.pieces) - 1
        while (cut := self._cut(words)) > self.start:
            self.pieces[-1] = self._html(words[self.start : cut])
            self.pieces.append("")
            self.start = cut
        rest = words[self.start :]
        if self.verbatim:
            self.pieces[-1] = self._html(rest)
        else:
            self.pieces[-1] = (
                "" if not self.start and UNDECIDED.match(rest) else self._html(settled(rest))
            )
        return [self._piece(index) for index in range(first, len(self.pieces))]

    def element(self, slot: str) -> Element:
        inner = "".join(self._piece(index).html for index in range(len(self.pieces)))
        return Element("span", self.id, slot, ' class="tail"', inner)

    def _cut(self, words: str) -> int:
        """Where the current piece may end for good; its start if it is too short or leaves something open."""
        length = len(words) - self.start
        if length <= PIECE:
            return self.start
        cut = words.rfind(" ", self.start, self.start + PIECE) + 1 or self.start + PIECE
        return cut if length > 2 * PIECE or balanced(words[self.start : cut]) else self.start

    def _html(self, words: str) -> str:
        # Many open brackets or asterisks are no prose, and looking for their ends is quadratic.
        if self.verbatim or words.count("[") > 16 or words.count("*") > 32:
            return escape(words, quote=False)
        return inline(words)

    def _piece(self, index: int) -> Element:
        return Element("span", f"{self.id}-{index}", self.id, "", self.pieces[index])


@dataclass(slots=True)
class Part:
    """Source lines that are rendered together: a paragraph, a list item, a table row, some lines of code."""

    tag: str
    id: str
    slot: str
    render: Render
    attributes: str = ""
    dedent: int = 0
    lines: list[str] = field(default_factory=list)
    stale: bool = True
    head: str = ""
    tail: Tail | None = None
    foot: str = ""

    @property
    def element(self) -> Element:
        tail = self.tail.element(self.id).html if self.tail else ""
        return Element(self.tag, self.id, self.slot, self.attributes, self.head + tail + self.foot)

    @property
    def full(self) -> bool:
        """Whether what follows goes into another part, so that no line costs more than MAX_PART_LINES lines."""
        count = len(self.lines)
        return count >= MAX_PART_LINES and (
            count >= 10 * MAX_PART_LINES or not self._in_fence(self.lines)
        )

    def stored(self, line: str) -> str:
        return line[min(self.dedent, indent(line)) :]

    def add(self, line: str) -> None:
        self.lines.append(self.stored(line))
        self.stale = True

    def grow(self, line: str) -> list[Element]:
        """The line that is being written is longer now: the pieces that changed, unless the part is stale as a whole."""
        line = self.lines[-1] = self.stored(line)
        if self.tail is None or self._lead(line, verbatim=self.tail.verbatim) != self.tail.lead:
            self.stale = True
            return []
        return self.tail.write(line[len(self.tail.lead) :])

    def refresh(self, *, writing: bool) -> bool:
        """Render if stale, with a tail if its last line is being written; whether it was."""
        if not self.stale:
            return False
        self.stale = False
        if writing and self.render is not code and self._open_tail():
            return True
        self.head, self.tail, self.foot = self.render(self.lines), None, ""
        if writing:
            self.head = self.head.removesuffix("\n")
        return True

    def _open_tail(self) -> bool:
        *above, line = self.lines
        for verbatim in (False, True) if not self._in_fence(above) else (True,):
            lead = self._lead(line, verbatim=verbatim)
            head, cursor, foot = self.render([*above, lead + CURSOR]).partition(CURSOR)
            if verbatim or head.rfind("<pre") <= head.rfind("</pre>"):
                break
        if not cursor or CURSOR in foot:
            return False
        self.head, self.tail, self.foot = (
            head,
            Tail(f"{self.id}-t{len(self.lines)}", lead, verbatim),
            foot,
        )
        self.tail.write(line[len(lead) :])
        return True

    def _lead(self, line: str, *, verbatim: bool) -> str:
        """Everything before the words of a line; they are what a tail renders."""
        found = (PIPES if self.tag == "tr" else INDENT if verbatim else LEAD).match(line)
        return found[0] if found else ""

    @staticmethod
    def _in_fence(lines: list[str]) -> bool:
        return (
            sum(LEAD.sub("", line, count=1).startswith(("```", "~~~")) for line in lines) % 2 == 1
        )
