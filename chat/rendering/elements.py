"""Elements of growing text as out-of-band HTML."""

from .markdown.elements import Element
from .partials import pattern


def out_of_band(elements: list[Element]) -> str:
    return "".join(element_out_of_band(element) for element in elements)


def element_out_of_band(element: Element) -> str:
    name = "row" if element.tag == "tr" else "element"
    return pattern(f"chat/stream.html#{name}", "tag", "id", "slot", "attributes", "html") % {
        "tag": element.tag,
        "id": element.id,
        "slot": element.slot,
        "attributes": element.attributes,
        "html": element.inner,
    }
