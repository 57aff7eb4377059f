"""The calculator as a tool, and the calculation in a question."""

import re
from fractions import Fraction
from typing import Annotated

from msgspec import Meta

from .expressions import MAX_CHARS, evaluate, read
from .quantities import CannotCalculate, Quantity, decimal_of
from .registry import tool
from .results import ToolFailure
from .sentences import sentence
from .tokens import Token, can_be_part, prepared, tokens_of

SHOWN_DIGITS = 12  # of a number that does not end
EXACT_DECIMALS = 20  # of a number that does
MAX_QUESTION_CHARS = 1000
MAX_OTHER_WORDS = 8  # around a calculation, for the question to be about it
MAX_TOKENS = 60
NOT_CALCULATED = sentence("%(expression)s cannot be calculated: %(reason)s.")


def answer(expression: str) -> str:
    """Return the expression with its value, `12 * 7 = 84`, or raise CannotCalculate."""
    quantity = evaluate(expression)
    number, is_exact = shown(quantity)
    asked = " ".join(expression.split()).rstrip("=? ")
    return f"{asked} {'=' if is_exact else '≈'} {number}"


def shown(quantity: Quantity) -> tuple[str, bool]:
    """Return the number with its unit, and True if these are all its digits."""
    value, suffix = quantity.value, ""
    if quantity.percent:
        value, suffix = value * 100, "%"
    elif quantity.unit:
        value = (value - quantity.unit.zero) / quantity.unit.factor
        suffix = (
            quantity.unit.symbol if quantity.unit.symbol in "%°" else f" {quantity.unit.symbol}"
        )
    digits = all_digits(value) if quantity.exact else None
    return (digits or first_digits(value)) + suffix, digits is not None


def all_digits(value: Fraction) -> str | None:
    """Return the decimal number, or None if it has more than EXACT_DECIMALS decimals."""
    scaled = value * 10**EXACT_DECIMALS
    if scaled.denominator != 1:
        return None
    whole, decimals = divmod(abs(scaled.numerator), 10**EXACT_DECIMALS)
    text = f"{whole}.{decimals:0{EXACT_DECIMALS}}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def first_digits(value: Fraction) -> str:
    text = f"{decimal_of(value):.{SHOWN_DIGITS}g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


# --- In a question --------------------------------------------------------------------------------

