"""The text of a web page as Markdown. Run as a program: HTML on stdin, JSON on stdout.

A page is parsed in a process of its own, within limits of time and memory, because no parser is
safe from all pages: one tag with 200,000 attributes kept each of those that were tried busy for
minutes. So this module imports none of the others.
"""

import json
import re
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert
from selectolax.lexbor import LexborHTMLParser, LexborNode

LIMITS = {
    resource.RLIMIT_CPU: 4,  # seconds
    resource.RLIMIT_AS: 1024 * 2**20,  # bytes
    resource.RLIMIT_CORE: 0,
}
MAX_TEXT_CHARS = 120_000
MAX_TITLE_CHARS = 300
# Shares of a page's text
MIN_NAMED_SHARE = 0.5  # with less, names say nothing of its noise
MIN_MAIN_SHARE = 0.25  # with less, what calls itself its main part is not

# No part of what people come to a page to read.
SKIPPED = ", ".join(
    (
        *("aside", "audio", "button", "canvas", "dialog", "embed", "iframe", "img", "input", "map"),
        *("menu", "nav", "noscript", "object", "option", "script", "select", "style", "svg"),
        *("template", "textarea", "track", "video", "[hidden]", "[aria-hidden='true' i]"),
        *("[role='alertdialog']", "[role='banner']", "[role='complementary']", "[role='dialog']"),
        *("[role='contentinfo']", "[role='menu']", "[role='navigation']", "[role='search']"),
        "[role='toolbar']",
    )
)
# Words of ids and classes.
NOISE = re.compile(
    r"(?:^|[\s_-])(?:cookies?|consent|gdpr|newsletter|breadcrumbs?|related|recommend\w*|share"
    r"|sharing|social|sidebar|widget|toc|navbar|advert\w*|ads?|promo\w*|sponsored|popup|modal"
    r"|skip-link|headerlink|mw-editsection|mw-panel)(?:[\s_-]|$)",
    re.IGNORECASE,
)
NEVER_NOISE = {"html", "body", "main", "article", "section"}
HIDDEN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|(?:opacity|font-size)\s*:\s*0*(?:\.0*)?(?:px|r?em|pt|%)?\s*(?:;|!|$))",
    re.IGNORECASE,
)
# A page that does nothing else but lead to another one, after a few seconds at most.
REFRESH = re.compile(r"\s*0*\d(?:\.\d*)?\s*[;,]\s*(?:url\s*=\s*)?[\"']?([^\"']+)", re.IGNORECASE)
MAX_REFRESH_TEXT = 300  # characters
MAIN_PARTS = ("main", "[role='main']", "article")
HEADS_OF_PARTS = "article header, article footer, section header, section footer"
NOT_IN_CELLS = "h1, h2, h3, ol, pre, table, ul"
FORM = ConversionOptions(
    autolinks=False,
    bullets="-",
    compact_tables=True,
    extract_metadata=False,
    preprocessing=PreprocessingOptions(enabled=False),
    skip_images=True,
)


def size(part: LexborNode) -> int:
    """Return how many characters of text a part has."""
    return len(part.text().strip())


def sizes(parts: Iterable[LexborNode]) -> int:
    return sum(map(size, parts))


def attribute(node: LexborNode, name: str) -> str:
    # The parser has None for an attribute without a value.
    return (node.attributes.get(name) or "")[:1000]


def remove(parts: Iterable[LexborNode]) -> None:
    for part in parts:
        part.decompose()


def remove_noise(body: LexborNode) -> None:
    """Remove what isn't shown, and what isn't text of the page by its element, role or name."""
    remove(body.css(SKIPPED))
    remove(node for node in body.css("[style]") if HIDDEN.search(attribute(node, "style")))
    named = [
        node
        for node in body.css("[id], [class]")
        if node.tag not in NEVER_NOISE
        and NOISE.search(f"{attribute(node, 'id')} {attribute(node, 'class')}")
    ]
    # Some sites call what is around their text, or all of it, by a name of noise.
    whole = size(body)
    if whole - sizes(named) >= whole * MIN_NAMED_SHARE:
        remove(named)


