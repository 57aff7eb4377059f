"""The one tool that a light question obviously needs, by rules that a person can read."""

import re
from typing import Literal

type Tool = Literal["calculator", "clock", "web_search"]


def _any(*alternatives: str) -> str:
    return f"(?:{'|'.join(alternatives)})"


_UNIT = _any(
    *(
        "km",
        "kilomet(?:er|re)s?",
        "miles?",
        "feet",
        "foot",
        "ft",
        "inch(?:es)?",
        "cm",
        "centimet(?:er|re)s?",
        "mm",
        "met(?:er|re)s?",
        "yards?",
    ),
    *(
        "kg",
        "kilos?",
        "kilograms?",
        "grams?",
        "pounds?",
        "lbs?",
        "ounces?",
        "oz",
        "stones?",
        "cups?",
        "lit(?:er|re)s?",
        "ml",
        "millilit(?:er|re)s?",
    ),
    *(
        "pints?",
        "quarts?",
        "gallons?",
        "tablespoons?",
        "teaspoons?",
        "acres?",
        "hectares?",
        "celsius",
        "fahrenheit",
        "degrees",
        "kelvin",
    ),
    *("knots", "mph", "km/h", "horsepower", "kilowatts?", "hours?", "minutes?", "seconds?"),
)
_CALCULATOR = re.compile(
    _any(
        r"\d\s*(?:[-+*/×÷^%]|\*\*)\s*\(?-?\d",
        r"\d\s*(?:plus|minus|times|divided by|over|multiplied by|to the power|squared|cubed|mod|mal|por|fois|per|раз)\b",
        r"\d\s*(?:%|percent\b|per cent\b)\s*(?:of|off|tip|von|de|di|от)\b",
        r"\b(?:square|cube) root\b",
        r"\btip on\b",
        rf"\bhow many (?:times )?{_UNIT} (?:are |is )?(?:in|make)\b",
        rf"\d\s*{_UNIT}\s*(?:in|to|into|en)\s+{_UNIT}\b",
        r"\bconvert\b.*\d",
        r"\b(?:average|mean|sum|product) of\s+-?\d",
        r"\bfactorial of \d",
        r"\bin (?:binary|hex|decimal|roman numerals)\b",
    ),
    re.I,
)
_CLOCK = re.compile(
    _any(
        r"\bwhat(?:'?s| is| are)? (?:the )?(?:current |exact |local )?(?:time|date|day)\b(?! (?:complexity|series|zone))",
        r"\bwhat times? is it\b",
        r"\bwhat day (?:is|of)\b",
        r"\btoday'?s date\b",
        r"\bdate (?:today|tomorrow)\b",
        r"\b(?:days|weeks|months|hours|sleeps) (?:until|till|left|to|before|since) ",
        r"\bhow (?:many|long) .{0,20}\buntil\b",
        r"\b(?:time|clock) (?:is it )?in \w+",
        r"\btime ?zone\b",
        r"\bwhat (?:year|month|week) is (?:it|this)\b",
        *(
            "wie sp[äa]t",
            "quelle heure",
            "qué hora",
            "che ore",
            "que horas",
            "который час",
            "сколько времени",
            "几点",
            "何時",
            "몇 시",
            "saat kaç",
            "hoe laat",
        ),
    ),
    re.I,
)
_WEB_SEARCH = re.compile(
    _any(
        r"\bweather\b",
        r"\bforecast\b",
        r"\btemperature (?:in|today|tomorrow|outside)\b",
        r"\bhow (?:cold|hot|warm) is it\b",
        r"\b(?:will|is) it (?:going to )?(?:rain|snow)\w*\b",
        r"\b(?:price|exchange rate|nasdaq|dow jones|bitcoin|btc|ethereum|news|headlines?|score|standings)\b",
        r"\b(?:share|stock)s? (?:price|market)\b",
        r"\b(?:latest|current(?:ly)?|right now|today|tonight|tomorrow|yesterday|last night|recent(?:ly)?|so far|upcoming)\b",
        r"\bthis (?:week|weekend|month|year|season)\b",
        r"\bnext (?:match|game|episode|election|holiday|season|full moon)\b",
        r"\b(?:opening hours|open (?:now|today|on)|air quality|traffic|flight status|who (?:won|is winning))\b",
        r"\b20(?:2[4-9]|3\d)\b",
        *(
            "wetter\\b",
            "météo",
            "quel temps",
            "\\bclima\\b",
            "\\btempo (?:fa|em)",
            "погод",
            "天気",
            "天气",
            "날씨",
            "hava durumu",
            "pogoda",
            "курс ",
        ),
    ),
    re.I,
)


def obvious_tool(core: str) -> tuple[Tool, ...]:
    """At most one: for sums and units, for the time, or for facts that change."""
    if _CALCULATOR.search(core):
        return ("calculator",)
    if _CLOCK.search(core):
        return ("clock",)
    if _WEB_SEARCH.search(core):
        return ("web_search",)
    return ()
