"""The words of a text, how many they are, and the concepts of the lexicon that they stand for."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from routing import patterns
from routing.lexicon import PIECES, STEM_LENGTHS, STEMS, WORDS

ASKING = frozenset({"what", "who", "when", "where", "which", "why", "how", "aux"})
ORDERING = frozenset(
    [
        "make",
        "build",
        "plan",
        "study",
        "explain",
        "give",
        "rework",
        "small",
        "label",
        "tell",
        "role",
    ]
)
# Concepts of words that open a question, without "is" and "can".
KINDS_OF_QUESTION = ("who", "what", "when", "where", "which", "why", "how")


@lru_cache(maxsize=8192)
def concepts_of(word: str) -> tuple[str, ...]:
    """Return the concepts of a word, given in lower case."""
    if (known := WORDS.get(word)) is not None:
        return known
    for length in STEM_LENGTHS:
        if length <= len(word) and (known := STEMS.get(word[:length])) is not None:
            return known
    return ()


def tokens_of(text: str) -> list[str]:
    """Return the words in lower case, the numbers and the signs."""
    return patterns.TOKEN.findall(text.lower())


def count_concepts(text: str, tokens: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for token in tokens:
        counts.update(concepts_of(token))
    if not text.isascii():
        for piece in patterns.PIECE.findall(text.lower()):
            counts.update(PIECES[piece])
    return counts


def size_of(text: str, tokens: Sequence[str]) -> float:
    """Return the number of words; in scripts without spaces, two characters count as one."""
    unspaced = len(patterns.UNSPACED_SCRIPT.findall(text))
    return sum(token[0].isalnum() for token in tokens) + unspaced / 2


def is_asking(word: str) -> bool:
    return any(concept in KINDS_OF_QUESTION for concept in concepts_of(word))


def is_ordering(word: str) -> bool:
    return not ORDERING.isdisjoint(concepts_of(word))