def main_part(body: LexborNode) -> LexborNode | None:
    """Return the element that a page names as its main part, if it has enough of the text."""
    whole = size(body)
    for selector in MAIN_PARTS:
        found = body.css(selector)
        # Several articles are a list of them, all of which are wanted.
        if len(found) == 1 and size(found[0]) >= whole * MIN_MAIN_SHARE:
            return found[0]
    return None


def of_the_site(body: LexborNode) -> list[LexborNode]:
    """Return the headers and footers that tell of the site, not of the page or a part of it."""
    of_parts = {each.mem_id for each in body.css(HEADS_OF_PARTS)}
    return [
        each
        for each in body.css("header, footer")
        if each.mem_id not in of_parts and each.css_first("h1") is None
    ]


def unfold_layout(tree: LexborHTMLParser) -> None:
    """Make blocks of the cells of tables that only place what is in them."""
    # Inner tables first, as what is outside holds a copy of them.
    for table in reversed(tree.css("table")):
        rows = [row for section in table.iter() for row in section.iter() if row.tag == "tr"]
        cells = [cell for row in rows for cell in row.iter()]
        is_grid = len(rows) > 1 and len(cells) > len(rows)
        if not is_grid or any(cell.css_first(NOT_IN_CELLS) for cell in cells):
            blocks = tree.create_node("div")
            blocks.inner_html = "".join(f"<div>{cell.inner_html}</div>" for cell in cells)
            table.replace_with(blocks)


def title_of(tree: LexborHTMLParser) -> str:
    """Return the heading of a page if it has one, or else its title."""
    headings = tree.css("h1")
    title = tree.css_first("title")
    # Without the sign of a link to the heading itself.
    heading = one_line(headings[0]).rstrip(" ¶#§") if len(headings) == 1 else ""
    named = one_line(title) if title else ""
    # That of a list may be a word; the title then says more.
    return (heading if heading and heading in named else named or heading)[:MAX_TITLE_CHARS]


def one_line(node: LexborNode) -> str:
    return " ".join(node.text().split())


def next_page(tree: LexborHTMLParser) -> str:
    """Return the address to which a page leads by itself, as it has it; empty if it stays."""
    refresh = tree.css_first("meta[http-equiv='refresh' i]")
    found = REFRESH.match(attribute(refresh, "content")) if refresh else None
    return found[1].strip() if found else ""


def extracted(html: str) -> dict[str, str | bool]:
    """Return what the program prints of a page (`reading.Extracted`)."""
    tree = LexborHTMLParser(html)
    title, leads_to = title_of(tree), next_page(tree)
    asks_password = tree.css_first("input[type='password']") is not None
    text = ""
    if tree.body is not None:
        remove_noise(tree.body)
        main = main_part(tree.body)
        if main is None:
            # Around a main part they are left out with the rest.
            remove(of_the_site(tree.body))
        unfold_layout(tree)
        # Addresses cost tokens, and are not opened.
        tree.unwrap_tags(["a"], delete_empty=True)
        text = (convert((main or tree.body).html or "", FORM).content or "").strip("\n")
    return {
        "title": title,
        "text": text[:MAX_TEXT_CHARS],
        "is_cut": len(text) > MAX_TEXT_CHARS,
        "asks_password": asks_password,
        "leads_to": leads_to if len(text) <= MAX_REFRESH_TEXT else "",
    }


def run() -> None:
    """Read a page on stdin, within the limits of this process, and print what is found."""
    for limit, most in LIMITS.items():
        # macOS refuses some; the parent process ends this one in any case.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    page = extracted(sys.stdin.buffer.read().decode(errors="replace"))
    sys.stdout.write(json.dumps(page))


if __name__ == "__main__":
    run()
