"""Turn a text and the earlier questions into the numbers and n-grams that the classifier weighs.

Wrappers are removed first, so that politeness does not count. Then the asks are found, so that a
long story around one question reads like the question. Only the head and the tail of a long text
are read, which bounds the time.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from math import log1p
from typing import Literal

from routing import patterns
from routing.lexicon import CONCEPTS, PIECES, STEM_LENGTHS, STEMS, WORDS, words_of
from routing.wrappers import unwrap, without_what_was_taken_back

HEAD, TAIL = 1200, 400
CORE = 320
MAX_ASKS = 24
CONTEXT_TURNS = 3

# Words for relations between people and things. Two of them often need two look-ups.
_RELATED = words_of(
    "father mother son daughter wife husband partner brother sister spouse child children parent "
    "parents uncle successor predecessor",
    "owner founder author director creator maker composer inventor producer designer architect "
    "publisher developer",
    "actor actress singer band writer star coach player teammate vocalist guitarist drummer "
    "character main lead president",
    "novel film movie book album song team club college university school company capital",
    "birthplace hometown alma headquarters nationality occupation",
)
_FUNCTION_WORDS = words_of(
    "a an the of in on at to for from by with and or but if as that which who , . ? : ' \" 0 's"
)
_ASKING = frozenset({"what", "who", "when", "where", "which", "why", "how", "aux"})
_ORDERING = frozenset(
    {
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
    }
)
_HEAVY = ("make", "build", "plan", "study", "explain", "rework", "role")
_OF_WHOLE = ("make", "build", "plan", "study", "document", "software", "depth", "must", "me")
_OF_CONTEXT = (
    "turns",
    "follows",
    "refers",
    "bare",
    "earlier_size",
    "earlier_heavy",
    "earlier_asking",
    "earlier_depth",
)


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The kind of the answer that the same person got to the question before."""

    path: Literal["light", "full"]
    words: int
    has_code: bool
    has_plan: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the classifier reads it; `core` is what is asked, without its surroundings."""

    core: str
    grams: tuple[str, ...]
    named: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ask:
    """A sentence that asks for something."""

    text: str
    is_question: bool
    in_first_line: bool


def read(text: str, context: Sequence[str] = ()) -> Reading:
    """Return the n-grams and named numbers of a text; `context` has the oldest question first."""
    whole = without_what_was_taken_back(normalise(text))
    asks = list(find_asks(whole))
    core = core_of(asks)
    named = measure(whole, core, asks)
    earlier = core_of(list(find_asks(normalise(context[-1])))) if context else ""
    named |= measure_context(core, earlier, len(context))
    return Reading(core, tuple(_grams(whole, core, earlier)), named)


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
                is_question = text.rstrip("\"')”» ").endswith(("?", "？", "؟"))
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


def is_order(sentence: str) -> bool:
    """Return True if the sentence begins with a word that asks or orders."""
    head = [token.lower() for token in patterns.TOKEN.findall(sentence[:60])[:2]]
    if not head:
        return False
    if patterns.UNSPACED_SCRIPT.search(sentence):
        return bool(patterns.PIECE.search(sentence))
    return bool(_ASKING.union(_ORDERING).intersection(concepts_of(head[0])))


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


def measure(whole: str, core: str, asks: Sequence[Ask]) -> dict[str, float]:
    """Return the named features of a text. Their names are those of the weights file."""
    tokens, core_tokens = tokens_of(whole), tokens_of(core)
    concepts, core_concepts = (
        count_concepts(whole, tokens[:160]),
        count_concepts(core, core_tokens),
    )
    first = concepts_of(core_tokens[0]) if core_tokens else ()
    size, core_size = size_of(whole, tokens), size_of(core, core_tokens)
    names = [name for name in patterns.NAME.findall(core) if len(name) > 1]
    quoted = ["".join(groups) for groups in patterns.QUOTED.findall(whole)]
    lines = whole.count("\n") + 1
    letters = sum(char.isalpha() for char in whole) or 1
    orders = sum(not ask.is_question for ask in asks)
    questions = sum(ask.is_question for ask in asks)
    longest = max((len(ask.text) for ask in asks), default=0)
    # Sizes are logarithms, because the tenth line says less than the second.
    named = {
        "size": log1p(size),
        "core_size": log1p(core_size),
        "wrapping": log1p(size) - log1p(core_size),
        "asks": float(orders + questions),
        "orders": float(orders),
        "questions": float(questions),
        "longest_ask": log1p(longest),
        "later_asks": float(sum(not ask.in_first_line for ask in asks)),
        "material": log1p(len(whole) - len(whole.partition("\n")[0])),
        "sentences": float(len(patterns.SENTENCE_END.findall(core))),
        "choice": float(bool(patterns.CHOICE.search(core))),
        "what_are": float(bool(patterns.WHAT_ARE.search(core))),
        "nested": float(len(patterns.NESTED.findall(core))),
        "kin_words": float(sum(token in _RELATED for token in core_tokens)),
        "joined_asks": float(len(patterns.JOINED_ASK.findall(core))),
        "lines": log1p(lines - 1),
        "items": log1p(len(patterns.LIST_ITEM.findall(whole))),
        "code": log1p(len(patterns.CODE.findall(whole))),
        "quoted": float(len(quoted)),
        "quoted_size": log1p(sum(map(len, quoted))),
        "commas": float(core.count(",") + core.count("、") + core.count("，")),
        "ands": float(core_tokens.count("and")),
        "ors": float(core_tokens.count("or")),
        "numbers": log1p(len(patterns.NUMBER.findall(whole))),
        "arithmetic": float(bool(patterns.ARITHMETIC.search(whole))),
        "years": float(len(patterns.YEAR.findall(core))),
        "names": float(len(names)),
        "name_words": float(sum(name.count(" ") + 1 for name in names)),
        "possessives": float(len(patterns.POSSESSIVE.findall(core))),
        "ofs": float(core_tokens.count("of")),
        "of_chain": float(bool(patterns.OF_CHAIN.search(core))),
        "relatives": float(len(patterns.RELATIVE.findall(core))),
        "participles": float(len(patterns.PARTICIPLE.findall(core))),
        "how_to": float(bool(patterns.HOW_TO.search(core))),
        "yes_no": float(bool(patterns.YES_NO.match(core))),
        "both": float(bool(patterns.TWO_THINGS.search(core))),
        "words_wanted": float(bool(patterns.AMOUNT_WANTED.search(core))),
        "short_answer": float(bool(patterns.SHORT_ANSWER.search(whole))),
        "wanted": float(len(patterns.CONDITION.findall(whole))),
        "lower": float(core == core.lower()),
        "foreign": sum(char.isalpha() and char > "\u024f" for char in core) / (len(core) or 1),
        "accents": sum("\u00c0" <= char <= "\u024f" for char in core) / (len(core) or 1),
        "signs": 1 - letters / (len(whole.replace(" ", "")) or 1),
        "word_length": sum(map(len, core_tokens)) / (len(core_tokens) or 1),
        "ends_asking": float(whole.endswith(("?", "？", "؟"))),
        "heavy": float(sum(core_concepts[concept] for concept in _HEAVY)),
    }
    named |= {f"core:{concept}": float(min(core_concepts[concept], 4)) for concept in CONCEPTS}
    named |= {f"first:{concept}": float(concept in first) for concept in (*_ASKING, *_ORDERING)}
    named |= {f"all:{concept}": float(min(concepts[concept], 6)) for concept in _OF_WHOLE}
    return named


def measure_context(core: str, earlier: str, turns: int) -> dict[str, float]:
    """Return the named features of a follow-up; zeros if there is no earlier question."""
    if not earlier:
        return dict.fromkeys(_OF_CONTEXT, 0.0)
    tokens = tokens_of(core)
    refers = sum("refer" in concepts_of(token) for token in tokens)
    before = tokens_of(earlier)
    concepts = count_concepts(earlier, before)
    verbs = any(_ORDERING.intersection(concepts_of(token)) for token in tokens)
    return {
        "turns": float(min(turns, CONTEXT_TURNS)),
        "follows": float(bool(patterns.FOLLOWS.search(core))),
        "refers": float(min(refers, 3)),
        "bare": float(not verbs and len(tokens) < 9),
        "earlier_size": log1p(size_of(earlier, before)),
        "earlier_heavy": float(sum(concepts[concept] for concept in _HEAVY)),
        "earlier_asking": float(any(concept in _ASKING for concept in concepts_of(before[0])))
        if before
        else 0.0,
        "earlier_depth": float(concepts["depth"] + concepts["document"] + concepts["software"]),
    }


def _grams(whole: str, core: str, earlier: str) -> Iterator[str]:
    """Yield each n-gram once.

    These are the words of the whole text, pairs, triples and pieces of the core, its skeleton of
    known words, and the beginning of a follow-up.
    """
    seen: dict[str, None] = {}
    words = ["0" if token[0].isdigit() else token for token in tokens_of(whole)[:160]]
    kernel = ["^", *("0" if token[0].isdigit() else token for token in tokens_of(core)[:60]), "$"]
    seen.update((word, None) for word in words)
    seen.update((f"{left} {right}", None) for left, right in pairwise(kernel))
    seen.update(
        (f"{left} {middle} {right}", None)
        for left, middle, right in zip(kernel, kernel[1:], kernel[2:], strict=False)
    )
    for word in kernel[1:-1]:
        padded = f"<{word}>"
        for width in (3, 4, 5):
            seen.update(
                (f"#{padded[at : at + width]}", None) for at in range(len(padded) - width + 1)
            )
    if patterns.UNSPACED_SCRIPT.search(core):
        run = core[:120]
        seen.update(
            (f"#{run[at : at + width]}", None)
            for width in (1, 2, 3)
            for at in range(len(run) - width + 1)
        )
    if earlier:
        seen.update((f"~{word}", None) for word in kernel[:6])
    seen.update(dict.fromkeys(crosses(core, kernel[1:-1])))
    yield from seen


def crosses(core: str, words: Sequence[str]) -> Iterator[str]:
    """Yield concepts in pairs and with the length, and the sentence with its topics blanked out."""
    length = int(log1p(size_of(core, words)) * 2)
    present = sorted(count_concepts(core, words))
    yield from (f"&{concept} {length}" for concept in present)
    yield from (f"&{left} {right}" for left, right in combinations(present, 2))
    if words:
        yield f"&{words[0]} {length}"
    skeleton = skeleton_of(words)
    for width in (2, 3, 4):
        yield from (
            "%" + " ".join(skeleton[at : at + width]) for at in range(len(skeleton) - width + 1)
        )


def skeleton_of(words: Sequence[str]) -> list[str]:
    """Return concepts in place of known words, and one blank for each run of other words."""
    skeleton = ["^"]
    for word in words:
        known = concepts_of(word)
        part = word if word in _FUNCTION_WORDS else known[0].upper() if known else "_"
        if part != "_" or skeleton[-1] != "_":
            skeleton.append(part)
    return [*skeleton, "$"]