_UNIT = (
    "(?:km|kilomet(?:er|re)s?|miles?|feet|foot|ft|inch(?:es)?|cm|centimet(?:er|re)s?|mm"
    "|met(?:er|re)s?|yards?|kg|kilos?|kilograms?|grams?|pounds?|lbs?|ounces?|oz|stones?|cups?"
    "|lit(?:er|re)s?|ml|millilit(?:er|re)s?|pints?|quarts?|gallons?|tablespoons?|teaspoons?|acres?"
    "|hectares?|celsius|fahrenheit|degrees|kelvin|knots|mph|km/h|horsepower|kilowatts?|hours?"
    "|minutes?|seconds?)"
)
_PHRASES = re.compile(
    "|".join(
        (
            r"\d\s*(?:[-+*/×÷^%]|\*\*)\s*\(?-?\d",
            r"\d\s*(?:plus|minus|times|divided by|over|multiplied by|to the power|squared|cubed"
            r"|mod|mal|por|fois|per|раз)\b",
            r"\d\s*(?:%|percent\b|per cent\b)\s*(?:of|off|tip|von|de|di|от)\b",
            r"\b(?:square|cube) root\b",
            r"\btip on\b",
            rf"\bhow many (?:times )?{_UNIT} (?:are |is )?(?:in|make)\b",
            rf"\d\s*{_UNIT}\s*(?:in|to|into|en)\s+{_UNIT}\b",
            r"\bconvert\b.*\d",
            r"\b(?:average|mean|sum|product) of\s+-?\d",
            r"\bfactorial of \d",
            r"\bin (?:binary|hex|decimal|roman numerals)\b",
        )
    ),
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"\bhow (?:many|much) (?P<unit>[^\W\d][\w /°]{0,25}?) (?:are there |are |is |does "
    r"|do )?(?:there )?(?:in |make |makes? up |equal )?"
    r"(?P<amount>an? |one |[\d.,]+ ?)(?P<of>[^\W\d][\w /°]{0,25}?)(?: have| contain| equal"
    r"| make)?\s*(?:[?.!]|$)",
    re.IGNORECASE,
)
_WHAT_PERCENT = re.compile(
    r"\bwhat (?:percent|percentage|%) of (?P<whole>[\d.,]+) is (?P<part>[\d.,]*\d)|"
    r"\b(?P<part2>[\d.,]+) is what (?:percent|percentage|%) of (?P<whole2>[\d.,]*\d)"
    r"|\b(?P<part3>[\d.,]+) as an? (?:percent|"
    r"percentage) of (?P<whole3>[\d.,]*\d)",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b\d{1,2}:\d{2}\b|\b(?:19"
    r"|20)\d\d-(?:\d\d){1,2}\b"
)


def expression_in(question: str) -> str | None:
    """Return the calculation in a question, or None.

    "How much is 15% of 80?" has `15% of 80`.
    """
    if len(question) > MAX_QUESTION_CHARS or _DATE.search(question):
        return None
    text = prepared(question)
    return percentage(text) or conversion(text) or longest(text)


def percentage(text: str) -> str | None:
    match = _WHAT_PERCENT.search(text)
    if match is None:
        return None
    part, whole = (
        (match[f"part{n}"] or "" for n in ("", "2", "3")),
        (match[f"whole{n}"] or "" for n in ("", "2", "3")),
    )
    return calculable(f"{''.join(part)} / {''.join(whole)} to %")


def conversion(text: str) -> str | None:
    """Return `1 quart to millilitres` for "How many millilitres is one quart?"."""
    match = _HOW_MANY.search(text.strip())
    if match is None:
        return None
    amount = match["amount"].strip().lower()
    amount = "1" if amount in {"a", "an", "one"} else amount
    return calculable(f"{amount} {match['of'].strip()} to {match['unit'].strip()}")


def calculable(expression: str) -> str | None:
    try:
        evaluate(expression)
    except CannotCalculate:
        return None
    return expression


def longest(text: str) -> str | None:
    """Return the longest run of tokens that calculates something, if the rest is talk."""
    try:
        tokens = tokens_of(text)
    except CannotCalculate:
        return None
    tokens = [token for token in tokens if token.kind != "other"]
    if len(tokens) > MAX_TOKENS:
        return None
    for length in range(len(tokens), 1, -1):
        for start in range(len(tokens) - length + 1):
            run = tokens[start : start + length]
            if all(map(can_be_part, run)) and calculates(run):
                rest = tokens[:start] + tokens[start + length :]
                return (
                    calculable(text[run[0].start : run[-1].end].rstrip("= "))
                    if is_all(rest)
                    else None
                )
    return None


def calculates(run: list[Token]) -> bool:
    try:
        return any(token.kind == "number" for token in run) and read(run)[1] > 0
    except CannotCalculate:
        return False


def is_all(rest: list[Token]) -> bool:
    """Return True if the rest is talk: few words, and no number but the one of “in one word”."""
    words = [token for token in rest if token.kind == "word"]
    return len(words) <= MAX_OTHER_WORDS and not any(
        token.kind == "number" and token.text.lower() != "one" for token in rest
    )


def arguments_in(question: str, follows: str) -> dict[str, str] | None:
    expression = expression_in(question)
    return {"expression": expression} if expression and len(expression) <= MAX_CHARS else None


@tool(timeout=2, max_chars=1500, phrases=_PHRASES, from_question=arguments_in)
async def calculator(
    expression: Annotated[
        str,
        Meta(
            description="For example: 12 * 7; 15% of 80; 200 + 10%; sqrt(2) * 3^4; 5 ft 11 in to"
            " cm; 72 °F in °C; 100 km / 2 h in mph",
            min_length=1,
            max_length=MAX_CHARS,
        ),
    ],
) -> str:
    """Calculate exactly: arithmetic, percentages, powers, roots, logarithms, trigonometry (radians
    unless °), and units of length, area, volume, mass, time, speed, temperature, pressure, energy,
    power and data. No currencies, no variables."""
    try:
        return answer(expression)
    except CannotCalculate as exc:
        raise ToolFailure(
            NOT_CALCULATED % {"expression": repr(expression), "reason": exc},
            advice="Write it with numbers, signs and units only.",
        ) from exc
