"""Exact numbers with units: their arithmetic, and the limits of what is calculated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction

from .units import PI, PLAIN, Dimension, Unit

MAX_BITS = 3400  # of a number: a thousand digits
MAX_FACTORIAL = 400
_PRECISE = Context(prec=60, Emax=5000, Emin=-5000)


class CannotCalculate(Exception):
    """Raised for a text that is no expression, or one that has no result here."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact or nearly exact number of base units, and the unit in which it is shown."""

    value: Fraction
    unit: Unit | None = None
    exact: bool = True
    percent: bool = False

    @property
    def dimension(self) -> Dimension:
        return self.unit.dimension if self.unit else PLAIN

    @property
    def has_zero(self) -> bool:
        """True for a temperature on a scale, which can be converted but not added."""
        return self.unit is not None and self.unit.zero != 0


# --- Arithmetic -----------------------------------------------------------------------------------


def checked(quantity: Quantity) -> Quantity:
    """Return the quantity, rounded if it is long. Raise CannotCalculate if it is whole."""
    if (
        max(quantity.value.numerator.bit_length(), quantity.value.denominator.bit_length())
        > MAX_BITS
    ):
        if quantity.exact and quantity.value.denominator == 1:
            raise CannotCalculate("the result has more than a thousand digits")
        return Quantity(Fraction(decimal_of(quantity.value)), quantity.unit, exact=False)
    return quantity


def added(left: Quantity, right: Quantity, sign: int) -> Quantity:
    if right.percent and not left.percent:
        return Quantity(
            left.value * (1 + sign * right.value), left.unit, left.exact and right.exact
        )
    if left.has_zero or right.has_zero:
        raise CannotCalculate("temperatures can be converted, not added")
    if left.dimension != right.dimension:
        raise CannotCalculate(f"{name(left)} and {name(right)} cannot be added")
    unit = left.unit if left.unit and right.unit else kept(left.unit)
    return Quantity(
        left.value + sign * right.value,
        unit,
        left.exact and right.exact,
        left.percent and right.percent,
    )


def multiplied(left: Quantity, right: Quantity) -> Quantity:
    check_scales(left, right)
    unit = left.unit.times(right.unit) if left.unit and right.unit else left.unit or right.unit
    return Quantity(left.value * right.value, kept(unit), left.exact and right.exact)


def divided(left: Quantity, right: Quantity) -> Quantity:
    check_scales(left, right)
    if not right.value:
        raise CannotCalculate("division by zero")
    unit = (left.unit or _ONE).per(right.unit) if right.unit else left.unit
    return Quantity(left.value / right.value, kept(unit), left.exact and right.exact)


def raised(base: Quantity, exponent: Quantity) -> Quantity:
    check_scales(base, exponent)
    if exponent.unit:
        raise CannotCalculate("an exponent is a plain number")
    power = exponent.value
    if power.denominator == 1:
        return whole_power(base, int(power))
    if base.unit:
        raise CannotCalculate("a root of a measure is not known here")
    if power.denominator <= 100 and (exact := root(base, power.denominator)).exact:
        return whole_power(exact, power.numerator)
    return near_power(base, power)


def whole_power(base: Quantity, power: int) -> Quantity:
    if not base.value and power < 0:
        raise CannotCalculate("division by zero")
    if abs(base.value) in {0, 1} and not base.unit:
        return Quantity(base.value ** (power % 2 or 2 * bool(power)), exact=base.exact)
    size = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
    if abs(power) * size <= 2 * MAX_BITS:
        return Quantity(
            base.value**power, kept(base.unit.power(power)) if base.unit else None, base.exact
        )
    if base.unit or (base.value.denominator == 1 and base.exact and power > 0):
        raise CannotCalculate("the result has more than a thousand digits")
    return near_power(base, Fraction(power))


def near_power(base: Quantity, power: Fraction) -> Quantity:
    if base.value <= 0:
        raise CannotCalculate("a number that is not positive has no such power here")
    return Quantity(
        Fraction(_PRECISE.power(decimal_of(base.value), decimal_of(power))), exact=False
    )


def remainder(left: Quantity, right: Quantity) -> Quantity:
    if left.dimension != right.dimension:
        raise CannotCalculate(f"{name(left)} and {name(right)} cannot be divided with a remainder")
    if not right.value:
        raise CannotCalculate("division by zero")
    return Quantity(left.value % right.value, left.unit, left.exact and right.exact)


def converted(quantity: Quantity, unit: Unit) -> Quantity:
    if quantity.dimension != unit.dimension:
        raise CannotCalculate(f"{name(quantity)} cannot be converted to {unit.symbol}")
    return Quantity(quantity.value, unit, quantity.exact)


def check_scales(left: Quantity, right: Quantity) -> None:
    if left.has_zero or right.has_zero:
        raise CannotCalculate("temperatures can be converted, not multiplied")


def kept(unit: Unit | None) -> Unit | None:
    return unit if unit and (unit.dimension != PLAIN) else None


def name(quantity: Quantity) -> str:
    return quantity.unit.symbol if quantity.unit else "a plain number"


_ONE = Unit("1", Fraction(1), PLAIN)
PERCENT = Unit("%", Fraction(1, 100), PLAIN)


# --- Functions ------------------------------------------------------------------------------------


def near(function: Callable[[float], float]) -> Callable[[Quantity], Quantity]:
    def applied(quantity: Quantity) -> Quantity:
        # 14 places: sin(pi) is 0, not the noise behind it.
        return Quantity(Fraction(repr(round(function(float(quantity.value)), 14))), exact=False)

    return applied


def tangent(angle: float) -> float:
    if abs(math.cos(angle)) < 1e-15:
        raise CannotCalculate("there is no tangent of a right angle")
    return math.tan(angle)


