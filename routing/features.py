"""Turn a text and the earlier questions into the numbers and n-grams that the classifier weighs.

Wrappers are removed first, so that politeness does not count. Then the asks are found, so that a
long story around one question reads like the question. Only the head and the tail of a long text
are read, which bounds the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Literal

from routing import patterns
from routing.asks import Ask, core_around_material, core_of, find_asks, normalise
from routing.grams import grams_of
from routing.lexicon import CONCEPTS, words_of
from routing.words import (
    ASKING,
    KINDS_OF_QUESTION,
    ORDERING,
    concepts_of,
    count_concepts,
    is_asking,
    is_ordering,
    size_of,
    tokens_of,
)
from routing.wrappers import without_what_was_taken_back

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
_AND = words_of("and und et y e ed en i oraz ve och og и а و और तथा then plus also")
_STOPS = frozenset(",;:、，；：،—–")
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
_OF_ANSWER = (
    "after_light",
    "after_full",
    "goes_on_light",
    "goes_on_full",
    "answer_size",
    "answer_code",
    "answer_plan",
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


def read(text: str, context: Sequence[str] = (), answered: LastAnswer | None = None) -> Reading:
    """Return the n-grams and named numbers of a text.

    `context` has the earlier questions, the oldest first; `answered` is the answer to the last one.
    """
    whole = without_what_was_taken_back(normalise(text))
    asks = list(find_asks(whole))
    core = core_around_material(whole, asks)
    named = measure(whole, core, asks)
    earlier = core_of(list(find_asks(normalise(context[-1])))) if context else ""
    named |= measure_context(core, earlier, len(context))
    named |= measure_answer(answered, is_chat=named["core:chat"] > 0)
    path = answered.path if answered else ""
    return Reading(core, tuple(grams_of(whole, core, earlier, path)), named)


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
        **measure_asking(core, core_tokens, core_concepts),
        "ends_asking": float(whole.endswith(("?", "？", "؟"))),
        "heavy": float(sum(core_concepts[concept] for concept in _HEAVY)),
    }
    named |= {f"core:{concept}": float(min(core_concepts[concept], 4)) for concept in CONCEPTS}
    named |= {f"first:{concept}": float(concept in first) for concept in sorted(ASKING | ORDERING)}
    named |= {f"all:{concept}": float(min(concepts[concept], 6)) for concept in _OF_WHOLE}
    return named


def measure_asking(
    core: str, tokens: Sequence[str], concepts: Mapping[str, int]
) -> dict[str, float]:
    """Return how often, and where in its core, a text asks; in all languages of the lexicon."""
    asking = [at for at, token in enumerate(tokens) if is_asking(token)]
    ordering = [at for at, token in enumerate(tokens) if is_ordering(token)]
    stops = [at for at, token in enumerate(tokens) if token in _STOPS]
    joined = sum(
        (token in _AND and any(at < found <= at + 3 for found in (*asking, *ordering)))
        or (token.startswith("و") and is_asking(token[1:]))
        for at, token in enumerate(tokens)
    )
    end = len(tokens) or 1
    return {
        "asking": float(min(5, sum(concepts[kind] for kind in KINDS_OF_QUESTION))),
        "ordering": float(min(5, sum(concepts[kind] for kind in ORDERING))),
        "second_ask": float(min(joined, 3)),
        "first_asking_at": asking[0] / end if asking else -0.5,
        "last_asking_at": asking[-1] / end if asking else -0.5,
        "asks_behind_a_stop": float(bool(stops and asking and asking[-1] > stops[-1])),
        "orders_behind_a_stop": float(bool(stops and ordering and ordering[-1] > stops[-1])),
        "clauses": float(min(len(stops), 8)),
        "behind_the_last_stop": (end - stops[-1]) / end if stops else 1.0,
    }


def measure_context(core: str, earlier: str, turns: int) -> dict[str, float]:
    """Return the named features of a follow-up; zeros if there is no earlier question."""
    if not earlier:
        return dict.fromkeys(_OF_CONTEXT, 0.0)
    tokens = tokens_of(core)
    refers = sum("refer" in concepts_of(token) for token in tokens)
    before = tokens_of(earlier)
    concepts = count_concepts(earlier, before)
    verbs = any(is_ordering(token) for token in tokens)
    return {
        "turns": float(min(turns, CONTEXT_TURNS)),
        "follows": float(bool(patterns.FOLLOWS.search(core))),
        "refers": float(min(refers, 3)),
        "bare": float(not verbs and len(tokens) < 9),
        "earlier_size": log1p(size_of(earlier, before)),
        "earlier_heavy": float(sum(concepts[concept] for concept in _HEAVY)),
        "earlier_asking": float(any(concept in ASKING for concept in concepts_of(before[0])))
        if before
        else 0.0,
        "earlier_depth": float(concepts["depth"] + concepts["document"] + concepts["software"]),
    }


def measure_answer(answered: LastAnswer | None, *, is_chat: bool) -> dict[str, float]:
    """Return the named features of the last answer; zeros if it isn't known.

    Thanks and small talk (`is_chat`) don't go on with it.
    """
    if answered is None:
        return dict.fromkeys(_OF_ANSWER, 0.0)
    was_light, goes_on = answered.path == "light", not is_chat
    return {
        "after_light": float(was_light),
        "after_full": float(not was_light),
        "goes_on_light": float(was_light and goes_on),
        "goes_on_full": float(not was_light and goes_on),
        "answer_size": log1p(answered.words) if goes_on else 0.0,
        "answer_code": float(answered.has_code and goes_on),
        "answer_plan": float(answered.has_plan and goes_on),
    }
