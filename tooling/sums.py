"""Sums as people tell them, as expressions: "40 euros, 25% off" is `40 - 25%`.

A rule is the whole question, but for words of politeness. A question that only holds such words
("Is 25% off a good deal?") has no rule.
"""

import re
from collections.abc import Iterator

MAX_CHARS = 200

# What may stand around a sum.
_BEFORE = re.compile(
    r"\A(?:(?:please|bitte|hey|hi|hello|hallo|ok|okay|so|and|und|now|quick question|by the way"
    r"|(?:can|could|would) you (?:please )?(?:tell me|calculate|compute|work out)"
    r"|(?:kannst|könntest) du (?:mir )?(?:bitte )?(?:sagen|ausrechnen|berechnen)"
    r"|tell me|give me|calculate|compute|work out|find|berechne|rechne|sag mir"
    r"|i need to know|do you know"
    r"|what(?:'?s| is| are| would| do| does| will)?(?: be| make| makes| i pay for)?"
    r"|how (?:much|high|big|large|tall|heavy|far|long|hot|cold|wide) (?:is|are|would be|would|will"
    r" be|do i pay for|does it cost for"
    r"|makes?)|how much"
    r"|was (?:ist|sind|ergibt|ergeben|macht|machen|kostet|kosten|wäre|wären)"
    r"|wie ?viele? (?:ist|sind|ergibt|ergeben|macht|machen|kostet|kosten|zahle ich (?:für|bei))"
    r"|wie (?:hoch|groß) (?:ist|sind|wäre))\b[:,]?\s+)+",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"(?:[,\s]+(?:please|bitte|thanks?|thank you|danke|equals?|in total|insgesamt|exactly|genau"
    r"|right now|quickly))*[\s?.!=:]*$",
    re.IGNORECASE,
)

_DIGITS = r"(?:\d[\d.,'’]*\d|\d)"
_CURRENCY = (
    r"(?:[$€£¥]|euros?|eur|dollars?|usd|bucks|pounds?|gbp|quid|franken|francs?|chf|yen|cents?)"
)


def numbers_of(names: dict[int, str]) -> dict[str, int]:
    """Return the number of each name. `names` has those of a number with blanks between them."""
    return {name: number for number, named in names.items() for name in named.split()}


_COUNTS = numbers_of(
    {
        2: "two zwei",
        3: "three drei",
        4: "four vier",
        5: "five fünf",
        6: "six sechs",
        7: "seven sieben",
        8: "eight acht",
        9: "nine neun",
        10: "ten zehn",
    }
)
_ORDINALS = numbers_of(
    {
        3: "third 3rd cube cubic dritte 3. kubik",
        4: "fourth 4th vierte 4.",
        5: "fifth 5th fünfte 5.",
        6: "sixth 6th sechste 6.",
        7: "seventh 7th siebte 7.",
        8: "eighth 8th achte 8.",
        9: "ninth 9th neunte 9.",
        10: "tenth 10th zehnte 10.",
    }
)
_PARTS = numbers_of(
    {
        2: "half halves hälfte",
        3: "third thirds drittel",
        4: "quarter quarters fourth fourths viertel",
        5: "fifth fifths fünftel",
        6: "sixth sixths sechstel",
        8: "eighth eighths achtel",
        10: "tenth tenths zehntel",
    }
)
_MULTIPLES = {
    "double": 2,
    "twice": 2,
    "triple": 3,
    "thrice": 3,
    "doppelte": 2,
    "dreifache": 3,
    "vierfache": 4,
}


def names_of(values: dict[str, int]) -> str:
    return "|".join(map(re.escape, values))


