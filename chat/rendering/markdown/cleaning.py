"""Rendered Markdown through the allow-list."""

import re

import nh3

from chat.rendering.partials import worded_pattern

from .characters import DONE_TASK, OPEN_TASK, PICTURE, PICTURE_END
from .code.colours import CODE_CLASSES
from .code.languages import language_of
from .syntax.maths import with_maths

NESTED_CODE = re.compile(r'<pre><code(?: class="language-([^"]*)")?>')

SIGNS = {
    PICTURE: "chat/markdown.html#picture",
    PICTURE_END: "chat/markdown.html#picture_end",
    OPEN_TASK: "chat/markdown.html#open_task",
    DONE_TASK: "chat/markdown.html#done_task",
}
SIGN = re.compile(f"[{''.join(SIGNS)}]")

# An allow-list, because a model's answer may repeat hostile text from the web. Ids, styles and
# hx-* attributes are missing on purpose: with them, text could act on the page around it.
cleaner = nh3.Cleaner(
    tags={
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "br", "blockquote", "pre"),
        *("strong", "em", "s", "code", "span", "a", "ul", "ol", "li"),
        *("sub", "sup", "kbd", "mark", "details", "summary"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    },
    attributes={
        "*": set(),
        "a": {"href"},
        "code": {"class"},
        "details": {"open"},
        "ol": {"start"},
        "th": {"align"},
        "td": {"align"},
    },
    allowed_classes={"span": CODE_CLASSES},
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto"},
    # Relative addresses would lead to this site's own pages, such as the one that signs out.
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
)


def cleaned(html: str) -> str:
    """Return rendered Markdown through the allow-list, its code blocks with a head to copy them.

    Maths is put in afterwards: the cleaner would take it away.
    """
    html = with_maths(with_signs(cleaner.clean(html)))
    if "<pre>" not in html:
        return html
    # The heads are added after the cleaner, which would remove their classes and buttons.
    opening = worded_pattern("chat/markdown.html#nested_code", "language")
    html = NESTED_CODE.sub(lambda match: opening % {"language": language_of(match[1] or "")}, html)
    return html.replace("</code></pre>", worded_pattern("chat/markdown.html#nested_code_end"))


def with_signs(html: str) -> str:
    """Return the HTML with signs for its images and tasks in place of the marks."""
    return SIGN.sub(lambda found: worded_pattern(SIGNS[found[0]]), html)
