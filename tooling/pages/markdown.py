"""The text of a web page as Markdown. Run as a program: HTML on stdin, JSON on stdout.

A page is parsed in a process of its own, within limits of time and memory, because no parser is
safe from all pages: one tag with 200,000 attributes kept each of those that were tried busy for
minutes. So this module imports none of the others.
"""

import json
import re
import resource
import sys
from collections.abc import Generator
from contextlib import suppress
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

LIMITS = {
    resource.RLIMIT_CPU: 4,  # seconds
    resource.RLIMIT_AS: 1024 * 2**20,  # bytes
    resource.RLIMIT_CORE: 0,
}
MAX_DEPTH = 400  # of elements; what is deeper is left out
MAX_TEXT_CHARS = 120_000
MAX_TITLE_CHARS = 300
MIN_NAMED_SHARE = 0.5  # of a page's text; with less, names say nothing of its noise
MIN_MAIN_SHARE = 0.25  # of a page's text; with less, what calls itself its main part is not

SKIPPED = frozenset(
    (
        *("audio", "button", "canvas", "dialog", "embed", "head", "iframe", "input", "map"),
        *("menu", "nav", "noscript", "object", "option", "script", "select", "style", "svg"),
        *("template", "textarea", "track", "video"),
    )
)
# Around the main part these tell of the site, not of this page.
AROUND = frozenset({"header", "footer"})
ROLES = frozenset(
    (
        *("alertdialog", "banner", "complementary", "contentinfo", "dialog", "menu"),
        *("navigation", "search", "toolbar"),
    )
)
# Words of ids and classes.
NOISE = re.compile(
    r"(?:^|[\s_-])(?:cookies?|consent|gdpr|newsletter|breadcrumbs?|related|recommend\w*|share"
    r"|sharing|social|sidebar|widget|toc|navbar|advert\w*|ads?|promo\w*|sponsored|popup|modal"
    r"|skip-link|headerlink|mw-editsection|mw-panel)(?:[\s_-]|$)",
    re.IGNORECASE,
)
HIDDEN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|(?:opacity|font-size)\s*:\s*0*(?:\.0*)?(?:px|r?em|pt|%)?\s*(?:;|!|$))",
    re.IGNORECASE,
)
BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd"),
        *("details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form"),
        *("header", "hgroup", "html", "legend", "li", "main", "ol", "p", "section", "summary"),
        *("table", "ul"),
    )
)
HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*"}
BLANKS = re.compile(r"[ \t\r\n\f\u00a0]+")
# Emphasis, its ends and line breaks while a line is written; pages can't have these characters.
OPEN, CLOSE, BREAK = "\x02", "\x03", "\x0b"
CONTROLS = dict.fromkeys(map(ord, (OPEN, CLOSE, BREAK)))


