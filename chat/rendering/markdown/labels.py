"""What the labels in a text stand for: sources, the addresses of references, and footnotes.

The parser only marks them, because what a label stands for may follow later. The marks are filled
in when HTML is sent. Until the end of the text, references stay as they were written; at the end,
`complete` makes links of those with a definition.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape, unescape

from chat.rendering.partials import pattern, worded_pattern
from tooling.citations import NUMBERS

from .characters import CITATION, NOTE, REFERENCE
from .cleaning import with_signs
from .elements import Element
from .parser import parser
from .syntax.citations import MARKED_CITATION, marked_citation
from .syntax.images import LOADABLE, picture
from .syntax.notes import MARKED_NOTE, NOTE_BEGINS
from .syntax.references import DEFINITION, MARKED, OPENING, normalized

ANCHOR = re.compile(r"</?a\b[^>]*>")
MAX_DEPTH = 2  # of references in references: an image in a link


def uncited(_number: int) -> str:
    """Return no link, for a text without sources."""
    return ""


@dataclass(slots=True)
class Note:
    """A footnote by its number, in the order in which notes are used, and the block of that use."""

    number: int
    block_id: str


@dataclass(slots=True)
class Labels:
    """The labels of one text, and what is known of them so far.

    `cite` returns the link for a number in brackets, as safe HTML. If it returns nothing, there is
    no such source.
    """

    prefix: str  # of ids
    cite: Callable[[int], str] = uncited
    addresses: dict[str, str] = field(default_factory=dict)  # of references
    defined_notes: set[str] = field(default_factory=set)
    notes: dict[str, Note] = field(default_factory=dict)  # those with a number
    is_complete: bool = False  # no more definitions can follow

    def can_define(self, line: str) -> bool:
        return DEFINITION.match(line) is not None

    def define(self, line: str) -> str:
        """Return the label if the line defines a reference. The first definition counts."""
        found = DEFINITION.match(line)
        if not found:
            return ""
        label = normalized(found[1])
        self.addresses.setdefault(label, parser.normalizeLink(found[2]))
        return label

    def can_begin_note(self, line: str) -> bool:
        begins = NOTE_BEGINS.match(line)
        return begins is not None and begins[1] not in self.defined_notes

    def complete(self) -> None:
        """Fill in everything from now on, with the notes numbered anew."""
        self.is_complete = True
        self.notes.clear()

    def filled(self, element: Element) -> Element:
        """Return the element with its marks filled in."""
        html = element.inner
        if REFERENCE in html:
            for _ in range(MAX_DEPTH):
                html = MARKED.sub(self.reference, html)
        if CITATION in html:
            html = MARKED_CITATION.sub(self.citation, html)
        if NOTE in html:
            block_id = re.sub(r"(?<=-b)(\d+)-.*", r"\1", element.id)
            html = MARKED_NOTE.sub(lambda found: self.note(found, block_id), html)
        return element if html is element.inner else replace(element, inner=html)

    def citation(self, found: re.Match[str]) -> str:
        links = [
            self.cite(int(number)) or self.numbered(number)
            for number in re.findall(r"\d+", found[1])
        ]
        return "".join(links) if all(links) else found[1]

    def numbered(self, number: str) -> str:
        """Return the link for a number without a source."""
        address = self.addresses.get(number) if self.is_complete else None
        return link(address, f"[{number}]") if address else ""

    def reference(self, found: re.Match[str]) -> str:
        opening, label, words, behind = found.groups()
        address = self.addresses.get(unescape(label)) if self.is_complete else None
        if address is None:
            is_citation = NUMBERS.fullmatch(behind, 1)
            return opening + words + ("]" + marked_citation(behind[1:]) if is_citation else behind)
        if opening == "![":
            words = with_signs(picture(words, address))
            return link(address, words) if LOADABLE.match(address) else words
        # Links can't hold links. A number in the words of a link is no citation.
        return link(address, ANCHOR.sub("", words))

    def note(self, found: re.Match[str], block_id: str) -> str:
        sign, label = found.groups()
        is_known = label in self.defined_notes
        # Only numbers are sure to be notes before their definition is known.
        is_note = is_known if self.is_complete else label.isdecimal()
        if not is_note:
            return f"[^{label}]" if sign == "^" else label if sign == "=" else block_id
        note = self.notes.setdefault(label, Note(len(self.notes) + 1, block_id))
        match sign:
            case "^":
                return worded_pattern("chat/markdown.html#note_mark", "prefix", "number") % {
                    "prefix": self.prefix,
                    "number": note.number,
                }
            case "=":
                return str(note.number)
            case _:
                return note.block_id


def used_in(html: str) -> Iterable[str]:
    """Yield the labels in the HTML that may be those of definitions."""
    if not has_marks(html):
        return
    for _, label in OPENING.findall(html):
        yield unescape(label)
    for numbers in MARKED_CITATION.findall(html):
        yield from re.findall(r"\d+", numbers)


def has_marks(html: str) -> bool:
    return REFERENCE in html or CITATION in html or NOTE in html


def link(address: str, words: str) -> str:
    values = {"address": escape(address), "words": words}
    return pattern("chat/markdown.html#link", *values) % values
