"""The calculation in a question, as an expression for the calculator."""

import re
from collections.abc import Sequence

from .expressions import MAX_CHARS, evaluate, read
from .quantities import CannotCalculate
from .sums import told_sums
from .tokens import Token, can_be_part, prepared, tokens_of

MAX_QUESTION_CHARS = 1000
MAX_OTHER_WORDS = 8  # around a calculation, for the question to be about it
MAX_TOKENS = 60

_HOW_MANY = re.compile(
    r"\b(?:how (?:many|much)|wie ?viele?) (?P<unit>[^\W\d][\w /°]{0,25}?) (?:are there |are |is "
    r"|does"
    r" |do |sind |hat |haben |ergeben |passen )?(?:there )?(?:in |make |makes? up |equal )?"
    r"(?P<amount>an? |one |eine?[mnr]? |[\d.,]+ ?)(?P<of>[^\W\d][\w /°]{0,25}?)(?: have| contain"
    r"| equal| make)?\s*(?:[?.!]|$)",
    re.IGNORECASE,
)
_ONE = frozenset({"a", "an", "one", "ein", "eine", "einem", "einen", "einer"})
_DATE = re.compile(
    r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b\d{1,2}:\d{2}\b|\b(?:19"
    r"|20)\d\d-(?:\d\d){1,2}\b"
)
# Two numbers with one of these between them may be a name, a score or a size: 9/11, 7 of 9, 3-1.
_MAY_BE_A_NAME = frozenset({"/", "-", "*", "^"})
_TALK_WORDS = (
    "what whats s is are the of equals equal result answer how much many does do it make makes"
    " calculate compute solve please pls me tell give thanks thank you can could value sum a an"
    " in to as for and exactly total simplify evaluate quick quickly number one word"
    " was ist sind wie viel wieviel ergibt macht das die der bitte rechne berechne aus"
    " combien font fait égal calcule calculer est cuánto cuanto es son calcula da"
    " quanto fa fanno é são são hoeveel vad är hvad er сколько будет は"
)
_TALK = frozenset(_TALK_WORDS.split())


def expression_in(question: str) -> str | None:
    """Return the calculation in a question, or None.

    "How much is 15% of 80?" has `15% of 80`.
    """
    if len(question) > MAX_QUESTION_CHARS or _DATE.search(question):
        return None
    for told in told_sums(question):
        if expression := calculable(told):
            return expression
    text = prepared(question)
    # Nobody writes the size of a room with an asterisk: 10 x 12 may be a name, and 10 * 12 is not.
    return conversion(text) or longest(text, has_asterisk="*" in question)


def conversion(text: str) -> str | None:
    """Return `1 quart to millilitres` for "How many millilitres is one quart?"."""
    match = _HOW_MANY.search(text.strip())
    if match is None:
        return None
    amount = match["amount"].strip().lower()
    amount = "1" if amount in _ONE else amount
    return calculable(f"{amount} {match['of'].strip()} to {match['unit'].strip()}")


def calculable(expression: str) -> str | None:
    try:
        evaluate(expression)
    except CannotCalculate:
        return None
    return expression


def longest(text: str, *, has_asterisk: bool) -> str | None:
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
                    if is_all(run, rest, has_asterisk=has_asterisk)
                    else None
                )
    return None


def calculates(run: list[Token]) -> bool:
    try:
        return any(token.kind == "number" for token in run) and read(run)[1] > 0
    except CannotCalculate:
        return False


def is_all(run: Sequence[Token], rest: Sequence[Token], *, has_asterisk: bool) -> bool:
    """Return True if the rest is talk: few words, and no number but the one of “in one word”.

    If the run may be a name, only words that ask for a result are talk.
    """
    if any(token.kind == "number" and token.text.lower() != "one" for token in rest):
        return False
    if [token.kind for token in run] == ["number", "sign", "number"] and run[1].text == "of":
        return False  # 7 of 9 is no product, other than 7% of 9
    words = [token.text.lower() for token in rest if token.kind == "word"]
    if may_be_a_name(run) and not has_asterisk:
        return _TALK.issuperset(words)
    return len(words) <= MAX_OTHER_WORDS


def may_be_a_name(run: Sequence[Token]) -> bool:
    if len(run) == 2:
        return all(token.kind in {"number", "sign"} for token in run)
    return (
        len(run) == 3
        and [token.kind for token in run] == ["number", "sign", "number"]
        and run[1].text in _MAY_BE_A_NAME
    )


def arguments_in(question: str, follows: str) -> dict[str, str] | None:
    expression = expression_in(question)
    return {"expression": expression} if expression and len(expression) <= MAX_CHARS else None