class Writer:
    """Markdown as it grows: finished blocks, and the line that is being written."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.size = 0
        self._line: list[str] = []
        self._indents: list[str] = []  # of lists and quotations around
        self._bullet = ""  # of an item that has no line yet

    def words(self, text: str) -> None:
        self._line.append(text)

    def end_line(self, before: str = "") -> None:
        """Finish the line, if it has words."""
        text = tidy("".join(self._line))
        self._line.clear()
        if text:
            self.add(before + text)

    def add(self, block: str) -> None:
        bullet, self._bullet = self._bullet, ""
        indent = "".join(self._indents)
        first = indent[: len(indent) - len(bullet)] + bullet
        lines = block.split("\n")
        text = "\n".join([first + lines[0], *((indent + line).rstrip() for line in lines[1:])])
        # The items of a list stand close.
        gap = "" if not self.blocks else "\n" if bullet else "\n\n"
        self.blocks.append(gap + text)
        self.size += len(gap) + len(text)

    def enter(self, indent: str, *, bullet: str = "") -> None:
        self._indents.append(indent)
        self._bullet = bullet

    def leave(self) -> None:
        self._bullet = ""
        self._indents.pop()

    @property
    def text(self) -> str:
        return "".join(self.blocks).strip("\n")


def tidy(line: str) -> str:
    """Return text with single spaces, and emphasis that begins and ends at its words."""
    line = BLANKS.sub(" ", line)
    line = re.sub(rf"{OPEN}(\*+)( +)", rf"\2{OPEN}\1", line)
    line = re.sub(rf"( +){CLOSE}(\*+)", rf"{CLOSE}\2\1", line)
    line = re.sub(rf"{OPEN}(\*+){CLOSE}\1", "", line)
    line = re.sub(f"[{OPEN}{CLOSE}]", "", line)
    return "\n".join(part.strip() for part in BLANKS.sub(" ", line).split(BREAK)).strip()


class Rules(NamedTuple):
    """What is left out of a page."""

    around: bool = True  # its header and footer
    by_name: bool = True  # what its ids and classes call noise


def is_left_out(node: LexborNode, rules: Rules) -> bool:
    """Return True if an element is no part of what people come to a page to read."""
    tag = node.tag
    if tag in SKIPPED or tag == "aside" or (tag in AROUND and rules.around):
        return True
    attributes = node.attributes
    if not attributes:
        return False
    # The parser has None for an attribute without a value.
    if "hidden" in attributes or (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    if (attributes.get("role") or "").lower() in ROLES:
        return True
    if HIDDEN.search((attributes.get("style") or "")[:1000]):
        return True
    if not rules.by_name or tag in {"html", "body", "main", "article", "section"}:
        return False
    named = f"{attributes.get('id') or ''} {attributes.get('class') or ''}"
    return bool(NOISE.search(named[:400]))


def walk(root: LexborNode, rules: Rules) -> Generator[tuple[LexborNode, bool], bool | None]:
    """Yield each node of a part with True where it begins, and each element with False at its end.

    What isn't for readers is passed over. Send True to pass over what is in the node that begins.
    """
    # Not by recursion: a page may be nested deeper than any stack.
    node, depth = root, 0
    while True:
        below: LexborNode | None = None
        is_element = not tag_of(node).startswith("-")
        if node is root or not is_element or not is_left_out(node, rules):
            is_passed = yield node, True
            if not is_passed and depth < MAX_DEPTH:
                below = node.child
            if below is None and is_element:
                yield node, False
        if below is not None:
            node, depth = below, depth + 1
            continue
        while depth and node.next is None:
            parent = node.parent
            assert parent is not None, "below the root"
            node, depth = parent, depth - 1
            yield node, False
        if not depth or node.next is None:
            return
        node = node.next


def tag_of(node: LexborNode) -> str:
    """Return the name of an element; that of other nodes begins with a hyphen."""
    return node.tag or "-"


def words_of(node: LexborNode) -> str:
    return (node.text_content or "").translate(CONTROLS)


def length(part: LexborNode, rules: Rules) -> int:
    """Return how many characters of a part are for readers."""
    return sum(len(words_of(node).strip()) for node, _ in walk(part, rules) if node.tag == "-text")


def main_part(body: LexborNode, rules: Rules) -> LexborNode | None:
    """Return the element that a page names as its main part, if it has most of the text."""
    whole = length(body, rules)
    inner = rules._replace(around=False)
    for selector in ("main", '[role="main"]', "article"):
        found = body.css(selector)
        # Several articles are a list of them, all of which are wanted.
        if len(found) == 1 and length(found[0], inner) >= whole * MIN_MAIN_SHARE:
            return found[0]
    return None


class Page:
    """Writes one page, node by node."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.writer = Writer()
        self._lists: list[int | None] = []  # the next number of each list around; None: bullets

    def write(self, part: LexborNode) -> str:
        nodes = walk(part, self.rules)
        is_written: bool | None = None  # so begins a generator
        try:
            while self.writer.size < MAX_TEXT_CHARS:
                node, begins = nodes.send(is_written)
                is_written = begins and self.begin(node)
                if not begins:
                    self.end(tag_of(node))
        except StopIteration:
            pass
        self.writer.end_line()
        return self.writer.text

    def begin(self, node: LexborNode) -> bool:
        """Write the beginning of a node. Return True if all of it is written."""
        writer, tag = self.writer, tag_of(node)
        if tag == "-text":
            writer.words(words_of(node))
        elif tag == "br":
            writer.words(BREAK)
        elif tag == "hr":
            writer.end_line()
        elif tag in MARKS:
            writer.words(OPEN + MARKS[tag])
        elif tag == "code":
            writer.words(f"`{BLANKS.sub(' ', node.text()).strip().translate(CONTROLS)}`")
            return True
        elif tag == "pre":
            writer.end_line()
            if code := node.text().translate(CONTROLS).strip("\n"):
                fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`{3,}", code))])
                writer.add(f"{fence}\n{code}\n{fence}")
            return True
        elif tag == "table" and (rows := rows_of(node, self.rules)):
            writer.end_line()
            writer.add(rows)
            return True
        elif tag in HEADINGS or tag in BLOCKS:
            writer.end_line()
            self.begin_block(node)
        elif tag in {"td", "th"}:
            writer.end_line()
        return False

    def begin_block(self, node: LexborNode) -> None:
        match node.tag:
            case "ul":
                self._lists.append(None)
            case "ol":
                start = node.attributes.get("start") or ""
                self._lists.append(int(start[:6]) if start[:6].isdecimal() else 1)
            case "li":
                number = self._lists[-1] if self._lists else None
                bullet = "- " if number is None else f"{number}. "
                if number is not None:
                    self._lists[-1] = number + 1
                self.writer.enter(" " * len(bullet), bullet=bullet)
            case "blockquote":
                self.writer.enter("> ")

    def end(self, tag: str) -> None:
        writer = self.writer
        if tag in MARKS:
            writer.words(CLOSE + MARKS[tag])
        elif tag in HEADINGS:
            writer.end_line(f"{HEADINGS[tag]} ")
        elif tag in BLOCKS or tag in {"td", "th", "tr"}:
            writer.end_line()
            if tag in {"li", "blockquote"}:
                writer.leave()
            elif tag in {"ul", "ol"}:
                self._lists.pop()


def rows_of(table: LexborNode, rules: Rules) -> str:
    """Return a table's rows as Markdown; empty for one that only places what is in it."""
    rows: list[list[str]] = []
    cell: list[str] | None = None
    for node, begins in walk(table, rules):
        tag = node.tag
        if tag in {"pre", "ul", "ol", "h1", "h2", "h3"} or (tag == "table" and node != table):
            return ""
        if tag == "tr" and begins:
            rows.append([])
        elif tag in {"td", "th"}:
            if not begins and cell is not None and rows:
                rows[-1].append(tidy("".join(cell)).replace("\n", " ").replace("|", "\\|"))
            cell = [] if begins else None
        elif cell is not None:
            if tag == "-text":
                cell.append(words_of(node))
            elif tag == "code":
                cell.append("`")
            elif tag in BLOCKS or tag == "br":
                cell.append(" ")
    rows = [row for row in rows if any(row)]
    columns = max(map(len, rows), default=0)
    if columns < 2 or len(rows) < 2:
        return ""
    lines = [f"| {' | '.join(row + [''] * (columns - len(row)))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * columns, *lines[1:]])


def title_of(tree: LexborHTMLParser) -> str:
    """Return the heading of a page if it has one, or else its title."""
    headings = tree.css("h1")
    title = tree.css_first("title")
    # Without the sign of a link to the heading itself.
    heading = tidy(headings[0].text()).rstrip(" ¶#§") if len(headings) == 1 else ""
    named = tidy(title.text()) if title else ""
    # That of a list may be a word; the title then says more.
    return (heading if heading and heading in named else named or heading)[:MAX_TITLE_CHARS]


def extracted(html: str) -> dict[str, str | bool]:
    """Return the title and the text of a page, and whether it asks for a password."""
    tree = LexborHTMLParser(html)
    title = title_of(tree)
    if tree.body is None:
        return {"title": title, "text": "", "asks_password": False}
    # Some sites call what is around their text, or all of it, by a name of noise.
    most = length(tree.body, Rules(by_name=False))
    by_name = length(tree.body, Rules()) >= most * MIN_NAMED_SHARE
    main = main_part(tree.body, Rules(by_name=by_name))
    text = Page(Rules(around=main is None, by_name=by_name)).write(main or tree.body)
    asks_password = tree.css_first('input[type="password"]') is not None
    return {"title": title, "text": text[:MAX_TEXT_CHARS], "asks_password": asks_password}


def run() -> None:
    """Read a page on stdin, within the limits of this process, and print its title and text."""
    for limit, most in LIMITS.items():
        # macOS refuses some; the parent process ends this one in any case.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    page = extracted(sys.stdin.buffer.read().decode(errors="replace"))
    sys.stdout.write(json.dumps(page))


if __name__ == "__main__":
    run()
