"""The reasons for a decision, as phrases that readers understand."""

from collections import defaultdict
from collections.abc import Mapping, Set

from routing.features import concepts_of
from routing.lexicon import words_of

# Phrases for features that speak for a path: with a minus if a low value does, else a high one.
_LIGHT = {
    "-size": "its question is short",
    "-core_size": "its question is short",
    "-longest_ask": "its question is short",
    "wrapping": "is talk around a short question",
    "-asks": "asks for one thing",
    "-joined_asks": "asks for one thing",
    "-later_asks": "asks for one thing",
    "-orders": "orders no work",
    "-heavy": "orders no work",
    "-all:make": "orders no work",
    "-lines": "brings no long text",
    "-material": "brings no long text",
    "-items": "has no list of points",
    "-code": "brings no code",
    "-commas": "lists nothing",
    "-ands": "lists nothing",
    "-names": "is about one thing",
    "-name_words": "is about one thing",
    "-nested": "needs a single step",
    "-relatives": "needs a single step",
    "-possessives": "needs a single step",
    "-of_chain": "needs a single step",
    "-kin_words": "needs a single step",
    "-both": "compares nothing",
    "-choice": "compares nothing",
    "-core:compare": "compares nothing",
    "-words_wanted": "wants no set length",
    "-wanted": "sets no conditions",
    "-core:must": "sets no conditions",
    "-core:depth": "asks for no depth",
    "-core:document": "wants no document",
    "-core:opinion": "asks for no advice",
    "-core:me": "does not depend on the person's situation",
    "arithmetic": "is a calculation",
    "short_answer": "wants a short answer",
    "ends_asking": "is a plain question",
    "questions": "is a plain question",
    "yes_no": "can be answered yes or no",
    "first:aux": "can be answered yes or no",
    "core:fact": "asks for one fact",
    "core:who": "asks for one fact",
    "core:when": "asks for one fact",
    "core:where": "asks for one fact",
    "core:what": "asks for one fact",
    "core:which": "asks for one fact",
    "core:quantity": "asks for one figure",
    "core:unit": "is about units",
    "core:fresh": "asks for a current fact",
    "core:small": "is a small language task",
    "core:label": "asks for a label",
    "core:chat": "is small talk",
    "core:bot": "is about the assistant",
    "-earlier_size": "follows nothing long",
    "-earlier_heavy": "follows no larger task",
    "earlier_asking": "follows up on a question",
}
_FULL = {
    "size": "its request is long",
    "core_size": "its request is long",
    "longest_ask": "its request is long",
    "wrapping": "brings a lot of background",
    "asks": "asks for several things",
    "questions": "asks several questions",
    "later_asks": "asks for several things",
    "joined_asks": "asks for two things at once",
    "core:also": "asks for two things at once",
    "sentences": "takes several sentences to ask",
    "orders": "orders a piece of work",
    "heavy": "orders a piece of work",
    "lines": "brings a longer text",
    "material": "brings a longer text",
    "items": "has a list of points",
    "code": "brings code",
    "commas": "lists several things",
    "ands": "lists several things",
    "names": "names several things",
    "name_words": "names several things",
    "quoted": "quotes a text to work on",
    "quoted_size": "quotes a text to work on",
    "numbers": "has several figures to reckon with",
    "core:maths": "has several figures to reckon with",
    "core:logic": "needs reasoning",
    "nested": "needs one answer to find the next",
    "relatives": "needs one answer to find the next",
    "possessives": "needs one answer to find the next",
    "of_chain": "needs one answer to find the next",
    "participles": "needs one answer to find the next",
    "kin_words": "needs one answer to find the next",
    "both": "compares things",
    "choice": "compares things",
    "core:compare": "compares things",
    "core:rank": "compares things",
    "how_to": "asks how to do something",
    "core:why": "asks for reasons",
    "what_are": "asks for more than one fact",
    "words_wanted": "wants a set length or number",
    "wanted": "sets conditions",
    "core:must": "sets conditions",
    "core:make": "asks for something to be written",
    "core:build": "asks for something to be built",
    "core:plan": "asks for a plan",
    "core:study": "asks for an analysis",
    "core:explain": "asks for an explanation",
    "core:rework": "asks for a text to be reworked",
    "core:role": "asks for a role to be played",
    "core:give": "asks for a collection",
    "core:document": "wants a whole document",
    "core:software": "is about software",
    "core:depth": "asks for depth",
    "core:opinion": "asks for advice",
    "core:me": "depends on the person's situation",
    "-ends_asking": "is not put as a question",
    "-core:fact": "asks for no single fact",
    "earlier_size": "follows up on a larger task",
    "earlier_heavy": "follows up on a larger task",
    "earlier_depth": "follows up on a larger task",
    "follows": "changes an earlier task",
    "refers": "refers to what was said before",
}
_SAME_WORDS = {"all": "core", "first": "core"}
_WORDING = {True: "is worded like a quick question", False: "is worded like a larger task"}
_REST = {
    True: ("nothing in it asks for more", "one answer settles it", "needs no plan"),
    False: (
        "no sign that one short answer is enough",
        "may need more than one step",
        "deserves a closer look",
    ),
}
# Concepts whose words are worth quoting, unlike those of “the” or “is”.
_TELLING = words_of(
    "make build plan study explain rework role document software depth opinion compare fact fresh"
)


def strongest_reasons(
    by_gram: Mapping[str, float], by_name: Mapping[str, float], *, high: Set[str], is_light: bool
) -> tuple[str, ...]:
    """Return the three strongest reasons for the decision, the strongest first.

    `high` are the features whose value is above the mean.
    """
    sign = 1 if is_light else -1
    weights: defaultdict[str, float] = defaultdict(float)
    for name, weight in by_name.items():
        phrase = phrase_for(name, is_high=name in high, is_light=is_light)
        if phrase and weight * sign > 0:
            weights[phrase] += weight * sign
    wording = sum(by_gram.values()) * sign
    if wording > 0:
        weights[telling_word(by_gram, sign) or _WORDING[is_light]] += wording
    strongest = sorted(weights, key=lambda phrase: (-weights[phrase], phrase))
    return tuple(dict.fromkeys((*strongest, *_REST[is_light])))[:3]


def phrase_for(name: str, *, is_high: bool, is_light: bool) -> str | None:
    phrases, side = _LIGHT if is_light else _FULL, "" if is_high else "-"
    group, _, concept = name.partition(":")
    return phrases.get(side + name) or phrases.get(
        f"{side}{_SAME_WORDS.get(group, group)}:{concept}"
    )


def telling_word(by_gram: Mapping[str, float], sign: int) -> str | None:
    """Return the word with the largest weight that is worth quoting, or None."""
    words = [
        gram
        for gram, weight in by_gram.items()
        if weight * sign > 0 and gram.isalpha() and _TELLING.intersection(concepts_of(gram))
    ]
    return f"says “{max(words, key=lambda word: by_gram[word] * sign)}”" if words else None
