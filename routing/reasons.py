"""What weighed most in a decision, in words that a person understands."""

from collections import defaultdict
from collections.abc import Mapping

from routing.features import Reading

# Feature → what to say when its value spoke, one for each direction. What is not here is said by the wording below.
_LIGHT = {
    "size": "is short",
    "core_size": "its question is short",
    "longest_ask": "its question is short",
    "wrapping": "is polite talk around a short question",
    "asks": "asks for one thing",
    "questions": "asks one question",
    "joined_asks": "asks for one thing",
    "orders": "orders no work",
    "lines": "brings no long text",
    "items": "has no list of points",
    "code": "brings no code",
    "commas": "lists nothing",
    "names": "is about one thing",
    "name_words": "is about one thing",
    "arithmetic": "is a calculation",
    "relatives": "needs a single step",
    "possessives": "needs a single step",
    "of_chain": "needs a single step",
    "both": "compares nothing",
    "heavy": "orders no work",
    "short_answer": "wants a short answer",
    "ends_asking": "is a plain question",
    "yes_no": "can be answered yes or no",
    "words_wanted": "wants no set length",
    "wanted": "sets no conditions",
    "core:fact": "asks for one fact",
    "core:unit": "is about units",
    "core:fresh": "asks for a current fact",
    "core:small": "is a small language task",
    "core:chat": "is small talk",
    "core:bot": "is about the assistant",
    "core:quantity": "asks for one figure",
    "core:who": "asks for one fact",
    "core:when": "asks for one fact",
    "core:where": "asks for one fact",
    "first:who": "asks for one fact",
    "first:when": "asks for one fact",
    "first:where": "asks for one fact",
    "first:what": "asks for one fact",
    "first:which": "asks for one fact",
    "first:small": "is a small language task",
    "first:aux": "can be answered yes or no",
    "bare": "follows up on a short question",
    "follows": "follows up on a short question",
    "turns": "follows up on a short question",
    "refers": "follows up on a short question",
}
_FULL = {
    "size": "is long",
    "core_size": "its request is long",
    "longest_ask": "its request is long",
    "wrapping": "brings a lot of background",
    "asks": "asks for several things",
    "questions": "asks several questions",
    "joined_asks": "asks for two things at once",
    "orders": "orders a piece of work",
    "lines": "brings a longer text",
    "items": "has a list of points",
    "code": "brings code",
    "commas": "lists several things",
    "names": "names several things",
    "name_words": "names several things",
    "quoted": "quotes a text to work on",
    "numbers": "has several figures to reckon with",
    "relatives": "needs one answer to find the next",
    "possessives": "needs one answer to find the next",
    "of_chain": "needs one answer to find the next",
    "participles": "needs one answer to find the next",
    "ofs": "needs one answer to find the next",
    "both": "compares things",
    "heavy": "orders a piece of work",
    "how_to": "asks how to do something",
    "words_wanted": "wants a set length or number",
    "wanted": "sets conditions",
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
    "core:compare": "compares things",
    "core:rank": "compares things",
    "core:must": "sets conditions",
    "core:also": "asks for two things at once",
    "core:logic": "needs reasoning",
    "core:maths": "needs several steps of reckoning",
    "core:me": "depends on the person's situation",
    "turns": "follows up on a larger task",
    "follows": "changes an earlier task",
    "refers": "refers to what was said before",
    "bare": "follows up on a larger task",
}
_ALIASES = {"all": "core", "first": "core"}
_WORDING = {True: "is worded like a quick question", False: "is worded like a larger task"}
_SHAPE = {True: "looks like a quick question", False: "looks like a larger task"}
_FILLERS = {
    True: ("nothing in it asks for more", "one answer settles it", "needs no plan"),
    False: ("no sign that one short answer is enough", "needs more than one step", "deserves a closer look"),
}


def in_words(reading: Reading, by_gram: Mapping[str, float], by_name: Mapping[str, float], *, is_light: bool) -> tuple[str, ...]:
    """The three reasons that spoke most for the decision, strongest first."""
    sign = 1 if is_light else -1
    weights: defaultdict[str, float] = defaultdict(float)
    for name, weight in by_name.items():
        if weight * sign > 0:
            weights[_phrase(name, is_light=is_light)] += weight * sign
    wording = sum(by_gram.values()) * sign
    if wording > 0:
        weights[_telling_word(by_gram, sign) or _WORDING[is_light]] += wording
    strongest = sorted(weights, key=lambda phrase: (-weights[phrase], phrase))
    return tuple(dict.fromkeys((*strongest, *_FILLERS[is_light])))[:3]


def _phrase(name: str, *, is_light: bool) -> str:
    phrases = _LIGHT if is_light else _FULL
    group, _, concept = name.partition(":")
    return phrases.get(name) or phrases.get(f"{_ALIASES.get(group, group)}:{concept}") or _SHAPE[is_light]


def _telling_word(by_gram: Mapping[str, float], sign: int) -> str | None:
    """The word that spoke loudest, if a word did."""
    words = [gram for gram in by_gram if gram.isalpha() and by_gram[gram] * sign > 0]
    return f"says “{max(words, key=lambda word: by_gram[word] * sign)}”" if words else None
