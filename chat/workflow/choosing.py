"""What the router gets to know of a question, and of the exchanges before it."""

import re
from collections.abc import Collection, Sequence

from chat.record import Exchange
from routing.features import LastAnswer
from routing.policy import Path, Route, choose
from tooling.known import phrases_of, sufficient_tools

from .question import Question
from .stand_in import has_team

ROUTER_CONTEXT = 5  # earlier questions that the router reads
# Characters of an answer that are looked at: its kind shows in them, and a longer look would keep
# the event loop from other answers.
MAX_LOOKED_AT = 20_000
FULL_WORDS = 220  # of an answer whose path isn't known, from which on it looks like the team's
MIN_POINTS = 4  # steps or headings that make a plan

FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
# A numbered or ticked point, or a heading.
POINT = re.compile(
    r"^[ \t]{0,6}(?:\d{1,3}[.)][ \t]|[-*+][ \t]+\[[ xX]\][ \t]|#{1,6}[ \t])", re.MULTILINE
)
UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")  # a word has about two of them


def route_of(question: Question, *, tools: Collection[str], exact: tuple[str, ...] = ()) -> Route:
    """Return the route of a question, before a model is asked for its opinion.

    `tools` are those that a light answer may call; `exact` are the ones that answer it exactly.
    """
    return choose(
        question.text,
        context=[exchange.question for exchange in question.earlier[-ROUTER_CONTEXT:]],
        answered=last_answer(question.earlier),
        mode=question.mode,
        preference=question.preference,
        phrases=phrases_of(tools),
        exact=exact,
        sufficient=sufficient_tools(tools),
        has_team=has_team(question.model),
    )


def last_answer(earlier: Sequence[Exchange]) -> LastAnswer | None:
    """Return the kind of the last answer before a question; None if there is none.

    A program that tells its own history doesn't say which path an answer took. Its length does.
    """
    if not earlier or not earlier[-1].answer:
        return None
    answer, path = earlier[-1].answer[:MAX_LOOKED_AT], earlier[-1].path
    # Code has lines that look like headings.
    prose = FENCED.sub("", answer)
    words = words_in(answer)
    return LastAnswer(
        path=known_path(path) or ("full" if words >= FULL_WORDS else "light"),
        words=words,
        has_code=prose != answer,
        has_plan=len(POINT.findall(prose)) >= MIN_POINTS,
    )


def known_path(path: str) -> Path | None:
    match path:
        case "light" | "full":
            return path
    return None


def words_in(text: str) -> int:
    """Return about how many words a text has, also in scripts without spaces."""
    spaced, unspaced = UNSPACED.subn(" ", text)
    return len(spaced.split()) + unspaced // 2
