"""Find what is asked in a text, without politeness, background and texts that came along."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from routing import patterns
from routing.words import ASKING, ORDERING, concepts_of
from routing.wrappers import unwrap

HEAD, TAIL = 1200, 400
CORE = 320
MAX_ASKS = 24
MATERIAL = 240  # characters, from which on a text may bring another along
_QUESTION_MARKS, _CLOSERS = ("?", "？", "؟"), "\"')”» "


@dataclass(frozen=True, slots=True)
class Ask:
    """A sentence that asks for something."""

    text: str
    is_question: bool
    in_first_line: bool


def head_and_tail(text: str) -> str:
    """Return the part of a text that is read: all of it, or its beginning and its end."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def normalise(text: str) -> str:
    """Return the text in NFKC, without invisible characters and extra spaces, at most so long."""
    text = head_and_tail(text)
    text = (
        unicodedata.normalize("NFKC", text)[: HEAD + 2 * TAIL].replace("’", "'").replace("‘", "'")
    )
    if not text.isprintable():
        text = "".join(
            char
            if char.isprintable()
            else "\n"
            if char in "\n\r\u2028\u2029"
            else " "
            if char.isspace()
            else ""
            for char in text
        )
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def find_asks(whole: str) -> Iterator[Ask]:
    """Yield the sentences that ask for something, unwrapped, or all of the text if none does."""
    found = False
    for at, line in enumerate(whole.split("\n", MAX_ASKS)):
        for sentence in patterns.SENTENCE_END.split(line)[:MAX_ASKS]:
            if sentence and not sentence.isspace():
                text, is_wanted = unwrap(sentence)
                is_question = text.rstrip(_CLOSERS).endswith(_QUESTION_MARKS)
                if is_question or (
                    not patterns.NO_ASK.match(text) and (is_wanted or is_order(text))
                ):
                    found = True
                    yield Ask(text, is_question=is_question, in_first_line=at == 0)
    if not found and whole:
        yield Ask(unwrap(whole)[0], is_question=False, in_first_line=True)


def core_of(asks: Sequence[Ask]) -> str:
    """Return the asks on one line. If the first line has one, the lines below are material."""
    leading = [ask.text for ask in asks if ask.in_first_line] or [ask.text for ask in asks]
    return " ".join(" ".join(leading).split())[:CORE]


def core_around_material(whole: str, asks: Sequence[Ask]) -> str:
    """Return the asks of a text; of one that brings a long text along, what is said beside that.

    What is asked stands before the long text or behind it. Sentences in it may look like asks.
    """
    lines = whole.split("\n")
    first, *others = patterns.SENTENCE_END.split(lines[0])
    if len(whole) < MATERIAL:
        return core_of(asks)
    longest, last = max(lines, key=len), lines[-1]
    brings_text = len(longest) > len(whole) / 2 and len(last) < len(whole) / 3
    if brings_text and not is_ask(first) and (longest is lines[0] or is_ask(last)):
        return " ".join(unwrap(last)[0].split())[:CORE]
    if len(first) < len(whole) / 4 and is_ask(first):
        kept = [first]
        for sentence in others:
            if not is_ask(sentence):
                break
            kept.append(sentence)
        return " ".join(" ".join(unwrap(sentence)[0] for sentence in kept).split())[:CORE]
    return core_of(asks)


def is_ask(sentence: str) -> bool:
    """Return True if the sentence asks or orders."""
    text, is_wanted = unwrap(sentence)
    return text.rstrip(_CLOSERS).endswith(_QUESTION_MARKS) or (
        not patterns.NO_ASK.match(text) and (is_wanted or is_order(text))
    )


def is_order(sentence: str) -> bool:
    """Return True if the sentence begins with a word that asks or orders."""
    head = [token.lower() for token in patterns.TOKEN.findall(sentence[:60])[:2]]
    if not head:
        return False
    if patterns.UNSPACED_SCRIPT.search(sentence):
        return bool(patterns.PIECE.search(sentence))
    return bool(ASKING.union(ORDERING).intersection(concepts_of(head[0])))
