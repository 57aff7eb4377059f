"""Words inside a line as clean HTML: emphasis, code, links and citations."""

import re
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chat.rendering.partials import pattern

PIECE = 160  # characters of a line that are rendered again with each delta


# --- Cleaning ---------------------------------------------------------------------------------------------------------

UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls
    "\u202a-\u202e\u2066-\u2069"  # bidirectional overrides: they can make code and links read as something else
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # noncharacters, invisible tags
    "\ud800-\udfff]"
)
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
cleaner = nh3.Cleaner(
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
parser = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
)
NESTED_CODE = re.compile(r'<pre><code(?: class="language-([^"]*)")?>')


def without_controls(text: str) -> str:
    """The text without control characters and characters that only machines see."""
    if UNWANTED.search(text) is None:
        return text
    joined = SURROGATE_PAIR.sub(
        lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return UNWANTED.sub("", joined)


def cleaned(html: str) -> str:
    html = cleaner.clean(html)
    if "<pre>" not in html:
        return html
    opening = pattern("chat/markdown.html#nested_code", "language")
    html = NESTED_CODE.sub(lambda match: opening % {"language": language_of(match[1] or "")}, html)
    return html.replace("</code></pre>", pattern("chat/markdown.html#nested_code_end"))


def language_of(info: str) -> str:
    words = info.split()
    return re.sub(r"[^\w+#.-]", "", words[0], flags=re.ASCII)[:30] or "text" if words else "text"


def image_as_words(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    return escape(tokens[index].content)


parser.add_render_rule("image", image_as_words)


# --- Citations: marked while the inline structure is known, made links when all is cleaned -------------------------------

CITATION = re.compile(r"\[[1-9]\d{0,2}(?:, ?[1-9]\d{0,2}){0,9}\]", re.ASCII)
INDEX = re.compile(r"(?<!\w)[^\W\d_](?:\[[^][]*\])*\Z")  # before the brackets of a[1], a[i][1]
MARKED_CITATION = re.compile("\ufdd3([^\ufdd4]*)\ufdd4")


def mark_citation(state: StateInline, silent: bool) -> bool:
    # Silent: the label of a link is looked for, and brackets in it are to be counted.
    if state.src[state.pos] != "[" or silent or state.linkLevel:
        return False
    found = CITATION.match(state.src, state.pos)
    if found is None or INDEX.search(state.src, max(0, state.pos - PIECE), state.pos):
        return False
    state.pending += f"\ufdd3{found[0]}\ufdd4"
    state.pos = found.end()
    return True


parser.inline.ruler.after("link", "citation", mark_citation)


def uncited(_number: int) -> str:
    return ""


# Words that Markdown and HTML leave as they are.
PLAIN = re.compile(r"(?:[^\W_]|[ ,.;:()?!'-])*")


def inline(text: str) -> str:
    if PLAIN.fullmatch(text):
        return text
    return cleaner.clean(parser.renderInline(text))


def balanced(text: str) -> bool:
    return not (
        text.count("*") % 2 or text.count("`") % 2 or text.count("_") % 2 or text.count("~") % 2
    ) and (text.count("[") == text.count("]") and text.count("(") == text.count(")"))


OPEN_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*$")
OPEN_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*]*$")


def settled(text: str) -> str:
    """The text with what is half written closed: no asterisks and no addresses flash by."""
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
