"""The elements that rendered Markdown consists of."""

from dataclasses import dataclass

from chat.rendering.partials import pattern


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is new or has changed.

    It replaces the one with its id; if there is none, it goes to the end of the element `slot`.
    """

    tag: str
    id: str
    slot: str
    attributes: str
    inner: str

    @property
    def html(self) -> str:
        return pattern("chat/markdown.html#element", "tag", "id", "attributes", "html") % {
            "tag": self.tag,
            "id": self.id,
            "attributes": self.attributes,
            "html": self.inner,
        }
