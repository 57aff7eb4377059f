"""Markdown that is still being written: finished blocks and one open block, as clean HTML.

Blocks are cut line by line, so a block that is finished never changes, and history and a live stream give the same HTML.
Long lists, tables and code close part by part (item, row, a few lines). While a line is being written, only its last piece
is rendered again: the work for a delta does not grow with the answer.

Everything here is cleaned by an allow-list: no ids, classes, styles, images, scripts or hx-* of a model's making.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from html import escape

import nh3
from django.template.loader import render_to_string
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

CODE_PART = 12  # lines of code that are sent again together
MAX_PART_LINES = 40  # lines of a quote or list item before it is continued in the next part
PIECE = 160  # characters of a line that are rendered again with each delta

# A noncharacter that stands for the growing end of a line while the structure around it is rendered.
_CURSOR = "\ufdd0"


@cache
def pattern(partial: str, *holes: str) -> str:
    """The partial as a %-format: rendered once, so that filling it costs no template render. Values must be safe HTML."""
    html = (
        render_to_string(partial, {hole: f"\ufdd1{hole}\ufdd2" for hole in holes})
        .strip()
        .replace("%", "%%")
    )
    return re.sub("\ufdd1(\\w+)\ufdd2", r"%(\1)s", html)


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


def render_all(text: str, prefix: str) -> list[str]:
    """The blocks of a text that is complete."""
    blocks = Blocks(prefix)
    blocks.feed(text)
    blocks.finish()
    return blocks.html()


# --- Cleaning ---------------------------------------------------------------------------------------------------------

_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls
    "\u202a-\u202e\u2066-\u2069"  # bidirectional overrides: they can make code and links read as something else
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # noncharacters, invisible tags
    "\ud800-\udfff]"
)
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_cleaner = nh3.Cleaner(
    tags={
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "br",
        "strong",
        "em",
        "s",
        "code",
        "pre",
        "blockquote",
        "a",
    }
    | {"ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"},
    attributes={
        "*": set(),
        "a": {"href"},
        "code": {"class"},
        "ol": {"start"},
        "th": {"align"},
        "td": {"align"},
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
)
_markdown = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
)
_NESTED_CODE = re.compile(r'<pre><code(?: class="language-([^"]*)")?>')


def visible(text: str) -> str:
    """The text without control characters and characters that only machines see."""
    if _UNWANTED.search(text) is None:
        return text
    joined = _PAIR.sub(
        lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return _UNWANTED.sub("", joined)


def _clean(html: str) -> str:
    html = _cleaner.clean(html)
    if "<pre>" not in html:
        return html
    opening = pattern("chat/markdown.html#nested_code", "language")
    html = _NESTED_CODE.sub(lambda match: opening % {"language": _language(match[1] or "")}, html)
    return html.replace("</code></pre>", pattern("chat/markdown.html#nested_code_end"))


def _language(info: str) -> str:
    words = info.split()
    return re.sub(r"[^\w+#.-]", "", words[0], flags=re.ASCII)[:30] or "text" if words else "text"


def image_as_words(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    return escape(tokens[index].content)


_markdown.add_render_rule("image", image_as_words)


# --- Citations: marked while the inline structure is known, made links when all is cleaned -------------------------------

_CITATION = re.compile(r"\[[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,9}\]", re.ASCII)
_INDEX = re.compile(r"(?<!\w)[^\W\d_](?:\[[^][]*\])*\Z")  # before the brackets of a[1], a[i][1]
_MARKED = re.compile("\ufdd3([^\ufdd4]*)\ufdd4")


def mark_citation(state: StateInline, silent: bool) -> bool:
    # Silent: the label of a link is looked for, and brackets in it are to be counted.
    if state.src[state.pos] != "[" or silent or state.linkLevel:
        return False
    found = _CITATION.match(state.src, state.pos)
    if found is None or _INDEX.search(state.src, max(0, state.pos - PIECE), state.pos):
        return False
    state.pending += f"\ufdd3{found[0]}\ufdd4"
    state.pos = found.end()
    return True


_markdown.inline.ruler.after("link", "citation", mark_citation)


def uncited(_number: int) -> str:
    return ""


# Words that Markdown and HTML leave as they are.
_PLAIN = re.compile(r"(?:[^\W_]|[ ,.;:()?!'-])*")


def _inline(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return _cleaner.clean(_markdown.renderInline(text))


# --- Rendering the source lines of a part ------------------------------------------------------------------------------

type _Render = Callable[[list[str]], str]


def flow(lines: list[str]) -> str:
    if lines == [_CURSOR]:
        return f"<p>{_CURSOR}</p>"
    return _clean(_markdown.render("\n".join(lines))).strip()


def item(lines: list[str]) -> str:
    tokens = _markdown.parse("\n".join(lines))
    items = sum(token.type == "list_item_open" and token.level == 1 for token in tokens)
    if (
        items != 1
        or not tokens[0].type.endswith("_list_open")
        or any(token.level == 0 for token in tokens[1:-1])
    ):
        # Our line scanner and the parser see the structure differently; the words come first.
        return flow([_MARKER.sub("", line, count=1).strip() for line in lines])
    html = _clean(_markdown.renderer.render(tokens, _markdown.options, {}))
    return html[html.index("<li>") + 4 : html.rindex("</li>")].strip()


def code(lines: list[str]) -> str:
    # The cleaner writes text without &quot;, and so does this.
    return "".join(f"{escape(line, quote=False)}\n" for line in lines)


def table(lines: list[str]) -> str:
    tokens = _markdown.parse("\n".join(lines))
    for token in tokens:
        if style := token.attrs.pop("style", None):
            token.attrs["align"] = str(style).removeprefix("text-align:")
    return _clean(_markdown.renderer.render(tokens, _markdown.options, {}))


def table_head(header: str, delimiter: str) -> str:
    html = table([header, delimiter])
    return html[html.index("<thead>") : html.index("</thead>") + 8]


def row_renderer(delimiter: str) -> _Render:
    header = "|x" * len(_CELLS.findall(delimiter)) + "|"

    def row(lines: list[str]) -> str:
        html = table([header, delimiter, *lines])
        if "<tbody>" not in html:  # by itself this line would be something else than a row
            html = table([header, delimiter, "|" + lines[0]])
        return html[html.index("<tr>", html.index("<tbody>")) + 4 : html.rindex("</tr>")].strip()

    return row


# --- Lines ------------------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_QUOTE = re.compile(r" {0,3}>")
_MARKER = re.compile(r"( {0,3})([-+*]|\d{1,9}[.)])(?:( +)(?=\S)| *$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_DELIMITER = re.compile(
    r" {0,3}(?=[^|]*\|)\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$"
)
_CELLS = re.compile(r":?-+:?")
# The beginning of a line that could still become something else.
_UNDECIDED = re.compile(
    r"[ \t]*(?:#{1,6}|[-*_=+|: \t]+|\d{1,9}[.)]?[ \t]*|`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*)?$"
)
_CLOSING = re.compile(r" {0,3}(`+|~+)[ \t]*$")
# Everything before the words of a line, also in nested lists and quotes.
_LEAD = re.compile(r"[ \t]*(?:(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])|#{1,6}(?=[ \t]))[ \t]*)*")
_INDENT = re.compile(r"[ \t>]*")
_PIPES = re.compile(r"(?:(?:[^|\\]|\\.)*\|)+[ \t]*")


def expanded(line: str) -> str:
    """The line with the tabs before its words as spaces."""
    if "\t" not in line:
        return line
    lead = _LEAD.match(line)
    words = lead.end() if lead else 0
    return line[:words].expandtabs(4) + line[words:]


def indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def interrupts(line: str) -> bool:
    """Whether the line begins a block of its own even directly below a paragraph."""
    if _FENCE.match(line) or _HEADING.match(line) or _RULE.match(line) or _QUOTE.match(line):
        return True
    marker = _MARKER.match(line)
    return (
        marker is not None
        and marker[3] is not None
        and (marker[2] in "-+*" or marker[2][:-1] == "1")
    )


def kind_of(marker: re.Match[str]) -> str:
    return marker[2].lstrip("0123456789")


def is_table(header: str, delimiter: str) -> bool:
    return "|" in header and _markdown.parse(f"{header}\n{delimiter}")[0].type == "table_open"


def balanced(text: str) -> bool:
    return not (
        text.count("*") % 2 or text.count("`") % 2 or text.count("_") % 2 or text.count("~") % 2
    ) and (text.count("[") == text.count("]") and text.count("(") == text.count(")"))


_OPEN_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*$")
_OPEN_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*]*$")


def settled(text: str) -> str:
    """The text with what is half written closed: no asterisks and no addresses flash by."""
    if "](" in text:
        text = _OPEN_LINK.sub(r"\1", text)
    if text.count("`") % 2:
        return text[:-1] if text.endswith("`") else text + "`"
    if "*" in text:
        words = text.rstrip()
        if words.count("**") % 2:
            return words[:-2] if words.endswith("**") else words.removesuffix("*") + "**"
        if _OPEN_EMPHASIS.search(words):
            return words + "*"
        if words.endswith(" *"):
            return words[:-1]
    return text


# --- Parts and blocks -------------------------------------------------------------------------------------------------

_BLOCK = ' class="block" dir="auto"'


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
                "" if not self.start and _UNDECIDED.match(rest) else self._html(settled(rest))
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
        return _inline(words)

    def _piece(self, index: int) -> Element:
        return Element("span", f"{self.id}-{index}", self.id, "", self.pieces[index])


@dataclass(slots=True)
class Part:
    """Source lines that are rendered together: a paragraph, a list item, a table row, some lines of code."""

    tag: str
    id: str
    slot: str
    render: _Render
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
            head, cursor, foot = self.render([*above, lead + _CURSOR]).partition(_CURSOR)
            if verbatim or head.rfind("<pre") <= head.rfind("</pre>"):
                break
        if not cursor or _CURSOR in foot:
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
        found = (_PIPES if self.tag == "tr" else _INDENT if verbatim else _LEAD).match(line)
        return found[0] if found else ""

    @staticmethod
    def _in_fence(lines: list[str]) -> bool:
        return (
            sum(_LEAD.sub("", line, count=1).startswith(("```", "~~~")) for line in lines) % 2 == 1
        )


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
    row: _Render = flow

    @property
    def element(self) -> Element:
        if not self.wrapper:
            return self.parts[0].element
        parts = "".join(part.element.html for part in self.parts)
        return Element(
            "div",
            self.id,
            self.slot,
            _BLOCK,
            self.wrapper % {"slot": f"{self.id}-in", "parts": parts, **self.values},
        )

    def new_part(self, tag: str, render: _Render, *, attributes: str = "", dedent: int = 0) -> Part:
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
        text = visible(text.removesuffix(self._rest))
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
        return replace(element, inner=_MARKED.sub(self._links, element.inner))

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
            decided = line.strip(" ") and not _CLOSING.match(line)
        else:
            header = line.lstrip().startswith("|") and not (block and block.kind == "table")
            decided = not header and not _UNDECIDED.match(line)
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
                    or (interrupts(line) and not _QUOTE.match(line))
                )
                return not ends and self._add(block.parts[0], line)
            case _:
                return self._continue_paragraph(block, line)

    def _continue_fence(self, block: Block, line: str) -> bool:
        closing = _CLOSING.match(line)
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
        marker = _MARKER.match(line)
        lazy = (
            not block.blanks
            and not marker
            and not interrupts(line)
            and _MARKER.sub("", block.parts[-1].lines[-1])
        )
        if lazy or indent(line) >= block.offset:
            return self._add_to_item(block, line)
        if marker and kind_of(marker) == block.marker and not _RULE.match(line):
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
        if _DELIMITER.match(line) and is_table(part.lines[-1], line):
            self._begin_table(part, line)
            return True
        if _UNDERLINE.match(line):
            part.add(line)
            self._open = None
            return True
        return not interrupts(line) and self._add(part, line)

    # --- New blocks

    def _begin(self, line: str) -> None:
        if fence := _FENCE.match(line):
            block = self._new("fence", "chat/markdown.html#code", language=_language(fence[3]))
            block.fence, block.offset = fence[2], len(fence[1])
        elif indent(line) >= 4:
            block = self._new("indented", "chat/markdown.html#code", language="text")
            block.offset = 4
            self._add_code(block, line)
        elif _HEADING.match(line) or _RULE.match(line):
            self._begin_flow("line", line)
        elif _QUOTE.match(line):
            self._begin_flow("quote", line)
        elif marker := _MARKER.match(line):
            self._begin_list(marker, line)
        else:
            self._begin_flow("paragraph", line)

    def _begin_flow(self, kind: str, line: str) -> None:
        block = self._new(kind)
        block.parts.append(Part("div", block.id, block.slot, flow, _BLOCK))
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
