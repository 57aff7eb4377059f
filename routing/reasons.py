"""The reasons for a decision, as phrases that readers understand."""

from collections import defaultdict
from collections.abc import Mapping, Set

from django.utils.translation import gettext_noop as _

from routing.lexicon import words_of
from routing.words import concepts_of

# Phrases for features that speak for a path: with a minus if a low value does, else a high one.
_LIGHT = {
    "-size": _("its question is short"),
    "-core_size": _("its question is short"),
    "-longest_ask": _("its question is short"),
    "wrapping": _("is talk around a short question"),
    "-asks": _("asks for one thing"),
    "-joined_asks": _("asks for one thing"),
    "-later_asks": _("asks for one thing"),
    "-orders": _("orders no work"),
    "-heavy": _("orders no work"),
    "-all:make": _("orders no work"),
    "-lines": _("brings no long text"),
    "-material": _("brings no long text"),
    "-items": _("has no list of points"),
    "-code": _("brings no code"),
    "-commas": _("lists nothing"),
    "-ands": _("lists nothing"),
    "-names": _("is about one thing"),
    "-name_words": _("is about one thing"),
    "-nested": _("needs a single step"),
    "-relatives": _("needs a single step"),
    "-possessives": _("needs a single step"),
    "-of_chain": _("needs a single step"),
    "-kin_words": _("needs a single step"),
    "-both": _("compares nothing"),
    "-choice": _("compares nothing"),
    "-core:compare": _("compares nothing"),
    "-words_wanted": _("wants no set length"),
    "-wanted": _("sets no conditions"),
    "-core:must": _("sets no conditions"),
    "-core:depth": _("asks for no depth"),
    "-core:document": _("wants no document"),
    "-core:opinion": _("asks for no advice"),
    "-core:me": _("does not depend on the person's situation"),
    "arithmetic": _("is a calculation"),
    "short_answer": _("wants a short answer"),
    "ends_asking": _("is a plain question"),
    "questions": _("is a plain question"),
    "yes_no": _("can be answered yes or no"),
    "first:aux": _("can be answered yes or no"),
    "core:fact": _("asks for one fact"),
    "core:who": _("asks for one fact"),
    "core:when": _("asks for one fact"),
    "core:where": _("asks for one fact"),
    "core:what": _("asks for one fact"),
    "core:which": _("asks for one fact"),
    "core:quantity": _("asks for one figure"),
    "core:unit": _("is about units"),
    "core:fresh": _("asks for a current fact"),
    "core:small": _("is a small language task"),
    "core:label": _("asks for a label"),
    "core:chat": _("is small talk"),
    "core:bot": _("is about the assistant"),
    "-second_ask": _("asks for one thing"),
    "-core:related": _("needs a single step"),
    "after_light": _("follows a short answer"),
    "goes_on_light": _("follows a short answer"),
    "-earlier_size": _("follows nothing long"),
    "-earlier_heavy": _("follows no larger task"),
    "earlier_asking": _("follows up on a question"),
}
_FULL = {
    "size": _("its request is long"),
    "core_size": _("its request is long"),
    "longest_ask": _("its request is long"),
    "wrapping": _("brings a lot of background"),
    "asks": _("asks for several things"),
    "questions": _("asks several questions"),
    "later_asks": _("asks for several things"),
    "joined_asks": _("asks for two things at once"),
    "core:also": _("asks for two things at once"),
    "sentences": _("takes several sentences to ask"),
    "orders": _("orders a piece of work"),
    "heavy": _("orders a piece of work"),
    "lines": _("brings a longer text"),
    "material": _("brings a longer text"),
    "items": _("has a list of points"),
    "code": _("brings code"),
    "commas": _("lists several things"),
    "ands": _("lists several things"),
    "names": _("names several things"),
    "name_words": _("names several things"),
    "quoted": _("quotes a text to work on"),
    "quoted_size": _("quotes a text to work on"),
    "numbers": _("has several figures to reckon with"),
    "core:maths": _("has several figures to reckon with"),
    "core:logic": _("needs reasoning"),
    "nested": _("needs one answer to find the next"),
    "relatives": _("needs one answer to find the next"),
    "possessives": _("needs one answer to find the next"),
    "of_chain": _("needs one answer to find the next"),
    "participles": _("needs one answer to find the next"),
    "kin_words": _("needs one answer to find the next"),
    "both": _("compares things"),
    "choice": _("compares things"),
    "core:compare": _("compares things"),
    "core:rank": _("compares things"),
    "how_to": _("asks how to do something"),
    "core:why": _("asks for reasons"),
    "what_are": _("asks for more than one fact"),
    "words_wanted": _("wants a set length or number"),
    "wanted": _("sets conditions"),
    "core:must": _("sets conditions"),
    "core:make": _("asks for something to be written"),
    "core:build": _("asks for something to be built"),
    "core:plan": _("asks for a plan"),
    "core:study": _("asks for an analysis"),
    "core:explain": _("asks for an explanation"),
    "core:rework": _("asks for a text to be reworked"),
    "core:role": _("asks for a role to be played"),
    "core:give": _("asks for a collection"),
    "core:document": _("wants a whole document"),
    "core:software": _("is about software"),
    "core:depth": _("asks for depth"),
    "core:opinion": _("asks for advice"),
    "core:me": _("depends on the person's situation"),
    "-ends_asking": _("is not put as a question"),
    "-core:fact": _("asks for no single fact"),
    "second_ask": _("asks for two things at once"),
    "asking": _("asks several questions"),
    "core:related": _("needs one answer to find the next"),
    "core:other": _("needs one answer to find the next"),
    "core:later": _("needs one answer to find the next"),
    "core:rough": _("asks for an estimate"),
    "after_full": _("follows an answer of the team"),
    "goes_on_full": _("follows an answer of the team"),
    "answer_size": _("follows a long answer"),
    "answer_code": _("follows an answer with code"),
    "answer_plan": _("follows a plan"),
    "earlier_size": _("follows up on a larger task"),
    "earlier_heavy": _("follows up on a larger task"),
    "earlier_depth": _("follows up on a larger task"),
    "follows": _("changes an earlier task"),
    "refers": _("refers to what was said before"),
}
_SAME_WORDS = {"all": "core", "first": "core"}
_WORDING = {True: _("is worded like a quick question"), False: _("is worded like a larger task")}
_REST = {
    True: (_("nothing in it asks for more"), _("one answer settles it"), _("needs no plan")),
    False: (
        _("no sign that one short answer is enough"),
        _("may need more than one step"),
        _("deserves a closer look"),
    ),
}
_SAYS = _("says “%(word)s”")
# Reasons that are not the classifier's.
CHOSE_LIGHT = _("you chose the light path")
CHOSE_FULL = _("you chose the full team")
CHOSE_PLAIN = _("a program asks the model alone")
LIGHT_IS_OFF = _("the light path is switched off")
THRESHOLD_SAYS = _("the threshold that is set here says so")
PREFERS_ECONOMY = _("you prefer economy, and one agent may be enough")
PREFERS_QUALITY = _("you prefer quality, and one agent may not be enough")
NO_TEAM = _("the stand-in model has no team")
ONE_CALL = _("asks about one page, which a single call reads")
# Those of decisions in the mode auto in which no threshold had a part, alone.
WITHOUT_THRESHOLD = frozenset((ONE_CALL, NO_TEAM, LIGHT_IS_OFF))
# All reasons that a decision may have, in English. Pages show them in their reader's language.
PHRASES = frozenset(
    (
        *(*_LIGHT.values(), *_FULL.values(), *_WORDING.values(), *_REST[True], *_REST[False]),
        *(_SAYS, CHOSE_LIGHT, CHOSE_FULL, CHOSE_PLAIN, LIGHT_IS_OFF, THRESHOLD_SAYS, NO_TEAM),
        *(ONE_CALL, PREFERS_ECONOMY, PREFERS_QUALITY),
    )
)
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
    if not words:
        return None
    return _SAYS % {"word": max(words, key=lambda word: by_gram[word] * sign)}
