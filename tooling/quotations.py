"""Check an answer's quotations and citations against what was read of its sources."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .citations import citations_in, defined_in, without_code
from .clusters import shortened
from .quoting import quotations_in
from .untrusted import visible
from .wordings import Wording, folded

MAX_ANSWER_CHARS = 100_000  # that are checked
MAX_MISSED = 5
MAX_MISSED_CHARS = 120  # of each
MAX_UNKNOWN = 10


@dataclass(frozen=True, slots=True)
class Missed:
    """A quotation that is not in the sources that it cites, but perhaps in another one."""

    text: str  # its beginning
    cites: tuple[int, ...]
    found_in: int | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of an answer has found."""

    checked: int  # quotations that cite a source
    found: int  # of these, in a source that they cite
    missed: tuple[Missed, ...]  # the first of the others
    unknown: tuple[int, ...]  # numbers that are cited and belong to no source


class Sources:
    """What a run has read: `texts` of its sources by their numbers, and the person's words.

    `known` are the numbers of all sources, also of those that were only named.
    """

    def __init__(
        self, texts: Mapping[int, str], known: Collection[int], said: Sequence[str]
    ) -> None:
        self.texts = texts
        self.known = known
        self._said = said
        self._folded: dict[int, str] = {}

    def has(self, number: int, wording: Wording) -> bool:
        """Return True if this source has the words."""
        if number not in self.texts:
            return False
        if number not in self._folded:
            self._folded[number] = folded(self.texts[number])
        return wording.is_in(self._folded[number])

    def with_words(self, wording: Wording, among: Iterable[int]) -> int | None:
        """Return the first of these sources that has the words."""
        return next((number for number in among if self.has(number, wording)), None)

    @cached_property
    def said(self) -> str:
        return folded("\n\n".join(self._said))

    @cached_property
    def said_numbers(self) -> frozenset[int]:
        """The numbers that the person's words cite: a paper has a list of its own."""
        marks = (mark for text in self._said for mark in citations_in(without_code(text)))
        return frozenset(number for mark in marks for number in mark.numbers)


def check(answer: str, sources: Sources, addresses: Mapping[str, int]) -> Checked | None:
    """Return how the answer's quotations and citations agree with its sources.

    Return None if it quotes and cites nothing that could be checked. `addresses` are the numbers of
    sources by the `page_key` of their addresses. Takes time in proportion to the texts.
    """
    answer = answer[:MAX_ANSWER_CHARS]
    defined = defined_in(answer)
    # What is cited, and was only named, may have the words.
    unread = {*sources.known} - sources.texts.keys() | defined
    found, missed = 0, list[Missed]()
    for quotation in quotations_in(answer, addresses):
        cites, wording = quotation.cites, Wording.of(quotation.text)
        if sources.with_words(wording, cites) is not None:
            found += 1
        elif unread.isdisjoint(cites) and not wording.is_in(sources.said):
            others = sorted(sources.texts.keys() - set(cites))
            found_in = sources.with_words(wording, others)
            words = shortened(visible(quotation.text), MAX_MISSED_CHARS)
            missed.append(Missed(words, cites, found_in))
    unknown = unknown_in(answer, sources, defined)
    if not (found or missed or unknown):
        return None
    return Checked(found + len(missed), found, tuple(missed[:MAX_MISSED]), unknown)


def unknown_in(answer: str, sources: Sources, defined: Collection[int]) -> tuple[int, ...]:
    """Return the numbers that are cited, but belong to no source."""
    unknown: set[int] = set()
    for citation in citations_in(without_code(answer)):
        named = [number for number in citation.numbers if number in sources.known]
        # Several at once without any source are rather an interval, or a list of numbers.
        if named or len(citation.numbers) == 1:
            unknown |= {*citation.numbers} - {*named} - {*defined}
    if unknown:
        unknown -= sources.said_numbers
    return tuple(sorted(unknown)[:MAX_UNKNOWN])
