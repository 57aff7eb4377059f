"""A small grammar for calculations, as people write them. Nothing is evaluated but this.

result  = sum { ("to" | "in") unit } ["="]
sum     = product { ("+" | "-") product }            a percentage behind a sign is one of what stands before: 200 + 10% = 220
product = signed { ("*" | "/" | "mod" | "of" | "off") signed | factor }      17 % 5 is 17 mod 5
signed  = ("-" | "+") signed | power
power   = measure ["^" signed]
measure = atom { "million" … } { "!" | "%" } [unit]
atom    = number | constant | function "(" sum { "," sum } ")" | "(" sum ")" | "√" measure
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

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
from .units import PLAIN, Unit, unit_named

MAX_CHARS = 300
MAX_DEPTH = 120  # three for each bracket
MAX_EXPONENT = 400  # behind the e of a number

type Kind = Literal["number", "word", "sign", "other", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a text, from `start` to `end`."""

    kind: Kind
    text: str
    start: int = 0
    end: int = 0
    number: Fraction = Fraction(0)


def evaluate(text: str) -> Quantity:
    """The value of an expression. CannotCalculate says why there is none."""
    if len(text) > MAX_CHARS:
        raise CannotCalculate(f"it is longer than {MAX_CHARS} characters")
    return read(tokens_of(prepared(text)))[0]


def read(tokens: list[Token]) -> tuple[Quantity, int]:
    """The value of these tokens, and how many operations it took: none for a bare number."""
    reader = Reader(tokens)
    try:
        return reader.result(), reader.steps
    except (ArithmeticError, ValueError) as exc:
        raise CannotCalculate("it has no result, or one that is too large") from exc


