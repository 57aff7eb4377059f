"""Words that show what a question asks for, by concept, in several languages: `lexicon.tsv`.

A line has a concept, a language and its entries: `word` as written, `stem*` with any ending, and
`~piece` anywhere in the text (for scripts without spaces and for phrases; `_` is a space).
"""

from pathlib import Path

_FILE = Path(__file__).with_name("lexicon.tsv")

type Entries = dict[str, tuple[str, ...]]


def words_of(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


def read() -> tuple[tuple[str, ...], Entries, Entries, Entries]:
    """Return all concepts, then words, stems and pieces with their concepts.

    A word that is English too has only its English concepts.
    """
    rows = [line.split("\t") for line in _FILE.read_text(encoding="utf-8").splitlines()]
    english = {
        word for _, language, entries in rows if language == "en" for word in entries.split()
    }
    words: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    pieces: dict[str, list[str]] = {}
    for concept, language, entries in rows:
        for entry in entries.split():
            if entry.startswith("~"):
                pieces.setdefault(entry[1:].replace("_", " "), []).append(concept)
            elif entry.endswith("*"):
                stems.setdefault(entry[:-1], []).append(concept)
            elif language == "en" or entry not in english:
                words.setdefault(entry, []).append(concept)
    return (
        tuple(dict.fromkeys(row[0] for row in rows)),
        distinct(words),
        distinct(stems),
        distinct(pieces),
    )


def distinct(found: dict[str, list[str]]) -> Entries:
    return {entry: tuple(dict.fromkeys(concepts)) for entry, concepts in found.items()}


CONCEPTS, WORDS, STEMS, PIECES = read()
STEM_LENGTHS = tuple(sorted({len(stem) for stem in STEMS}, reverse=True))
