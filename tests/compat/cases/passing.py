"""Troubles that pass: the same question is asked again, and the answer comes."""

from email.utils import formatdate
from time import time

from ..case import Case, Outcome, Play, answers, case, for_seconds, in_turn
from ..server import Exchange
from ..wire import (
    ANSWER,
    End,
    Reply,
    document,
    error,
    event,
    page,
    raw,
    stream,
    text,
    usual,
)

RESET = raw(End.RESET)


def recovers(name: str, *troubles: Reply) -> Case:
    """Return a case of these replies in turn, then the answer."""
    return answers(name, in_turn(*troubles, usual()))


def after_date(exchange: Exchange) -> Reply:
    if exchange.number:
        return usual()
    return error("Slow down.", 429, headers={"Retry-After": formatdate(time() + 2, usegmt=True)})


def moved(path: str, status: int) -> Play:
    def play(exchange: Exchange) -> Reply:
        if exchange.path == path:
            return usual()
        return Reply([b""], status, {"Location": path}, "length")

    return play


def in_words(seconds: float, words: str) -> Play:
    return for_seconds(seconds, error(words, 429, code="rate_limit_exceeded"), usual())


HANDED: tuple[Case, ...] = (
    answers(
        "retry-ms",
        for_seconds(2.4, error("Slow down.", 429, headers={"retry-after-ms": "2500"}), usual()),
    ),
    case(
        "retry-in-words",
        in_words(2.5, "Rate limit reached. Please try again in 2.6s."),
        Outcome(ANSWER),
        Outcome(code="rate_limited", says=["2.6"]),
    ),
    recovers("resets-then-answers", RESET),
    answers("redirect-307", moved("/v1/moved/chat/completions", 307)),
)
FURTHER: tuple[Case, ...] = (
    recovers("503-twice", error("Try later.", 503), error("Try later.", 503)),
    recovers("500-once", error("Oops.", 500)),
    recovers("502-page-once", page("<html><h1>502</h1></html>", 502)),
    recovers("504-once", text("", 504)),
    recovers(
        "529-once",
        document(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529
        ),
    ),
    recovers("408-once", error("Request timeout.", 408)),
    recovers("409-once", error("Conflict.", 409)),
    recovers("425-once", text("Too early", 425)),
    recovers("429-once", error("Too many requests.", 429)),
    recovers("429-after-1", error("Slow down.", 429, headers={"Retry-After": "1"})),
    recovers("429-after-0", error("Slow down.", 429, headers={"Retry-After": "0"})),
    recovers("429-after-nonsense", error("Slow down.", 429, headers={"Retry-After": "soon"})),
    answers("429-after-date", after_date),
    recovers("resets-twice", RESET, RESET),
    recovers("closed-before-head", raw(End.CLOSED)),
    recovers("closed-behind-head", stream(End.CLOSED)),
    recovers("reset-behind-head", stream(0.05, End.RESET)),
    recovers("nothing-then-answer", stream()),
    recovers(
        "overloaded-in-200",
        stream(event({"error": {"message": "Server overloaded, try again", "code": 503}})),
    ),
    recovers("loading-once", error("Loading model", 503, code=503, type="unavailable_error")),
    answers(
        "loading-for-a-while",
        for_seconds(3.0, error("Loading model", 503, code=503, type="unavailable_error"), usual()),
    ),
    answers("words-in-ms", in_words(0.4, "Rate limit reached. Please try again in 500ms.")),
    answers(
        "reset-header",
        for_seconds(
            0.9,
            error(
                "Rate limit reached",
                429,
                headers={"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "0"},
            ),
            usual(),
        ),
    ),
    answers("redirect-308", moved("/v1/other/chat/completions", 308)),
    answers("redirect-slash", moved("/v1/chat/completions/", 307)),
)
