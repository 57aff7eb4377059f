"""The tokens of calculations, as people write them: numbers, words for signs, units, functions."""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from .quantities import CONSTANTS, LISTS, UNARY, CannotCalculate
from .units import unit_named

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
DEGREES = {"°", "deg", "degree", "degrees", "grad"}
# Words that begin the name of a unit, such as "square metre" or "fl oz".
_UNIT_ADJECTIVES = frozenset(
    {
        *("square", "cubic", "fluid", "fl", "sq", "cu", "nautical", "metric", "short", "light"),
        *("kilowatt", "watt"),
    }
)

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
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBER_OF_WORD = {word: number for number, word in enumerate(_ONES)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_ONE_FOR_ONE = str.maketrans({
    "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "º": "°", "→": "->",
    "²": "^2", "³": "^3", "½": ".5", "¼": ".25", "¾": ".75",
    "″": " in ", "“": " ", "”": " ", '"': " ", "\u00a0": " ", "\u202f": " ",
})  # fmt: skip
_PHRASES = [
    (re.compile(pattern, re.IGNORECASE), sign)
    for pattern, sign in (
        (r"\b(?:raised )?to the power(?: of)?\b", "^"),
        (r"\bsquared\b", "^2"),
        (r"\bcubed\b", "^3"),
        (r"\bsquare root of\b", "√"),
        (r"\b(?:cube|cubic) root of\b", "∛"),
        (
            r"\bdivided by\b|\bgeteilt durch\b|\bdivisé par\b|\bdividido (?:por|entre)\b"
            r"|\bdiviso\b",
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
    """Return the text with one way to write each sign."""
    text = unicodedata.normalize("NFKC", text.translate(_ONE_FOR_ONE))
    for pattern, sign in _PHRASES:
        text = pattern.sub(sign, text)
    return text


def tokens_of(text: str) -> list[Token]:
    """Return the whole text as tokens, those of the kind `other` and unknown words included."""
    tokens: list[Token] = []
    brackets: list[bool] = []  # for each open one: True if commas separate its arguments
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
    """Return the sign or number that a word stands for, or the word."""
    name = word.text.lower()
    if name in _SIGN_OF_WORD:
        return Token("sign", _SIGN_OF_WORD[name], word.start, word.end)
    if name in _NUMBER_OF_WORD:
        return Token("number", word.text, word.start, word.end, Fraction(_NUMBER_OF_WORD[name]))
    return Token("word", "in", word.start, word.end) if name == "in" else word


def value_of(written: str) -> Fraction:
    """Return the number, which may have a comma or a point before its decimals."""
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
    """Return True if the token can occur in an expression."""
    name = token.text.lower()
    known = (
        name in CONSTANTS
        or name in UNARY
        or name in LISTS
        or name in SCALES
        or name in DEGREES | _UNIT_ADJECTIVES
    )
    return (
        token.kind in {"number", "sign"}
        or name == "in"
        or known
        or unit_named(token.text) is not None
    )