# --- Tokens ---------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"""\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d+)?(?![\d.,'’])     # 1 000 000,5
      | \d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])             # 1,234.5
      | \d{1,3}(?:\.\d{3})+,\d+(?!\d)                    # 1.234,5
      | \d{1,3}(?:\.\d{3}){2,}(?!\d)                     # 1.234.567
      | \d+(?:[.,]\d+)?(?:[eE][+-]?\d+(?![\w]))?
      | \.\d+(?:[eE][+-]?\d+)?""",
    re.VERBOSE,
)
_NUMBER_IN_LIST = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"log(?:2|10)(?=\s*\()|°?[^\W\d_]+|[°″′]")
_SIGNS = ("**", "->", "+", "-", "*", "/", "^", "%", "!", "(", ")", ",", ";", "=", "√", "∛")
ROOTS = {"√": 2, "∛": 3}
_CONVERSIONS = {"to", "in", "->"}
_DEGREES = {"°", "deg", "degree", "degrees", "grad"}

_SIGN_OF_WORD = {
    **dict.fromkeys(("plus", "más", "mais", "più"), "+"),
    **dict.fromkeys(("minus", "moins", "menos", "meno"), "-"),
    **dict.fromkeys(("times", "x", "mal", "fois", "por", "per", "gånger"), "*"),
    **dict.fromkeys(("over", "durch"), "/"),
    **dict.fromkeys(("mod", "modulo"), "mod"),
    **dict.fromkeys(("of", "von", "vom", "de", "di", "van", "av", "af", "от"), "of"),
    "off": "off",
    **dict.fromkeys(("percent", "prozent", "procent", "pct"), "%"),
    **dict.fromkeys(("to", "into", "as", "en", "nach", "naar", "till", "til", "a", "в"), "to"),
}
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_NUMBER_OF_WORD = {word: number for number, word in enumerate(_ONES)} | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_ONE_FOR_ONE = str.maketrans({
    "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "º": "°", "→": "->", "²": "^2", "³": "^3", "½": ".5", "¼": ".25",
    "¾": ".75", "″": " in ", "“": " ", "”": " ", '"': " ", "\u00a0": " ", "\u202f": " ",
})  # fmt: skip
_PHRASES = [
    (re.compile(pattern, re.IGNORECASE), sign)
    for pattern, sign in (
        (r"\b(?:raised )?to the (?:power|power of)\b", "^"),
        (r"\bsquared\b", "^2"),
        (r"\bcubed\b", "^3"),
        (r"\bsquare root of\b", "√"),
        (r"\b(?:cube|cubic) root of\b", "∛"),
        (
            r"\bdivided by\b|\bgeteilt durch\b|\bdivisé par\b|\bdividido (?:por|entre)\b|\bdiviso\b",
            "/",
        ),
        (r"\bmultiplied by\b", "*"),
        (r"(?<=\d) : (?=\d)", "/"),
        (r"(?<=%) (?:tip |vat |tax |interest )?on\b", " of"),
        (r"\b([kcdm]?m|ft|in|yd|mi)([23])\b", r"\1^\2"),
        (r"[$€£](?=\s?[\d.])|(?<=\d)\s?[$€£]", ""),
    )
]


def prepared(text: str) -> str:
    """The text with one way to write each sign."""
    text = unicodedata.normalize("NFKC", text.translate(_ONE_FOR_ONE))
    for pattern, sign in _PHRASES:
        text = pattern.sub(sign, text)
    return text


def tokens_of(text: str) -> list[Token]:
    """The whole text in tokens; what has no place in an expression is of the kind `other`, or an unknown word."""
    tokens: list[Token] = []
    brackets: list[bool] = []  # for each open one: whether commas separate what stands in it
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = token_at(text, at, commas_separate=bool(brackets) and brackets[-1])
        if token.text == "(":
            brackets.append(bool(tokens) and tokens[-1].text.lower() in LISTS)
        elif token.text == ")" and brackets:
            brackets.pop()
        tokens.append(token)
        at = token.end
    return tokens


def token_at(text: str, at: int, *, commas_separate: bool) -> Token:
    if match := (_NUMBER_IN_LIST if commas_separate else _NUMBER).match(text, at):
        return Token("number", match[0], at, match.end(), value_of(match[0]))
    if sign := next((sign for sign in _SIGNS if text.startswith(sign, at)), ""):
        return Token("sign", "^" if sign == "**" else sign, at, at + len(sign))
    if match := _WORD.match(text, at):
        return meaning(Token("word", match[0], at, match.end()))
    return Token("other", text[at], at, at + 1)


def meaning(word: Token) -> Token:
    """Words for signs and numbers as such."""
    name = word.text.lower()
    if name in _SIGN_OF_WORD:
        return Token("sign", _SIGN_OF_WORD[name], word.start, word.end)
    if name in _NUMBER_OF_WORD:
        return Token("number", word.text, word.start, word.end, Fraction(_NUMBER_OF_WORD[name]))
    return Token("word", "in", word.start, word.end) if name == "in" else word


def value_of(written: str) -> Fraction:
    """The number that is meant, with a comma or a point before its decimals."""
    digits = re.sub(r"[ '’]", "", written)
    mantissa, _, exponent = digits.lower().partition("e")
    if exponent and abs(int(exponent)) > MAX_EXPONENT:
        raise CannotCalculate(f"{written} is too large or too small")
    if "," in mantissa and "." in mantissa:
        thousands, point = (".", ",") if mantissa.rindex(",") > mantissa.rindex(".") else (",", ".")
        mantissa = mantissa.replace(thousands, "").replace(point, ".")
    elif mantissa.count(".") > 1 or mantissa.count(",") > 1:
        mantissa = mantissa.replace(".", "").replace(",", "")
    elif "," in mantissa:
        # 1,234 has thousands; 3,5 and 0,125 have decimals.
        whole, decimals = mantissa.split(",")
        mantissa = (
            whole + decimals
            if len(decimals) == 3 and len(whole) <= 3 and whole != "0"
            else f"{whole}.{decimals}"
        )
    return Fraction(f"{mantissa}e{exponent}" if exponent else mantissa)


def can_be_part(token: Token) -> bool:
    """Whether it has a meaning in some expression."""
    name = token.text.lower()
    known = (
        name in CONSTANTS
        or name in UNARY
        or name in LISTS
        or name in SCALES
        or name in _DEGREES | _UNIT_ADJECTIVES
    )
    return (
        token.kind in {"number", "sign"}
        or name == "in"
        or known
        or unit_named(token.text) is not None
    )


_UNIT_ADJECTIVES = {
    "square",
    "cubic",
    "fluid",
    "fl",
    "sq",
    "cu",
    "nautical",
    "metric",
    "short",
    "light",
    "kilowatt",
    "watt",
}


# --- Grammar --------------------------------------------------------------------------------------


class Reader:
    """Reads tokens by the grammar above."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = [*tokens, Token("end", "")]
        self._at = 0
        self._depth = 0
        self.steps = 0  # operations, functions and conversions: none in a bare number

    def result(self) -> Quantity:
        quantity = self._sum()
        while self._next.text in _CONVERSIONS:
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
        """Whether a % comes next that is no percentage, since a number follows: 17 % 5, 17 % (2 + 3)."""
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
        """A unit such as km, m^2 or km/h, if one comes next."""
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
        """The unit at this place and the number of words of its name: fl oz, degrees Celsius, square metre."""
        words: list[str] = []
        for token in self._tokens[at : at + 3]:
            # An "in" behind a unit asks for another one: m in cm are not minutes, but sq in are square inches.
            if token.kind != "word" or (token.text == "in" and unit_named("".join(words))):
                break
            words.append(token.text)
        for count in range(len(words), 0, -1):
            name = "".join(words[:count])
            if count > 1 and words[0].lower() in _DEGREES:
                name = f"°{words[1].removeprefix('°')}"
            if unit := unit_named(name):
                return unit, count
        return None

    def _is_conversion(self) -> bool:
        """Whether this `in` asks for a unit, and is not inches itself: 5 in to cm."""
        follows = self._tokens[self._at + 1]
        return follows.text == "%" or (
            self._named_unit(self._at + 1) is not None and follows.text not in _CONVERSIONS
        )
