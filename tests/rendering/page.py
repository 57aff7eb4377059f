"""A page that does with a frame what htmx and the page's script do."""

import re
from html.parser import HTMLParser

from django.template.loader import render_to_string

from chat.protocol.events import AnyEvent, Connected
from chat.protocol.terms import Ending
from chat.rendering.answer import AnswerView

from .events import MESSAGE, RUN, SAMPLES, is_delta, numbered

VOID = {"br", "hr", "img", "input", "use", "path", "circle", "rect"}


class Node:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node | str] = []

    def find(self, wanted: str) -> "tuple[Node, int] | None":
        for index, child in enumerate(self.children):
            if isinstance(child, Node):
                if child.attributes.get("id") == wanted:
                    return self, index
                if found := child.find(wanted):
                    return found
        return None

    def __str__(self) -> str:
        hidden = {"hx-swap-oob", "data-slot"}
        shown = "".join(
            f' {name}="{value}"'
            for name, value in sorted(self.attributes.items())
            if name not in hidden
        )
        return f"<{self.tag}{shown}>{''.join(map(str, self.children))}</{self.tag}>"


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.stack = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attributes})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack[-1].tag == tag, f"<{self.stack[-1].tag}> ended by </{tag}>"
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        children = self.stack[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += data
        else:
            children.append(data)


def parsed(html: str) -> Node:
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.stack) == 1, parser.stack[-1].tag
    return parser.root


class Page:
    def __init__(self) -> None:
        self.root = parsed(f'<article id="answer-{MESSAGE}"></article>')

    def show(self, html: str) -> None:
        for element in self.out_of_band(parsed(html)):
            swap = element.attributes["hx-swap-oob"]
            target = swap.removeprefix("outerHTML:#") if ":" in swap else element.attributes["id"]
            place = self.root.find(target)
            if place is None:
                slot = self.root.find(element.attributes["data-slot"])
                assert slot is not None, f"no place for {target}"
                parent, index = slot
                container = parent.children[index]
                assert isinstance(container, Node)
                container.children.append(element)
            else:
                place[0].children[place[1]] = element

    def out_of_band(self, root: Node) -> list[Node]:
        found = []
        for child in root.children:
            if isinstance(child, str):
                assert not child.strip(), child
            elif child.tag == "template":
                found += self.out_of_band(child)
            else:
                found.append(child)
        return found

    def part(self, name: str) -> str:
        found = self.root.find(f"run-{RUN}-{name}")
        assert found is not None, name
        return re.sub(r">\s+<", "><", " ".join(str(found[0].children[found[1]]).split()))


def history_page(view: AnswerView) -> Page:
    page = Page()
    page.root = parsed(render_to_string("chat/room.html#answer", {"answer": view}))
    return page


def shown(*events: AnyEvent) -> tuple[Page, AnswerView]:
    """Return a page that has followed these events from the beginning, and its view."""
    page, view = Page(), AnswerView(RUN)
    for event in numbered([SAMPLES[Connected], *events]):
        page.show(view.render(event))
    return page, view


def of_history(events: list[AnyEvent], text: str = "", ending: Ending | None = None) -> Page:
    steps = [event for event in numbered([SAMPLES[Connected], *events]) if not is_delta(event)]
    return history_page(AnswerView.of_record(RUN, steps, text, ending))


def text_of(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())
