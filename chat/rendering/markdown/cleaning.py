"""Rendered Markdown through the allow-list."""

import re

import nh3

from chat.rendering.partials import pattern

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
