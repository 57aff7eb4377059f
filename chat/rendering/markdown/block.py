"""A top-level block of Markdown."""

from dataclasses import dataclass, field
from typing import Literal

from .code.listing import Listing
from .elements import Element
from .parts import LONG_TEXT, Part
from .renderers import Render, flow

BLOCK_ATTRIBUTES = ' class="block" dir="auto"'

# "line" is a block that ends with its line: a heading or a rule. "details" is open until its
# summary is known; the blocks that follow go into it. "definition" is the line [label]: address.
type Kind = Literal[
    "paragraph",
    "line",
    "quote",
    "fence",
    "indented",
    "list",
    "table",
    "details",
    "definition",
    "note",
    "maths",
]
VERBATIM: set[Kind] = {"fence", "indented", "maths"}  # their text is shown as it is


@dataclass(slots=True)
class Block:
    """A top-level block. Its `wrapper` holds its parts; without a wrapper it is its only part."""

    id: str
    slot: str
    kind: Kind
    wrapper: str = ""
    values: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    is_sent: bool = False
    label: str = ""  # that a definition defines
    held: list[str] = field(default_factory=list)  # lines that may become a summary
    marker: str = ""  # of a list: "-", "*", "+", "." or ")"
    offset: int = 0  # the column where the words of the current item, or of the code, begin
    fence: str = ""  # what opened the code
    inner_fences: int = 0  # that are open in fenced Markdown
    blanks: int = 0  # blank lines that belong to the block only if more of it follows
    row: Render = flow
    listing: Listing | None = None  # of code that gets colours

    @property
    def element(self) -> Element:
        return self.with_children("")

    @property
    def is_markdown(self) -> bool:
        """Return True for fenced code that is Markdown itself."""
        return self.values.get("language", "").lower() in ("markdown", "md", "mdx")

    @property
    def may_take_long(self) -> bool:
        """Return True if rendering the newest part, or colouring all, may take more than 20 ms."""
        if self.listing:
            return self.listing.may_take_long
        newest = self.parts[-1:]
        return any(part.chars > LONG_TEXT or part.has_code for part in newest)

    def with_children(self, html: str) -> Element:
        """Return the block as an element, with the HTML of the blocks in it."""
        if not self.wrapper:
            return self.parts[0].element
        parts = "".join(part.element.html for part in self.parts) + html
        inner = self.wrapper % {"slot": f"{self.id}-in", "parts": parts, **self.values}
        return Element("div", self.id, self.slot, BLOCK_ATTRIBUTES, inner)

    def refresh(self, growing: Part | None, *, is_complete: bool) -> list[Part]:
        """Render the parts that have changed; return them."""
        changed = set()
        for number in range(len(self.parts) - 1, -1, -1):
            part = self.parts[number]
            if not part.refresh(is_growing=part is growing):
                break  # Lines are added at the end, so the parts above are not stale either.
            changed.add(number)
        if self.listing and is_complete:
            changed |= self.listing.colour_all()
        elif self.listing and changed:
            changed |= self.listing.colour_full(changed, growing)
        return [self.parts[number] for number in sorted(changed)]

    def new_part(self, tag: str, render: Render, *, attributes: str = "", dedent: int = 0) -> Part:
        id_ = f"{self.id}-p{len(self.parts)}"
        part = Part(tag, id_, f"{self.id}-in", render, attributes, dedent)
        self.parts.append(part)
        return part
