"""The cases, and whether what a reader sees is right."""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rendering.page import Node

from .reading import HEADINGS, elements, seen, text_of, words_of

RUN = re.compile(r"#run-[0-9a-f-]+-(?=note-|b\d)")  # in the address of a note, or of the way back
LOADING = {"img", "script", "iframe", "style", "link", "object", "embed", "video", "audio", "svg"}


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    markdown: str
    seen: Sequence[str] = ()
    check: str = ""
    coloured: Sequence[str] = ()  # words that are an element with a class each
    stopped: bool = False  # the reader stops the answer here
    never_maths: bool = False  # also not for a moment

    def fault(self, root: Node) -> str:
        """Return what is wrong with the rendered case; empty if nothing is."""
        found = RUN.sub("#", seen(root).replace("\0", ""))
        if self.seen and found not in [each.replace("⏎\n", "\n") for each in self.seen]:
            return f"{self.name}: {found!r} instead of {self.seen[0]!r}"
        if self.check and (why := CHECKS[self.check](self, root, found)):
            return f"{self.name}: {why} in {found!r}"
        return ""


def read(name: str) -> list[Case]:
    """Return the cases of a file of this folder."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(
        (Path(__file__).parent / f"{name}.toml").read_text()
    )
    return [Case(name, **table) for name, table in tables.items()]


def has_maths(html: str) -> bool:
    return "<math" in html or 'class="tex"' in html


# Checks: what is wrong with a case, beyond what its lines say.


def harmless(case: Case, root: Node, found: str) -> str:
    for element in elements(root):
        if element.tag in LOADING:
            return f"a <{element.tag}>"
        if any(name.startswith("on") or name == "style" for name in element.attributes):
            return f"attributes {element.attributes}"
        if re.match(r"\s*(javascript|data|vbscript):", element.attributes.get("href", ""), re.I):
            return "a link to a script"
    return ""


def coloured(case: Case, root: Node, found: str) -> str:
    spans = {
        text_of(span).strip()
        for span in elements(root, "span")
        if span.attributes.get("class", "") not in ("", "tail")
    }
    missing = [word for word in case.coloured if word not in spans]
    return f"no colour for {missing}" if missing else ""


def no_link(case: Case, root: Node, found: str) -> str:
    if any("href" in link.attributes for link in elements(root, "a")):
        return "a link"
    return "" if re.search(r"\bx\b.*\by\b", found) else "no words"


def idn(case: Case, root: Node, found: str) -> str:
    links = [link.attributes.get("href", "") for link in elements(root, "a")]
    if len(links) != 1 or not re.match(r"https://(münchen|xn--mnchen-3ya)\.example/", links[0]):
        return f"links {links}"
    return "a word that is not of the address" if "today" in links[0] else ""


def image(case: Case, root: Node, found: str) -> str:
    links = {words_of(link).strip(): link.attributes.get("href") for link in elements(root, "a")}
    wrong = links.get("A red fox") != "https://example.com/fox.png"
    return f"links {links}" if wrong else loads_nothing(root)


def linked_image(case: Case, root: Node, found: str) -> str:
    links = {words_of(link).strip(): link.attributes.get("href") for link in elements(root, "a")}
    addresses = ("https://example.com/ci", "https://example.com/b.svg")
    wrong = links.get("Build passing") not in addresses
    return f"links {links}" if wrong else loads_nothing(root)


def loads_nothing(root: Node) -> str:
    return (
        "an element that loads"
        if any(each.tag in LOADING - {"svg"} for each in elements(root))
        else ""
    )


def footnote(case: Case, root: Node, found: str) -> str:
    first, *_ = found.split("\n")
    if "[^" in found or "The note." not in found:
        return "no note"
    return "" if "{sup" in first or "→" in first else "no mark"


def notes(case: Case, root: Node, found: str) -> str:
    if "[^" in found:
        return "raw notes"
    return "" if all(note in found for note in ("First.", "Second.")) else "no notes"


def headings(case: Case, root: Node, found: str) -> str:
    levels = [int(each.tag[1]) for each in elements(root) if each.tag in HEADINGS]
    return "" if min(levels) >= 3 and levels == sorted(levels) else f"levels {levels}"


CHECKS: dict[str, Callable[[Case, Node, str], str]] = {
    each.__name__: each
    for each in (harmless, coloured, no_link, idn, image, linked_image, footnote, notes, headings)
}
