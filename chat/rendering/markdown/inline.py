"""Clean HTML from Markdown: the parser, the allow-list, citations, and the words of a line."""

import re
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chat.rendering.partials import pattern

PIECE_CHARS = 160  # characters of a line that are rendered again with each delta

UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls
    # Bidirectional overrides can make code and links read as something else.
    "\u202a-\u202e\u2066-\u2069"
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # noncharacters, invisible tags
    "\ud800-\udfff]"
)
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
NESTED_CODE = re.compile(r'<pre><code(?: class="language-([^"]*)")?>')

# An allow-list, because a model's answer may repeat hostile text from the web. Ids, styles and
# hx-* attributes are missing on purpose: with them, text could act on the page around it.
cleaner = nh3.Cleaner(
    tags={
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "br", "blockquote", "pre"),
        *("strong", "em", "s", "code", "a", "ul", "ol", "li"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    },
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
    # Relative addresses would lead to this site's own pages, such as the one that signs out.
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
)
# Without link definitions: one at the end of an answer would change blocks that are finished.
parser = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
)


def without_controls(text: str) -> str:
    """Remove control characters and characters that only machines see."""
    if UNWANTED.search(text) is None:
        return text
    # JSON may write an emoji as two surrogates, in one delta or in two. Join them before the rest
    # is removed.
    joined = SURROGATE_PAIR.sub(
        lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return UNWANTED.sub("", joined)


def cleaned(html: str) -> str:
    """Return rendered Markdown through the allow-list, its code blocks with a head to copy them."""
    html = cleaner.clean(html)
    if "<pre>" not in html:
        return html
    # The heads are added after the cleaner, which would remove their classes and buttons.
    opening = pattern("chat/markdown.html#nested_code", "language")
    html = NESTED_CODE.sub(lambda match: opening % {"language": language_of(match[1] or "")}, html)
    return html.replace("</code></pre>", pattern("chat/markdown.html#nested_code_end"))


def language_of(info: str) -> str:
    """Return the language that a fence names, safe as a class name; "text" if it names none."""
    language, *_ = info.split() or [""]
    return re.sub(r"[^\w+#.-]", "", language, flags=re.ASCII)[:30] or "text"


def image_as_text(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    # Loading an image would tell its server who reads the answer, and when.
    return escape(tokens[index].content)


parser.add_render_rule("image", image_as_text)


# Citations are only marked while Markdown is parsed, because the cleaner would take the attributes
# of a link away, and because a source may arrive after the words that cite it. Blocks makes the
# links. The marks are noncharacters, which `without_controls` removes from all text before.
MARK, MARK_END = "\ufdd3", "\ufdd4"
MARKED_CITATION = re.compile(f"{MARK}([^{MARK_END}]*){MARK_END}")
CITATION = re.compile(r"\[[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,9}\]", re.ASCII)
INDEX = re.compile(r"(?<!\w)[^\W\d_](?:\[[^][]*\])*\Z")  # before the brackets of a[1], a[i][1]


def mark_citation(state: StateInline, silent: bool) -> bool:
    """Mark [1] or [1, 2] at the parser's position; return False if there is no citation."""
    # `silent` means that the parser looks for the end of a link's label and counts brackets.
    if state.src[state.pos] != "[" or silent or state.linkLevel:
        return False
    found = CITATION.match(state.src, state.pos)
    # Don't search the whole line for an index: many brackets would make that quadratic.
    if found is None or INDEX.search(state.src, max(0, state.pos - PIECE_CHARS), state.pos):
        return False
    state.pending += f"{MARK}{found[0]}{MARK_END}"
    state.pos = found.end()
    return True


# After "link", so that [1](https://…) stays the link that the model wrote.
parser.inline.ruler.after("link", "citation", mark_citation)


def uncited(_number: int) -> str:
    """Return no link, for a text without sources."""
    return ""


# Text that Markdown and HTML leave unchanged.
PLAIN = re.compile(r"(?:[^\W_]|[ ,.;:()?!'-])*")


def inline_html(text: str) -> str:
    """Return the words of a line as clean HTML."""
    # Most pieces are plain, and parser and cleaner take three times as long as this check.
    if PLAIN.fullmatch(text):
        return text
    return cleaner.clean(parser.renderInline(text))


def is_balanced(text: str) -> bool:
    """Return True if no emphasis, code or link is open at the end of the text."""
    return not (
        text.count("*") % 2 or text.count("`") % 2 or text.count("_") % 2 or text.count("~") % 2
    ) and (text.count("[") == text.count("]") and text.count("(") == text.count(")"))


OPEN_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*$")
OPEN_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*]*$")


def close_unfinished(text: str) -> str:
    """Close unfinished emphasis, code and links.

    So raw Markdown and half addresses never appear while a line grows.
    """
    if "](" in text:
        text = OPEN_LINK.sub(r"\1", text)
    if text.count("`") % 2:
        return text[:-1] if text.endswith("`") else text + "`"
    if "*" in text:
        words = text.rstrip()
        if words.count("**") % 2:
            return words[:-2] if words.endswith("**") else words.removesuffix("*") + "**"
        if OPEN_EMPHASIS.search(words):
            return words + "*"
        if words.endswith(" *"):
            return words[:-1]
    return text
