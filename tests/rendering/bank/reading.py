"""What a reader sees of rendered Markdown, as text.

    ⟨TeX⟩       a formula; ⟪TeX⟫ a displayed one, on a line of its own
    ‹code›      code in prose; ```language … ``` a block of code
    {b bold}    also {i italic}, {s struck}, {sub x}, {sup x}, {kbd x}, {mark x}
    {words → address}   a link
    § heading, > quote, • item, 1. item, ☐ or ☑ task, | cell | with colons for its alignment
    {details}, {summary} words, {/details}
    ⏎           a line break

Runs of white space count as one space, but not in code.
"""  # noqa: RUF002

import re
from collections.abc import Iterator

from tests.rendering.page import Node

MARKS = {"strong": "b", "em": "i", "s": "s", "sub": "sub", "sup": "sup", "kbd": "kbd"}
MARKS["mark"] = "mark"
HEADINGS = {f"h{level}" for level in range(1, 7)}
# What only arranges others; a fold's own name is read apart.
BOXES = {"root", "div", "p", "span", "li", "template", "section", "article", "blockquote"}
INDENT = "  "
DISPLAYED = re.compile("\n*⟪([^⟫]*)⟫\n*")


def seen(node: Node) -> str:
    """Return what a reader sees of the elements inside this one."""
    lines = "\n".join(blocks_of(node)).split("\n")
    return "\n".join(line.rstrip() for line in lines if line.strip() or line in KEPT)


KEPT = {"\0"}  # stands for an empty line of code


def blocks_of(node: Node) -> Iterator[str]:
    """Yield the blocks inside a node, each as its lines."""
    words: list[Node | str] = []
    for child in node.children:
        if isinstance(child, str) or not is_block(child):
            words.append(child)
            continue
        yield from prose_of(words)
        words = []
        yield from block_of(child)
    yield from prose_of(words)


def is_block(node: Node) -> bool:
    if node.tag in {*HEADINGS, "p", "ul", "ol", "pre", "table", "blockquote", "details", "hr"}:
        return True
    return node.tag in ("div", "section", "aside") or (
        node.tag in BOXES
        and any(isinstance(each, Node) and is_block(each) for each in node.children)
    )


def block_of(node: Node) -> Iterator[str]:
    classes = node.attributes.get("class", "").split()
    if "code-head" in classes:
        return
    if "code" in classes and node.tag == "div":
        yield code_of(node)
    elif node.tag in HEADINGS:
        yield f"§ {words_of(node)}"
    elif node.tag == "hr":
        yield "—"
    elif node.tag == "blockquote":
        yield "\n".join(f"> {line}".rstrip() for line in "\n".join(blocks_of(node)).split("\n"))
    elif node.tag in ("ul", "ol"):
        yield from list_of(node)
    elif node.tag == "table":
        yield from rows_of(node)
    elif node.tag == "details":
        yield "{details}"
        yield from blocks_of(node)
        yield "{/details}"
    else:
        yield from blocks_of(node)


def prose_of(words: list[Node | str]) -> Iterator[str]:
    box = Node("span", {})
    box.children = words
    if any(isinstance(each, Node) and each.tag == "summary" for each in words):
        for each in words:
            if isinstance(each, Node) and each.tag == "summary":
                yield f"{{summary}} {words_of(each)}"
        return
    text = DISPLAYED.sub(r"\n⟪\1⟫\n", words_of(box))
    yield from (line for part in text.split("\n") if (line := part.strip(" ⏎")))


def list_of(node: Node) -> Iterator[str]:
    number = int(node.attributes.get("start") or 1)
    for item in node.children:
        if not isinstance(item, Node):
            continue
        first, *rest = "\n".join(blocks_of(item)).split("\n")
        if "more" in item.attributes.get("class", "").split():  # of the item before
            yield "\n".join(INDENT + line for line in (first, *rest))
            continue
        sign = f"{number}. " if node.tag == "ol" else "• "
        if node.tag == "ul" and first.startswith(("☐", "☑")):
            sign = ""
        yield "\n".join([sign + first, *(INDENT + line for line in rest)])
        number += 1


def rows_of(table: Node) -> Iterator[str]:
    for row in elements(table, "tr"):
        cells = [cell for cell in row.children if isinstance(cell, Node)]
        yield f"| {' | '.join(map(cell_of, cells))} |"


def cell_of(cell: Node) -> str:
    before, after = {"left": (":", ""), "center": (":", ":"), "right": ("", ":")}.get(
        cell.attributes.get("align", ""), ("", "")
    )
    return f"{before}{words_of(cell).strip()}{after}"


def code_of(box: Node) -> str:
    [head] = [each for each in elements(box, "div") if each.attributes.get("class") == "code-head"]
    label = words_of(next(elements(head, "span")))
    [pre] = elements(box, "pre")
    lines = text_of(pre).removesuffix("\n").split("\n")
    body = "\n".join(line or "\0" for line in lines)
    return f"```{'' if label == 'text' else label}\n{body}\n```"


def words_of(node: Node) -> str:
    return re.sub(" *([⏎\n]) *", r"\1", re.sub(r"[ \t\r\n]+", " ", "".join(inline(node))))


def inline(node: Node) -> Iterator[str]:
    for child in node.children:
        if isinstance(child, str):
            yield child
            continue
        classes = child.attributes.get("class", "").split()
        if "visually-hidden" in classes or child.attributes.get("aria-hidden") == "true":
            continue
        if child.tag == "br":
            yield "⏎"
        elif child.tag == "math":
            tex = " ".join(tex_of(child).split())
            yield f"⟪{tex}⟫" if child.attributes.get("display") == "block" else f"⟨{tex}⟩"
        elif child.tag == "code":
            yield f"‹{text_of(child)}›"
        elif child.tag in MARKS:
            yield f"{{{MARKS[child.tag]} {''.join(inline(child))}}}"
        elif child.tag == "a" and child.attributes.get("href"):
            yield f"{{{''.join(inline(child))} → {child.attributes['href']}}}"
        elif child.tag not in ("button", "svg"):
            yield from inline(child)


def tex_of(math: Node) -> str:
    [annotation] = elements(math, "annotation")
    return text_of(annotation)


def text_of(node: Node) -> str:
    """Return all text inside a node, exactly."""
    return "".join(child if isinstance(child, str) else text_of(child) for child in node.children)


def elements(node: Node, tag: str = "") -> Iterator[Node]:
    """Yield all elements inside a node, those with this tag if one is given."""
    for child in node.children:
        if isinstance(child, Node):
            if not tag or child.tag == tag:
                yield child
            yield from elements(child, tag)
