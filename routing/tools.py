# ruff: noqa: E501
"""The one tool that a light question obviously needs, by rules that a person can read."""

import re
from typing import Literal

type Tool = Literal["calculator", "clock", "web_search"]

_UNITS = (
    r"(?:km|kilomet(?:er|re)s?|miles?|kg|kilos?|kilograms?|grams?|pounds?|lbs?|ounces?|oz|cups?|lit(?:er|re)s?|ml|millilit(?:er|re)s?|pints?|quarts?|gallons?|tablespoons?|teaspoons?|"
    r"feet|foot|ft|inch(?:es)?|cm|centimet(?:er|re)s?|mm|met(?:er|re)s?|yards?|acres?|hectares?|celsius|fahrenheit|degrees|kelvin|knots|mph|km/h|horsepower|kilowatts?|hours?|minutes?|seconds?|stones?)"
)
_CALCULATOR = re.compile(
    r"\d\s*(?:[-+*/×÷^%]|\*\*)\s*\(?-?\d|\d\s*(?:plus|minus|times|divided by|over|multiplied by|to the power|squared|cubed|mod|mal|por|fois|per|раз)\b|"
    rf"\d\s*(?:%|percent\b|per cent\b)\s*(?:of|off|tip|von|de|di|от)\b|\b(?:square|cube) root\b|\bhow many (?:times )?{_UNITS} (?:are |is )?(?:in|make)\b|\btip on\b|"
    rf"\d\s*{_UNITS}\s*(?:in|to|into|en|in)\s+{_UNITS}\b|\bconvert\b.*\d|\b(?:average|mean|sum|product) of\s+-?\d|\bfactorial of \d|\bin (?:binary|hex|decimal|roman numerals)\b",
    re.I,
)
_CLOCK = re.compile(
    r"\bwhat(?:'?s| is| are)? (?:the )?(?:current |exact |local )?(?:time|date|day)\b(?! (?:complexity|series|zone))|\bwhat time(?:s)? is it\b|\bwhat day (?:is|of)\b|\btoday'?s date\b|\bdate (?:today|tomorrow)\b|"
    r"\b(?:days|weeks|months|hours|sleeps) (?:until|till|left|to|before|since) |\bhow (?:many|long) .{0,20}\buntil\b|\b(?:time|clock) (?:is it )?in [A-Z]?\w+|\btime ?zone\b|\bwhat (?:year|month|week) is (?:it|this)\b|"
    r"wie sp[äa]t|quelle heure|qué hora|che ore|que horas|который час|сколько времени|几点|何時|몇 시|saat kaç|hoe laat",
    re.I,
)
_SEARCH = re.compile(
    r"\bweather\b|\bforecast\b|\btemperature (?:in|today|tomorrow|outside)\b|\bhow (?:cold|hot|warm) is it\b|\b(?:will|is) it (?:going to )?(?:rain|snow)\w*\b|\bprice\b|\bexchange rate\b|\b(?:share|stock)s? (?:price|market)\b|\b(?:bitcoin|btc|ethereum|nasdaq|dow jones)\b|"
    r"\bnews\b|\bheadlines?\b|\blatest\b|\bcurrent(?:ly)?\b|\bright now\b|\btoday\b|\btonight\b|\btomorrow\b|\bthis (?:week|weekend|month|year|season)\b|\byesterday\b|\blast night\b|\brecent(?:ly)?\b|\bso far\b|\bscore\b|\bstandings\b|"
    r"\bnext (?:match|game|episode|election|holiday|season|full moon)\b|\bupcoming\b|\bopening hours\b|\bopen (?:now|today|on)\b|\b202[4-9]\b|\bair quality\b|\btraffic\b|\bflight status\b|\bwho (?:won|is winning)\b|"
    r"\bwetter\b|\bmétéo\b|\bquel temps\b|\bclima\b|\btempo (?:fa|em)\b|погод|天気|天气|날씨|\bhava durumu\b|\bpogoda\b|\bkurs\b|курс ",
    re.I,
)


def obvious_tool(core: str) -> tuple[Tool, ...]:
    """At most one: sums and units, the clock, or facts that change."""
    if _CALCULATOR.search(core):
        return ("calculator",)
    if _CLOCK.search(core):
        return ("clock",)
    if _SEARCH.search(core):
        return ("web_search",)
    return ()
