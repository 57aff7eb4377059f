"""The quotations of an answer, each with the numbers of the sources that it cites."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from .citations import Citation, citations_in
from .prose import Block, blocks_of

MIN_CHARS = 12  # of a quotation; shorter ones are names and single words
MAX_QUOTATIONS = 100
MAX_CITES = 10  # numbers for one quotation
MAX_OPEN = 8  # marks one in another

# What ends what each mark begins.
ENDS = {
    # Models close typographic marks with straight ones.
    "“": '”"',
    "„": '“”"',
    "‟": "”",
    "”": "”",
    "«": "»",
    "»": "«",
    "‹": "›",
    "›": "‹",
    "‘": "’'",
    "‚": "‘’'",
    "「": "」",
    "『": "』",
    "〝": "〞〟",
    '"': '"',
    "'": "'",
}
CLOSING = frozenset("".join(ENDS.values()))
BY_WORDS = frozenset("\"'”")  # which begin a quotation only before a word, and behind none
APOSTROPHES = frozenset("'’")
MARK = regex.compile(f"[{''.join({*ENDS, *CLOSING})}]")
SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")

# Between citations that are read as one: [1], [2] and [3].
JOINS = regex.compile(r"[\s,;&]*+(?:and|und|et|y|e|och|en|og)?[\s,;&]*+")
# A text in which quotations and citations are replaced by these, character for character.
QUOTE, QUOTED, UNQUOTE, CITED = "\ue000", "\ue001", "\ue002", "\ue003"
SHORT_FORMS = (
    r"(?<!\b(?:\p{L}|Dr|Mr|Mrs|Ms|Prof|St|No|Nr|vs|bzw|etc|ca|approx|Inc|Ltd|Corp|Jr|Sr|Fig|Abb|vgl"
    r"|cf|al|pp|vol|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)\.)"
)
# A citation right behind a sentence is part of it, unless words go on in small letters.
CITED_BEHIND = rf"(?:\s*{CITED}++(?!\s*[\p{{Ll}},:]))*+"
SENTENCE_END = regex.compile(
    rf"(?:(?:[.!?।؟]{SHORT_FORMS}[)\]*_{UNQUOTE}…]*|[.!?]…){CITED_BEHIND}"
    rf"(?=\s+[\p{{Lu}}\p{{Lt}}\p{{Lo}}\p{{N}}{QUOTE}])"
    rf"|[。！？]{UNQUOTE}?{CITED_BEHIND}(?=\s*[^\s{CITED}])"
    # [1]: “…”; [2]: “…”
    rf"|[;；](?=\s*{CITED}++[^{QUOTE};；]{{0,200}}{QUOTE}))"
)
# A citation behind the last sentence of a paragraph is one of all its sentences.
OF_ALL = regex.compile(rf"[.!?。！？…][)\]*_{UNQUOTE}]*\s*({CITED}+)[\s.*_)\]]*\Z")
CLOSES = frozenset(".。")  # ends a sentence, also within a quotation

CALLOUT = regex.compile(
    r"\s*(?:\[!\w+\]|\p{Extended_Pictographic}|(?:\*\*|__)[^*_\n]{1,40}(?:\*\*|__):?)"
)
# The end of a quoted block that says whose words it has.
SPEAKER = regex.compile(r"(?:(?:\A|\n)\s*(?:[—–―]|--?)\s*|\s[—–―]\s*)[^\n—–―]{0,200}\Z")
ATTRIBUTION = regex.compile(
    r"[\s(*_]*(?:[—–―]|--|source|quelle|fuente|fonte|from\b|aus\b)", regex.I
)
MAX_ATTRIBUTION = 200


@dataclass(frozen=True, slots=True)
class Quotation:
    """Quoted words of an answer, and the numbers of the sources that they cite."""

    text: str
    cites: tuple[int, ...]


@dataclass(slots=True)
class Span:
    """A quotation or a citation in a block."""

    start: int
    end: int
    is_quote: bool
    cites: tuple[int, ...] = ()
    sentence: int = 0
    is_taken: bool = False  # a citation that belongs to a quotation before it


@dataclass(frozen=True, slots=True)
class Read:
    """A block with its quotations and its citations."""

    block: Block
    spans: list[Span]  # in their order; none is within another
    all_cited: tuple[int, ...]  # by the block, wherever

    @property
    def quotes(self) -> list[Span]:
        return [span for span in self.spans if span.is_quote]

    @property
    def is_quoted(self) -> bool:
        """True if it has hardly anything but quotations."""
        rest, end = "", 0
        for span in self.spans:
            rest += self.block.text[end : span.start]
            end = span.end
        rest += self.block.text[end:]
        return bool(self.quotes) and not has_words(rest)

    @property
    def introduces(self) -> tuple[int, ...]:
        """The numbers that its last sentence cites, if it announces what follows."""
        citations = [span for span in self.spans if not span.is_quote]
        if not citations or not self.block.text.rstrip(" \t\n*_").endswith((":", "：")):
            return ()
        last = citations[-1]
        return last.cites if not SENTENCE_END.search(self.block.text, last.end) else ()

    @property
    def attributes(self) -> tuple[int, ...]:
        """The numbers that it cites, if it says no more than whose words stand before it."""
        if self.quotes or len(self.block.text) > MAX_ATTRIBUTION:
            return ()
        spans = [(span.start, span.end) for span in self.spans]
        bare = not has_words(without_places(self.block.text, spans))
        return self.all_cited if bare or ATTRIBUTION.match(self.block.text) else ()


def quotations_in(answer: str, addresses: Mapping[str, int]) -> list[Quotation]:
    """Return the quotations of an answer in Markdown that cite a source.

    They have MIN_CHARS characters and more.
    """
    blocks = [read(block) for block in blocks_of(answer, addresses)]
    found: list[Quotation] = []
    introduced: tuple[int, ...] = ()
    for place, here in enumerate(blocks):
        begins_quoted = (
            bool(here.spans)
            and here.spans[0].is_quote
            and not has_words(here.block.text[: here.spans[0].start])
        )
        if here.block.kind == "words" and not begins_quoted:
            introduced = ()
        behind = cited_behind(blocks, place) if here.is_quoted else ()
        for span in here.quotes:
            text = quoted_words(here.block.text, span)
            if len(" ".join(text.split())) >= MIN_CHARS:
                cites = dict.fromkeys(span.cites or behind or introduced)
                found.append(Quotation(text, (*cites,)[:MAX_CITES]))
        introduced = here.introduces or introduced
    return [each for each in found if each.cites][:MAX_QUOTATIONS]


def cited_behind(blocks: Sequence[Read], place: int) -> tuple[int, ...]:
    """Return what the blocks behind a quoted one say of its source."""
    for here, behind in pairwise(blocks[place : place + 10]):
        if cites := behind.attributes:
            return cites
        if not (here.block.kind == behind.block.kind == "quote" and behind.is_quoted):
            break
        if cites := next((span.cites for span in behind.quotes if span.cites), ()):
            return cites
    return ()


def read(block: Block) -> Read:
    """Find the quotations of a block, its citations, and which belongs to which."""
    citations = list(citations_in(block.text))
    places = quoted_places(block)
    spans = [
        Span(start, end, True, inside(citations, start, end)) for start, end in places
    ] + grouped(block.text, [each for each in citations if not is_within(each, places)])
    spans.sort(key=lambda span: span.start)
    attach(block, spans)
    numbers = [number for each in citations for number in each.numbers]
    return Read(block, spans, tuple(dict.fromkeys(numbers)))


# --- Where quotations are


def quoted_places(block: Block) -> list[tuple[int, int]]:
    """Return where a block has quotations with their marks, without those in other ones."""
    text = block.text
    places = sorted(marked_places(text))
    if block.kind == "quote" and not CALLOUT.match(text):
        is_marked = bool(places) and not has_words(text[: places[0][0]])
        if not is_marked:
            # All of it is quoted, but not who said it.
            speaker = SPEAKER.search(text)
            end = speaker.start() if speaker else len(text)
            return [(0, end)] if has_words(text[:end]) else []
    outer: list[tuple[int, int]] = []
    for start, end in places:
        if not outer or start >= outer[-1][1]:
            outer.append((start, end))
    return outer


def marked_places(text: str) -> Iterator[tuple[int, int]]:
    """Yield where quotation marks begin and end, also those in others."""
    opened: list[tuple[str, int]] = []
    for found in MARK.finditer(text):
        mark, at = found[0], found.start()
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        place = closes(mark, opened, before, after)
        if place is not None:
            yield opened[place][1], at + 1
            del opened[place:]
        elif mark in ENDS and opens(mark, before, after):
            opened = [*opened[-MAX_OPEN + 1 :], (mark, at)]


def closes(mark: str, opened: Sequence[tuple[str, int]], before: str, after: str) -> int | None:
    """Return which of the opened marks this one closes; None if it closes none."""
    if mark not in CLOSING:
        return None
    if mark in APOSTROPHES and (is_word(after) or before.isspace()):
        return None
    if mark == '"' and ((before.isspace() and is_word(after)) or before in ENDS):
        return None
    for place in range(len(opened) - 1, -1, -1):
        if mark in ENDS[opened[place][0]]:
            return place
    return None


def opens(mark: str, before: str, after: str) -> bool:
    if mark not in BY_WORDS and mark not in APOSTROPHES:
        return True
    if not after or after.isspace() or is_word(before):
        return False
    return mark != "'" or not after.isdecimal()  # the '90s


def is_word(character: str) -> bool:
    """Return True for a letter or a digit, of scripts with spaces between words."""
    return character.isalnum() and not SPACELESS.match(character)


def has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def quoted_words(text: str, span: Span) -> str:
    """Return what is between the marks of a quotation, without the citations in it."""
    start, end = span.start, span.end
    has_marks = text[start] in ENDS and text[end - 1] in ENDS[text[start]]
    words = text[start + 1 : end - 1] if has_marks else text[start:end]
    return without_places(words, [(each.start, each.end) for each in citations_in(words)]).strip()


def without_places(text: str, places: Sequence[tuple[int, int]]) -> str:
    edges = [0, *(edge for place in places for edge in place), len(text)]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))


# --- Which citation belongs to which quotation


def inside(citations: Sequence[Citation], start: int, end: int) -> tuple[int, ...]:
    """Return the numbers that are cited between the marks of a quotation."""
    first = bisect_left(citations, start, key=starts_at)
    behind = bisect_left(citations, end, key=starts_at)
    return tuple(number for each in citations[first:behind] for number in each.numbers)


def starts_at(citation: Citation) -> int:
    return citation.start


def is_within(citation: Citation, places: Sequence[tuple[int, int]]) -> bool:
    place = bisect_right(places, (citation.start, 0)) - 1
    return place >= 0 and citation.start < places[place][1]


def grouped(text: str, citations: Sequence[Citation]) -> list[Span]:
    """Return citations as spans, neighbours as one: [1][2]."""
    groups: list[Span] = []
    for each in citations:
        if groups and JOINS.fullmatch(text, groups[-1].end, each.start):
            groups[-1].end = each.end
            groups[-1].cites = (groups[-1].cites + each.numbers)[:MAX_CITES]
        else:
            groups.append(Span(each.start, each.end, False, each.numbers))
    return groups


def attach(block: Block, spans: list[Span]) -> None:
    """Give each quotation the citation that belongs to it: first that right behind it.

    Else it has the next one of its sentence, before it or behind it, with no other quotation
    between, or both. Quotations in a row share one.
    """
    sketch = sketch_of(block.text, spans)
    ends = [] if block.kind == "row" else [found.end() for found in SENTENCE_END.finditer(sketch)]
    for span in spans:
        span.sentence = bisect_right(ends, span.start)
    behind = nearest(spans[::-1])[::-1]
    for place, span in enumerate(spans):
        if span.is_quote and not span.cites:
            span.cites = cited_beside(block.text, spans, place)
            if not span.cites and (steps := behind[place]):
                span.cites = spans[place + steps].cites
    for place, steps in enumerate(nearest(spans)):
        if spans[place].is_quote and not spans[place].cites and steps:
            spans[place].cites = in_a_row(spans, place - steps)
    if found := OF_ALL.search(sketch):
        share(spans, found.start(1))


def sketch_of(text: str, spans: Sequence[Span]) -> str:
    """Return a text of the same length that shows where its quotations and citations are."""
    parts: list[str] = []
    end = 0
    for span in spans:
        parts.append(text[end : span.start])
        length = span.end - span.start
        if span.is_quote and length > 2:
            last = text[span.end - 2]
            parts += [QUOTE, QUOTED * (length - 3), last if last in CLOSES else QUOTED, UNQUOTE]
        else:
            parts.append((QUOTED if span.is_quote else CITED) * length)
        end = span.end
    return "".join([*parts, text[end:]])


def nearest(spans: Sequence[Span]) -> list[int]:
    """Return how far before each span the last citation of its sentence is; 0 if there is none."""
    found: list[int] = []
    last: int | None = None
    for place, span in enumerate(spans):
        is_there = last is not None and spans[last].sentence == span.sentence
        found.append(place - last if last is not None and is_there else 0)
        last = last if span.is_quote else place
    return found


def in_a_row(spans: Sequence[Span], place: int) -> tuple[int, ...]:
    """Return what a citation cites, with those before it that belong to no quotation."""
    found: tuple[int, ...] = ()
    for span in reversed(spans[max(0, place - MAX_CITES) : place + 1]):
        if span.is_quote or span.is_taken or span.sentence != spans[place].sentence:
            break
        found = span.cites + found
    return found


def cited_beside(text: str, spans: Sequence[Span], place: int) -> tuple[int, ...]:
    """Return the numbers of the citations beside a quotation, and mark the one behind as taken."""
    here = spans[place]
    before, behind, later = (neighbour(spans, place, step) for step in (-1, 1, 2))
    is_introduced = before is not None and not before.is_quote and not before.is_taken
    if behind is not None and not behind.is_quote:
        if not has_words(text[here.end : behind.start]):
            behind.is_taken = True
            return behind.cites
        # [1] says "…", and [2] says "…".
        if is_introduced and later is not None and later.is_quote:
            behind = None
        else:
            behind.is_taken = True
    else:
        behind = None
    found = (behind.cites if behind else ()) + (in_a_row(spans, place - 1) if is_introduced else ())
    return tuple(dict.fromkeys(found))


def neighbour(spans: Sequence[Span], place: int, step: int) -> Span | None:
    """Return the span that is `step` places further in the same sentence."""
    if not 0 <= place + step < len(spans):
        return None
    found = spans[place + step]
    return found if found.sentence == spans[place].sentence else None


def share(spans: Sequence[Span], start: int) -> None:
    """Give a citation to all quotations behind the citation before it that have none."""
    for place in range(len(spans) - 1, -1, -1):
        if spans[place].start <= start < spans[place].end:
            last = spans[place]
            for span in reversed(spans[:place]):
                if not span.is_quote:
                    break
                span.cites = span.cites or last.cites
            break
