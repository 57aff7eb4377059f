"""Tasks: `- [ ] open` and `- [x] done`, also in numbered lists."""

import re
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from chat.rendering.markdown.characters import DONE_TASK, OPEN_TASK

BOX = re.compile(r"\[([ xX])\][ \t]+(?=\S)")


def tasks(md: MarkdownIt) -> None:
    md.core.ruler.before("inline", "tasks", mark_tasks)


def mark_tasks(state: StateCore) -> None:
    """Put a mark in place of the box at the beginning of each list item."""
    for item, (paragraph, words) in zip(state.tokens, pairwise(state.tokens[1:]), strict=False):
        if item.type != "list_item_open" or paragraph.type != "paragraph_open":
            continue
        if box := BOX.match(words.content):
            mark = OPEN_TASK if box[1] == " " else DONE_TASK
            words.content = f"{mark} " + words.content[box.end() :]