# What the capitals in a rule stand for. A, B: a number or an amount of money, P: a percentage.
_SLOTS = {
    "A": rf"{_CURRENCY}?\s?(?P<a>{_DIGITS})(?:\s?{_CURRENCY}(?!\w))?",
    "B": rf"{_CURRENCY}?\s?(?P<b>{_DIGITS})(?:\s?{_CURRENCY}(?!\w))?",
    "P": rf"(?:an? |the |einem |einer |ein |eine |den |die )?(?P<p>{_DIGITS})\s?(?:%|percent|per"
    rf" cent"
    r"|pct|prozent)(?:igen?|iger)?",
    "COUNT": rf"(?P<count>\d{{1,6}}|{names_of(_COUNTS)})",
    "ORDINAL": rf"(?P<ordinal>{names_of(_ORDINALS)})",
    "PART": rf"(?P<part>{names_of(_PARTS)})",
    "TIMES": rf"(?P<times>{names_of(_MULTIPLES)})",
    "OFF": r"(?:off|discount|reduction|rabatt|nachlass|skonto|ermäßigung|reduced|cheaper"
    r"|reduziert|günstiger)",
    "TIP": r"(?:tip|gratuity|trinkgeld)",
    "TAX": r"(?:vat|value added tax|sales tax|tax|gst|mwst\.?|mehrwertsteuer|ust\.?|umsatzsteuer)",
    "BILL": r"(?:(?: (?:bill|check|dinner|lunch|meal|restaurant bill|dinner bill|rechnung"
    r"|total))?)",
    "PEOPLE": r"(?:people|persons|friends|of us|ways?|guests|parts|personen|leuten?|freunden?"
    r"|köpfe|gäste|teile)",
    "PERCENTAGE": r"(?:percent|per cent|percentage|%|prozent)",
    "LIST": rf"(?P<list>-?{_DIGITS}(?:(?:, and |, | and |; | und )-?{_DIGITS})+)",
}
_RULES = [
    # Less a discount
    (r"A,? (?:(?:with|at|and|minus|less|after|mit|bei|nach|abzüglich) )?P OFF", "{a} - {p}%"),
    (r"P OFF(?: (?:of|on|from|auf|von|bei))?(?: (?:a|an|the|einen?|den))? A", "{a} - {p}%"),
    (
        r"(?:an?|the|my|this|eine?|die|der|das) [^\d?!.]{1,40} (?:costs?|is|kostet|kosten)(?:"
        r" usually"
        r"| normally| normalerweise)? A(?:,| and| but| und)*(?: (?:is|are|it is|it's|i get|there is"
        r"|there's|now|ist|sind|es gibt|jetzt|um))* P OFF[.,;!]? (?:so )?(?:how much|what|wie ?viel"
        r"|was)[^\d?]{1,30}(?:pay|cost|price|zahle|bezahle|kostet|preis)[^\d?]{0,25}",
        "{a} - {p}%",
    ),
    (r"A (?:minus|less|abzüglich) P", "{a} - {p}%"),
    (r"A (?:plus|and|und) P", "{a} + {p}%"),
    # A tip
    (r"P TIP(?: (?:on|of|for|auf|bei|von))?(?: (?:a|an|the|eine|einer|die))? ABILL", "{p}% of {a}"),
    (r"TIP (?:of )?P (?:on|for|auf|bei)(?: (?:a|an|the|eine|einer))? ABILL", "{p}% of {a}"),
    (
        r"(?:should i |do i |to )?tip(?: on| for)(?: (?:a|an|the))? ABILL (?:at|with) P",
        "{p}% of {a}",
    ),
    (r"ABILL (?:plus|with|and|mit|und|zuzüglich|zzgl\.?) P (?:TIP|TAX)", "{a} + {p}%"),
    # With and without a tax
    (r"add P (?:TIP |TAX )?to A", "{a} + {p}%"),
    (
        r"A (?:without|before|minus|less|excluding|excl\.?|net of|ohne|abzüglich|abzgl\.?) P TAX",
        "{a} / (1 + {p}%)",
    ),
    (r"(?:remove|subtract|take|deduct)(?: off)? P TAX (?:from|off|out of) A", "{a} / (1 + {p}%)"),
    (r"P TAX (?:aus|von) A (?:heraus|raus)(?:rechnen|gerechnet)", "{a} / (1 + {p}%)"),
    (
        r"TAX (?:is |are |ist |steckt )?(?:there |contained |included |enthalten )?in A (?:at|with"
        r"|bei"
        r"|mit) P",
        "{a} - {a} / (1 + {p}%)",
    ),
    (
        r"wie ?viel TAX (?:ist|steckt|sind) in A (?:bei|mit) P",
        "{a} - {a} / (1 + {p}%)",
    ),
    (r"P TAX (?:on|of|auf|für) A", "{p}% of {a}"),
    # Shared by people
    (
        r"(?:split|divide|share)(?: up)?(?: (?:a|an|the))?(?: bill of| total of)? ABILL(?: equally"
        r"| evenly)?(?: (?:between|among|amongst|by|into|for|with))? COUNT(?: PEOPLE)?(?: equally"
        r"| evenly)?",
        "{a} / {count}",
    ),
    (
        r"(?:split|divide|share)(?: (?:a|an|the))?(?: bill of)? ABILL(?: (?:between|among|by|for))?"
        r" COUNT(?: PEOPLE)?,? (?:with|plus|including|and) P TIP",
        "({a} + {p}%) / {count}",
    ),
    (
        r"ABILL(?: (?:divided|split|shared))?(?: equally| evenly)? (?:between|among|amongst|by"
        r"|durch"
        r"|auf|unter|für) COUNT PEOPLE(?: (?:auf|ver)?(?:teilen|teilt|geteilt))?",
        "{a} / {count}",
    ),
    (r"A geteilt durch COUNT(?: PEOPLE)?", "{a} / {count}"),
    (
        r"(?:does |do |must |should )?each (?:person |one |of us |friend )?(?:pays?|owes?|gets?)(?:"
        r" if"
        r"| when) COUNT PEOPLE (?:split|share|divide)(?: (?:a|an|the))?(?: bill of| total of|"
        r" dinner"
        r" of)? ABILL",
        "{a} / {count}",
    ),
    (
        r"(?:if|when) COUNT PEOPLE (?:split|share|divide)(?: (?:a|an|the))?(?: bill of| total of)?"
        r" ABILL,? (?:how much|what) (?:does|do|must|should) each(?: person| one| of us| of them)?"
        r" (?:pay|owe|get)",
        "{a} / {count}",
    ),
    (
        r"(?:wie ?viel |was )?(?:zahlt|bezahlt|bekommt) jeder,? wenn (?:wir |sich )?(?:zu )?COUNT"
        r" PEOPLE(?: sich)?(?: eine rechnung von)? A teilen",
        "{a} / {count}",
    ),
    # In percent
    (r"(?:what )?PERCENTAGE of B is A", "{a} / {b} to %"),
    (r"(?:what )?PERCENTAGE is A (?:out )?of B", "{a} / {b} to %"),
    (r"A is (?:what|how many) PERCENTAGE of B", "{a} / {b} to %"),
    (r"A (?:out )?(?:of|von) B (?:as an?|in|to|into) PERCENTAGE", "{a} / {b} to %"),
    (r"A as an? PERCENTAGE of B", "{a} / {b} to %"),
    (r"wie ?viele? prozent (?:sind|ist|machen) A von B(?: aus)?", "{a} / {b} to %"),
    (r"wie ?viele? prozent von B (?:sind|ist) A", "{a} / {b} to %"),
    (r"A (?:sind|ist) wie ?viele? prozent von B", "{a} / {b} to %"),
    (
        r"(?:the )?PERCENTAGE (?:change|increase|decrease|rise|growth|drop|gain|loss)(?: when"
        r" going)?"
        r" from A to B",
        "({b} - {a}) / {a} to %",
    ),
    (
        r"(?:die )?prozentuale (?:veränderung|änderung|steigerung|zunahme|abnahme) von A (?:auf|zu)"
        r" B",
        "({b} - {a}) / {a} to %",
    ),
    (
        r"A (?:increased|raised|up|erhöht|gesteigert|vermehrt)(?: by| um) P || (?:increase|raise) A"
        r" by P",
        "{a} + {p}%",
    ),
    (
        r"A (?:decreased|reduced|lowered|down|reduziert|verringert|vermindert|gesenkt)(?: by| um) P"
        r" || (?:decrease|reduce|lower) A by P",
        "{a} - {p}%",
    ),
    (r"P (?:von|vom|of|from) A", "{p}% of {a}"),
    # Powers, roots, parts and multiples
    (
        r"(?:the )?(?:square|second power) of A || A (?:zum )?quadrat || (?:das )?quadrat von A",
        "{a}^2",
    ),
    (r"(?:the )?(?:cube|third power) of A", "{a}^3"),
    (r"A hoch B", "{a}^{b}"),
    (r"A to the ORDINAL(?: power)?", "{a}^{ordinal}"),
    (r"(?:die |the )?(?:quadratwurzel|wurzel|square root|root) (?:aus|von|of) A", "√{a}"),
    (r"(?:die |the )?ORDINAL ?(?:root|wurzel) (?:of|aus|von) A", "{a}^(1/{ordinal})"),
    (r"(?:a |one |die |ein )?PART (?:of|von) A", "{a} / {part}"),
    (r"COUNT[ -]PART (?:of|von) A", "{count} / {part} * {a}"),
    (r"(?:the |das )?TIMES (?:of |von )?A", "{times} * {a}"),
    # Operations by name
    (r"add A (?:and|to|plus) B || addiere A und B", "{a} + {b}"),
    (r"subtract A from B || ziehe A von B ab", "{b} - {a}"),
    (r"multiply A (?:by|and|with|times) B || multipliziere A (?:mit|und) B", "{a} * {b}"),
    (r"divide A by B || (?:dividiere|teile) A durch B", "{a} / {b}"),
    (r"(?:the )?difference (?:between|of) A and B", "{a} - {b}"),
    (
        r"(?:the )?remainder (?:of|when|if|for)?(?: you)? ?(?:divide |dividing )?A (?:is"
        r" )?(?:divided )?by"
        r" B || (?:der )?rest (?:von|bei) A (?:geteilt )?durch B",
        "{a} mod {b}",
    ),
    (r"A factorial || (?:die )?fakultät von A", "{a}!"),
    (r"(?:the |die )?(?:sum|total|summe)(?: of| von)(?: the numbers)? LIST", "sum({list})"),
    (
        r"(?:the |der |den )?(?:average|mean|durchschnitt|mittelwert)(?: of| von)(?: the numbers)?"
        r" LIST",
        "mean({list})",
    ),
    (r"(?:the |das )?(?:product|produkt)(?: of| von) LIST", "{product}"),
    # Feet and inches without the second unit
    (
        r"(?:tall is |high is |long is |groß sind )?(?P<a>\d{1,3}) ?(?:'|′|ft|foot|feet|fuß)"
        r" ?(?P<b>\d{1,2})(?: ?(?:\"|″|'')| ?inch(?:es)?| in)? (?:in|to|into) (?P<unit>cm|m"
        r"|centimet(?:er"
        r"|re)s?|zentimetern?|met(?:er|re)s?|metern?)",
        "{a} ft {b} in to {unit}",
    ),
]
_SLOT = re.compile(rf"(?<!\(\?)(?:{'|'.join(sorted(_SLOTS, key=len, reverse=True))})")
RULES = [
    (re.compile(_SLOT.sub(lambda slot: _SLOTS[slot[0]], part), re.IGNORECASE), expression)
    for rule, expression in _RULES
    for part in rule.split(" || ")
]


def told_sums(question: str) -> Iterator[str]:
    """Yield the expressions that the question may be about. Not all can be calculated."""
    if len(question) > MAX_CHARS:
        return
    whole = " ".join(question.replace("’", "'").split()).lstrip("¿¡ ")
    whole = _AFTER.sub("", whole)
    bare = _BEFORE.sub("", whole, count=1)
    for text in dict.fromkeys((whole, bare)):
        for rule, expression in RULES:
            if match := rule.fullmatch(text):
                yield expression.format_map(values_of(match))


def values_of(match: re.Match[str]) -> dict[str, object]:
    """Return what the rule's expression is written with."""
    found: dict[str, object] = {
        name: value for name, value in match.groupdict().items() if value is not None
    }
    for name, numbers in (
        ("count", _COUNTS),
        ("ordinal", _ORDINALS),
        ("part", _PARTS),
        ("times", _MULTIPLES),
    ):
        if word := match.groupdict().get(name):
            found[name] = numbers.get(word.lower(), word)
    if listed := match.groupdict().get("list"):
        numbers_listed = re.split(r", and |, | and |; | und ", listed)
        found["list"] = "; ".join(numbers_listed)
        found["product"] = " * ".join(numbers_listed)
    return found
