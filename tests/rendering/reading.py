"""What tests read of rendered Markdown: its HTML without the ids and attributes of its frame."""

import re

from chat.rendering.markdown.blocks import Blocks, render_all

FRAME = re.compile(r' (?:id|class|dir|target|rel|role|aria-label|start)="[^"]*"')
TAIL = re.compile(r'<span id="[^"]*-t\d+(?:-\d+)?"[^>]*>|</span>')


def bare(html: str) -> str:
    """Return the HTML without attributes but addresses, and without its outermost <div>s."""
    html = re.sub(r"\n\s*", "", FRAME.sub("", html))
    return html.removeprefix("<div>").removesuffix("</div>")


def read(text: str) -> str:
    """Return the bare blocks of a text that is complete."""
    return "".join(bare(html) for html in render_all(text, "r"))


def read_growing(text: str) -> str:
    """Return the bare blocks of a text whose last line is still being written."""
    blocks = Blocks("r")
    for character in text:
        blocks.feed(character)
    return "".join(bare(TAIL.sub("", html)) for html in blocks.html())
