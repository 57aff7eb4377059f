"""A small grammar for calculations, as people write them. Nothing is evaluated but this.

result  = sum { ("to" | "in") unit } ["="]
sum     = product { ("+" | "-") product }       a percentage is of the left side: 200 + 10% = 220
product = signed { ("*" | "/" | "mod" | "of" | "off") signed | factor }      17 % 5 is 17 mod 5
signed  = ("-" | "+") signed | power
power   = measure ["^" signed]
measure = atom { "million" … } { "!" | "%" } [unit]
atom    = number | constant | function "(" sum { "," sum } ")" | "(" sum ")" | "√" measure
"""

from fractions import Fraction

from .quantities import (
    CONSTANTS,
    LISTS,
    PERCENT,
    PLAIN_LISTS,
    UNARY,
    CannotCalculate,
    Quantity,
    added,
    checked,
    converted,
    divided,
    factorial,
    multiplied,
    raised,
    remainder,
    root,
)
from .tokens import DEGREES, ROOTS, SCALES, Token, prepared, tokens_of
from .units import PLAIN, Unit, unit_named

MAX_CHARS = 300
MAX_DEPTH = 120  # three for each bracket
CONVERSIONS = {"to", "in", "->"}


def evaluate(text: str) -> Quantity:
    """Return the value of an expression, or raise CannotCalculate."""
    if len(text) > MAX_CHARS:
        raise CannotCalculate(f"it is longer than {MAX_CHARS} characters")
    return read(tokens_of(prepared(text)))[0]


def read(tokens: list[Token]) -> tuple[Quantity, int]:
    """Return the value of these tokens, and the number of operations: none for a bare number."""
    reader = Reader(tokens)
    try:
        return reader.result(), reader.steps
    except (ArithmeticError, ValueError) as exc:
        raise CannotCalculate("it has no result, or one that is too large") from exc


