"""The calculator as a tool."""

from fractions import Fraction
from typing import Annotated

from msgspec import Meta

from .calculations import arguments_in
from .expressions import MAX_CHARS, evaluate
from .quantities import CannotCalculate, Quantity, decimal_of
from .registry import tool
from .results import ToolFailure
from .sentences import sentence

SHOWN_DIGITS = 12  # of a number that does not end
EXACT_DECIMALS = 20  # of a number that does
NOT_CALCULATED = sentence("%(expression)s cannot be calculated: %(reason)s.")
# Symbols of units that are words, with a plural.
WORDS = frozenset({"day", "week", "month", "year", "cup", "acre", "ton"})


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
        suffix = suffix_of(quantity.unit.symbol, value)
    digits = all_digits(value) if quantity.exact else None
    return (digits or first_digits(value)) + suffix, digits is not None


def suffix_of(symbol: str, value: Fraction) -> str:
    if symbol in "%°":
        return symbol
    return f" {symbol}s" if symbol in WORDS and value != 1 else f" {symbol}"


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


@tool(timeout=2, max_chars=1500, from_question=arguments_in)
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
