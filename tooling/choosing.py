"""Choose by words what has to do with a question: among many tools, or many agents.

No model is asked: the same words choose the same on every worker, in less than a millisecond. Words
are compared by the three letters that they share, so that "invoices" finds "invoice", "bestand"
finds "Lagerbestand", and an Arabic article doesn't matter. Chinese, Japanese and Korean words
aren't parted by blanks: every two of their signs are a word here.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

import msgspec

from .registry import Tool

MAX_TEXT = 1000  # characters at each end of a question: people ask at its beginning or its end
MAX_WORDS = 80  # of it
NAME_WEIGHT, PARAMETER_WEIGHT = 2.0, 0.7  # of a word, against one of the description
# Of two words, as the cosine of the letters that they share. Below it, chance has a hand in it.
LEAST_LIKENESS = 0.5

_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_SIGNS}]+|[^\W\d_{_SIGNS}]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OF_SIGNS = re.compile(f"[{_SIGNS}]")


class Entry(NamedTuple):
    """What can be chosen."""

    name: str
    description: str
    parameters: tuple[str, ...] = ()


def entry_of(tool: Tool) -> Entry:
    return Entry(tool.name, tool.description, tuple(tool.parameters.schema["properties"]))


def ranked(entries: Iterable[Entry], text: str) -> dict[str, float]:
    """Return how much each entry has to do with the text, the most related first.

    0 is nothing. What is equally related stays in its order.
    """
    return index_of(tuple(entries)).ranked(text)


def chosen(
    tools: Sequence[Tool],
    text: str,
    *,
    first: Collection[str] = (),
    most: int,
    max_bytes: int,
) -> list[Tool]:
    """Return the tools to send to a model, in their order: at most so many, of so many bytes.

    Those that are named in `first` are preferred, then those that have to do with the text.
    """
    sizes = {tool.name: len(msgspec.json.encode(tool.offer)) for tool in tools}
    if len(tools) <= most and sum(sizes.values()) <= max_bytes:
        return list(tools)
    kept: set[str] = set()
    related = ranked(map(entry_of, tools), text)
    for name in sorted(related, key=lambda name: name not in first):
        if len(kept) < most and sizes[name] <= max_bytes:
            kept.add(name)
            max_bytes -= sizes[name]
    return [tool for tool in tools if tool.name in kept]


def nearest(tools: Sequence[Tool], text: str, most: int) -> Sequence[str]:
    """Return the names of the tools that have most to do with the text, at most so many."""
    return _nearest(tuple(map(entry_of, tools)), ends_of(text), most)


# The questions of a chat are compared again with each further one.
@lru_cache(maxsize=1024)
def _nearest(entries: tuple[Entry, ...], text: str, most: int) -> Sequence[str]:
    related = ranked(entries, text).items()
    return [name for name, score in islice(related, most) if score]


class Index:
    """The words of some entries."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.names = [entry.name for entry in entries]
        weights = [weights_of(entry) for entry in entries]
        usual = sum(map(len, weights)) / max(1, len(weights))
        holders = Counter(word for each in weights for word in each)
        # A word of few entries tells more than one of many.
        count = len(entries)
        rarity = {word: math.log1p((count - n + 0.5) / (n + 0.5)) for word, n in holders.items()}
        self.holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, each in enumerate(weights):
            # A long description has many words by chance.
            share = 2.2 / (1.2 * (0.5 + 0.5 * len(each) / usual) + 1)
            for word, weight in each.items():
                self.holders[word].append((place, rarity[word] * weight * share))
        self.letters = {word: letters_of(word) for word in holders}
        self.by_letters: dict[str, list[str]] = defaultdict(list)
        for word, letters in self.letters.items():
            for part in letters:
                self.by_letters[part].append(word)

    def ranked(self, text: str) -> dict[str, float]:
        found = [0.0] * len(self.names)
        for word in words_of(ends_of(text))[:MAX_WORDS]:
            best: dict[int, float] = {}
            for known, likeness in self.like(word):
                for place, weight in self.holders[known]:
                    best[place] = max(best.get(place, 0.0), likeness * likeness * weight)
            for place, score in best.items():
                found[place] += score
        places = sorted(range(len(found)), key=lambda place: -found[place])
        return {self.names[place]: found[place] for place in places}

    def like(self, word: str) -> list[tuple[str, float]]:
        """Return the words of the entries that are like this one, and how much."""
        letters = letters_of(word)
        shared = Counter(known for part in letters for known in self.by_letters.get(part, ()))
        alike = [
            (known, count / math.sqrt(len(letters) * len(self.letters[known])))
            for known, count in shared.items()
        ]
        return [(known, likeness) for known, likeness in alike if likeness >= LEAST_LIKENESS]


@lru_cache(maxsize=128)
def index_of(entries: tuple[Entry, ...]) -> Index:
    return Index(entries)


def weights_of(entry: Entry) -> dict[str, float]:
    weights = dict.fromkeys(words_of(" ".join(entry.parameters)), PARAMETER_WEIGHT)
    weights |= dict.fromkeys(words_of(entry.description), 1.0)
    weights |= dict.fromkeys(words_of(entry.name), NAME_WEIGHT)
    return weights


def ends_of(text: str) -> str:
    return text if len(text) <= 2 * MAX_TEXT else f"{text[:MAX_TEXT]} {text[-MAX_TEXT:]}"


def words_of(text: str) -> list[str]:
    """Return the words of a text, each once, in the form in which they are compared."""
    text = unicodedata.normalize("NFKD", _CAMEL.sub(" ", text)).casefold()
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    found: list[str] = []
    for word in _WORDS.findall(unicodedata.normalize("NFC", text)):
        if _OF_SIGNS.match(word) and len(word) > 1:
            found += [first + second for first, second in pairwise(word)]
        else:
            found.append(word)
    # Not a set: its order differs between processes, and with it the last digits of sums.
    return list(dict.fromkeys(found))


def letters_of(word: str) -> list[str]:
    """Return every three letters of a word, each once; a short word as it is."""
    return list(dict.fromkeys(word[n : n + 3] for n in range(max(1, len(word) - 2))))