class Reader:
    """A recursive descent parser for the grammar above, which calculates while it reads."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = [*tokens, Token("end", "")]
        self._at = 0
        self._depth = 0
        self.steps = 0  # operations, functions and conversions

    def result(self) -> Quantity:
        quantity = self._sum()
        while self._next.text in CONVERSIONS:
            self._take()
            quantity = converted(quantity, self._target())
            self.steps += 1
        self._accept("=")
        if self._next.kind != "end":
            raise CannotCalculate(f"{self._next.text!r} was not expected")
        return quantity

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        if self._next.kind == "end":
            raise CannotCalculate("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, *texts: str) -> str:
        if self._next.kind != "number" and self._next.text in texts:
            return self._take().text
        return ""

    def _target(self) -> Unit:
        if self._accept("%"):
            return PERCENT
        unit = self._unit(after_number=False)
        if unit is None:
            raise CannotCalculate(f"{self._next.text!r} is not a known unit")
        return unit

    def _sum(self) -> Quantity:
        self._enter()
        total = self._product()
        while sign := self._accept("+", "-"):
            total = checked(added(total, self._product(), 1 if sign == "+" else -1))
            self.steps += 1
        self._depth -= 1
        return total

    def _product(self) -> Quantity:
        result = self._signed()
        while True:
            if self._accept("*", "of"):
                result = multiplied(result, self._signed())
            elif self._accept("/"):
                result = divided(result, self._signed())
            elif self._accept("mod", "%"):
                result = remainder(result, self._signed())
            elif self._accept("off"):
                result = added(self._signed(), result, -1)
            elif self._next.text in {"(", *ROOTS} or (
                self._next.kind == "word" and self._starts_factor()
            ):
                result = multiplied(result, self._power())
            elif self._next.kind == "number" and result.unit and not result.has_zero:
                # 5 ft 11 in, 2 h 30 min
                part = self._power()
                if not part.unit:
                    raise CannotCalculate("two numbers stand side by side")
                result = added(result, part, 1)
            else:
                return result
            result = checked(result)
            self.steps += 1

    def _starts_factor(self) -> bool:
        name = self._next.text.lower()
        return name in CONSTANTS or (
            (name in UNARY or name in LISTS) and self._tokens[self._at + 1].text == "("
        )

    def _signed(self) -> Quantity:
        self._enter()
        quantity = self._unsigned()
        self._depth -= 1
        return quantity

    def _unsigned(self) -> Quantity:
        if self._accept("-"):
            quantity = self._signed()
            if quantity.has_zero and quantity.unit:
                # -40 °C is the sign of the reading, not of its kelvins.
                return Quantity(
                    2 * quantity.unit.zero - quantity.value, quantity.unit, quantity.exact
                )
            return Quantity(-quantity.value, quantity.unit, quantity.exact, quantity.percent)
        if self._accept("+"):
            return self._signed()
        return self._power()

    def _power(self) -> Quantity:
        base = self._measure()
        if self._accept("^"):
            base = checked(raised(base, self._signed()))
            self.steps += 1
        return base

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CannotCalculate("too many brackets or signs in one another")

    def _measure(self) -> Quantity:
        self._enter()
        quantity = self._counted()
        self._depth -= 1
        if not quantity.unit and not quantity.percent and (unit := self._unit(after_number=True)):
            return Quantity(quantity.value * unit.factor + unit.zero, unit, quantity.exact)
        return quantity

    def _counted(self) -> Quantity:
        quantity = self._atom()
        while self._next.kind == "word" and (scale := SCALES.get(self._next.text.lower())):
            self._take()
            quantity = checked(multiplied(quantity, Quantity(Fraction(scale))))
        while not self._is_remainder and (mark := self._accept("!", "%")):
            if mark == "!":
                quantity = factorial(quantity)
                self.steps += 1
            else:
                quantity = Quantity(quantity.value / 100, None, quantity.exact, percent=True)
        return quantity

    @property
    def _is_remainder(self) -> bool:
        """True if a % comes next that is no percentage, because a number follows: 17 % 5."""
        follows = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        return self._next.text == "%" and (follows.kind == "number" or follows.text == "(")

    def _atom(self) -> Quantity:
        token = self._take()
        name = token.text.lower()
        if token.kind == "number":
            return Quantity(token.number)
        if token.text == "(":
            inner = self._sum()
            self._expect(")")
            return inner
        if name in ROOTS:
            self.steps += 1
            return root(self._measure(), ROOTS[name])
        if self._next.text == "(" and (name in UNARY or name in LISTS):
            return self._called(name)
        if name in CONSTANTS:
            return Quantity(CONSTANTS[name], exact=False)
        raise CannotCalculate(f"{token.text!r} is not known here")

    def _called(self, name: str) -> Quantity:
        self._expect("(")
        given = [self._sum()]
        while self._accept(",", ";"):
            given.append(self._sum())
        self._expect(")")
        self.steps += 1
        if any(quantity.has_zero for quantity in given):
            raise CannotCalculate("temperatures can only be converted")
        if name in UNARY:
            if len(given) != 1 or (given[0].unit and given[0].dimension != PLAIN and name != "abs"):
                raise CannotCalculate(f"{name} takes one plain number")
            return checked(UNARY[name](given[0]))
        if name in {"log", "round"} and len(given) > 2:
            raise CannotCalculate(f"{name} takes at most two numbers")
        if name in PLAIN_LISTS and any(quantity.unit for quantity in given):
            raise CannotCalculate(f"{name} takes plain numbers")
        return checked(LISTS[name](*given))

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise CannotCalculate(f"{sign!r} is missing")

    def _unit(self, *, after_number: bool) -> Unit | None:
        """Take a unit such as km, m^2 or km/h, if one comes next."""
        unit = self._plain_unit(after_number=after_number)
        while unit and self._next.text in {"/", "*"} and self._named_unit(self._at + 1):
            is_per = self._take().text == "/"
            other = self._plain_unit(after_number=False)
            assert other
            unit = unit.per(other) if is_per else unit.times(other)
        return unit

    def _plain_unit(self, *, after_number: bool) -> Unit | None:
        found = self._named_unit(self._at)
        if found is None or (after_number and self._next.text == "in" and self._is_conversion()):
            return None
        unit, words = found
        self._at += words
        if (
            self._next.text == "^"
            and self._tokens[self._at + 1].kind == "number"
            and unit.zero == 0
        ):
            exponent = self._tokens[self._at + 1].number
            if exponent.denominator != 1 or not 1 <= exponent <= 6:
                raise CannotCalculate("a unit has a small whole power")
            self._at += 2
            unit = unit.power(int(exponent))
        return unit

    def _named_unit(self, at: int) -> tuple[Unit, int] | None:
        """Return the unit at this place, and the number of words in its name, such as fl oz."""
        words: list[str] = []
        for token in self._tokens[at : at + 3]:
            # After a unit, "in" asks for another one: "m in cm". But "sq in" are square inches.
            if token.kind != "word" or (token.text == "in" and unit_named("".join(words))):
                break
            words.append(token.text)
        for count in range(len(words), 0, -1):
            name = "".join(words[:count])
            if count == 2 and words[0].lower() in DEGREES:
                name = f"°{words[1].removeprefix('°')}"
            if unit := unit_named(name):
                return unit, count
        return None

    def _is_conversion(self) -> bool:
        """Return True if this `in` asks for a unit, and is not the inches of "5 in to cm"."""
        follows = self._tokens[self._at + 1]
        return follows.text == "%" or (
            self._named_unit(self._at + 1) is not None and follows.text not in CONVERSIONS
        )