def precisely(function: Callable[[Decimal], Decimal]) -> Callable[[Quantity], Quantity]:
    def applied(quantity: Quantity) -> Quantity:
        return Quantity(Fraction(function(decimal_of(quantity.value))), exact=False)

    return applied


def decimal_of(value: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def root(quantity: Quantity, degree: int) -> Quantity:
    if quantity.unit:
        raise CannotCalculate("a root of a measure is not known here")
    value = quantity.value
    if value < 0 and degree % 2 == 0:
        raise CannotCalculate("the root of a negative number is not real")
    sign, value = (-1, -value) if value < 0 else (1, value)
    parts = [whole_root(part, degree) for part in (value.numerator, value.denominator)]
    if None not in parts:
        return Quantity(Fraction(sign * (parts[0] or 0), parts[1] or 1), exact=quantity.exact)
    return Quantity(
        sign * Fraction(_PRECISE.power(decimal_of(value), _PRECISE.divide(1, degree))), exact=False
    )


def whole_root(number: int, degree: int) -> int | None:
    """Return the whole root of the number, or None."""
    root = int(_PRECISE.power(Decimal(number), _PRECISE.divide(1, degree)).to_integral_value())
    if degree == 2:
        root = math.isqrt(number)
    return root if root**degree == number else None


def factorial(quantity: Quantity) -> Quantity:
    if quantity.value.denominator != 1 or not 0 <= quantity.value <= MAX_FACTORIAL:
        raise CannotCalculate(f"a factorial needs a whole number up to {MAX_FACTORIAL}")
    return Quantity(Fraction(math.factorial(int(quantity.value))))


def rounded(quantity: Quantity, places: Quantity | None = None) -> Quantity:
    digits = int(places.value) if places else 0
    if abs(digits) > 50:
        raise CannotCalculate("that is too many places")
    shift = Fraction(10) ** digits
    half_up = math.floor(abs(quantity.value) * shift + Fraction(1, 2))
    return Quantity(Fraction(half_up) / shift * (1 if quantity.value >= 0 else -1))


def log(quantity: Quantity, base: Quantity | None = None) -> Quantity:
    if base is None:
        return exact_power_of(10, quantity) or precisely(_PRECISE.log10)(quantity)
    if (
        base.value.denominator == 1
        and base.value > 1
        and (exact := exact_power_of(int(base.value), quantity))
    ):
        return exact
    return Quantity(
        Fraction(
            _PRECISE.divide(
                _PRECISE.ln(decimal_of(quantity.value)), _PRECISE.ln(decimal_of(base.value))
            )
        ),
        exact=False,
    )


def exact_power_of(base: int, quantity: Quantity) -> Quantity | None:
    number, exponent = quantity.value, 0
    if number <= 0:
        raise CannotCalculate("the logarithm of a number that is not positive does not exist")
    while number.denominator == 1 and number % base == 0:
        number, exponent = number / base, exponent + 1
    return Quantity(Fraction(exponent)) if number == 1 else None


UNARY: dict[str, Callable[[Quantity], Quantity]] = {
    "sqrt": lambda q: root(q, 2),
    "cbrt": lambda q: root(q, 3),
    "abs": lambda q: Quantity(abs(q.value), q.unit, q.exact),
    "floor": lambda q: Quantity(Fraction(math.floor(q.value))),
    "ceil": lambda q: Quantity(Fraction(math.ceil(q.value))),
    "factorial": factorial,
    "ln": precisely(_PRECISE.ln),
    "exp": precisely(_PRECISE.exp),
    "log2": lambda q: log(q, Quantity(Fraction(2))),
    "log10": lambda q: log(q),
    "sin": near(math.sin),
    "cos": near(math.cos),
    "tan": near(tangent),
    "asin": near(math.asin),
    "acos": near(math.acos),
    "atan": near(math.atan),
    "sinh": near(math.sinh),
    "cosh": near(math.cosh),
    "tanh": near(math.tanh),
}


def pick(which: Callable[..., Quantity]) -> Callable[..., Quantity]:
    def picked(*quantities: Quantity) -> Quantity:
        if len({quantity.dimension for quantity in quantities}) > 1:
            raise CannotCalculate("these are not of one kind")
        return which(quantities, key=lambda quantity: quantity.value)

    return picked


def whole(function: Callable[..., int]) -> Callable[..., Quantity]:
    def applied(*quantities: Quantity) -> Quantity:
        if any(quantity.value.denominator != 1 for quantity in quantities):
            raise CannotCalculate("whole numbers are needed")
        return Quantity(Fraction(function(*(int(quantity.value) for quantity in quantities))))

    return applied


def mean_of(*quantities: Quantity) -> Quantity:
    # Among other numbers 10% is 0.1, not a tenth more.
    is_percent = all(quantity.percent for quantity in quantities)
    total = replace(quantities[0], percent=is_percent)
    for quantity in quantities[1:]:
        total = added(total, replace(quantity, percent=is_percent), 1)
    return replace(total, value=total.value / len(quantities))


def sum_of(*quantities: Quantity) -> Quantity:
    mean = mean_of(*quantities)
    return replace(mean, value=mean.value * len(quantities))


LISTS: dict[str, Callable[..., Quantity]] = {
    "min": pick(min),
    "max": pick(max),
    "gcd": whole(math.gcd),
    "lcm": whole(math.lcm),
    "mean": mean_of,
    "average": mean_of,
    "avg": mean_of,
    "round": rounded,
    "log": log,
    "sum": sum_of,
}
PLAIN_LISTS = {"gcd", "lcm", "round", "log"}  # without units

CONSTANTS = {"pi": PI, "π": PI, "e": Fraction(Decimal(1).exp(_PRECISE)), "tau": 2 * PI}
