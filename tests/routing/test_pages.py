"""Questions that name one page and ask what is on it."""

import time

import pytest

from routing.policy import choose
from routing.reasons import ONE_CALL
from tooling.known import arguments_for, phrases_of, sufficient_tools

NAMES = ("calculator", "clock", "read_page", "web_search")


@pytest.mark.parametrize(
    ("question", "url"),
    [
        ("summarise https://example.com/a/b", "https://example.com/a/b"),
        (
            "Please summarize https://en.example.org/wiki/Lima in three sentences.",
            "https://en.example.org/wiki/Lima",
        ),
        ("was steht auf https://example.org/x?", "https://example.org/x"),
        ("Fasse https://www.example.de/artikel-123.html zusammen", ...),
        ("Kannst du mir bitte https://www.example.de/artikel.html kurz zusammenfassen?", ...),
        (
            "Hello! Could you please summarise https://a.example/x for me? Thank you so much in"
            " advance, and have a wonderful day, best regards, Jim",
            "https://a.example/x",
        ),
        ("https://example.com", "https://example.com"),
        ("What does https://docs.example.org/3/asyncio.html say about TaskGroup?", ...),
        ("worum geht es in (https://example.org/a_(b))?", "https://example.org/a_(b)"),
        ("what's on https://news.example today", "https://news.example"),
        ("Read https://example.com/a and tell me the price", "https://example.com/a"),
        ("https://example.com/x what is this about?", "https://example.com/x"),
        ("Öffne https://a.example/ und nenne mir die Öffnungszeiten", "https://a.example/"),
        ("Please read “https://a.example/b”.", "https://a.example/b"),
        (
            "Summarise https://web.archive.org/web/2020/https://a.example/b",
            "https://web.archive.org/web/2020/https://a.example/b",
        ),
        ("Summarise this article:\n\nhttps://a.example/b", "https://a.example/b"),
        ("https://a.example/b\n\nWhat is this?", "https://a.example/b"),
        ("Please summarise the following page: https://a.example/b", "https://a.example/b"),
        ("Résume https://a.example/b en trois phrases", "https://a.example/b"),
        ("Resume https://a.example/b, por favor", "https://a.example/b"),
        ("Riassumi questa pagina: https://a.example/b", "https://a.example/b"),
        ("Vat https://a.example/b samen", "https://a.example/b"),
        ("О чём https://a.example/b ?", "https://a.example/b"),
        ("https://a.example/b sayfasını özetle", "https://a.example/b"),
        ("لخّص https://a.example/b من فضلك", "https://a.example/b"),
        ("لخص https://a.example/b", "https://a.example/b"),
        ("请总结 https://a.example/b", "https://a.example/b"),
        ("https://a.example/b を要約して", "https://a.example/b"),
        ("https://a.example/b 요약해줘", "https://a.example/b"),
    ],
)
def test_question_about_one_page_is_light_and_opens_it(question: str, url: object) -> None:
    route = choose(question, phrases=phrases_of(NAMES), sufficient=sufficient_tools(NAMES))
    assert (route.path, route.tools, route.reasons) == ("light", ("read_page",), (ONE_CALL,))
    arguments = arguments_for("read_page", question)
    assert arguments is not None
    assert arguments["url"] == url if url is not ... else arguments["url"] in question


@pytest.mark.parametrize(
    "question",
    [
        "Don't open https://a.example/x, what do you know about it?",
        "What is https://a.example? Answer without opening it.",
        "Compare https://a.example and https://b.example",
        "Is https://example.com a good name for a shop?",
        "Write a regex that matches https://example.com/x",
        "How do I curl https://api.example.com/v1 with a token?",
        "Summarise https://a.example/x, compare it with its competitors, then write a strategy",
        "Summarise https://a.example/x. Then compare it with its competitors.",
        "Summarise https://a.example/x\n\nAfterwards write a script that loads it every day.",
        "summarise https://a.example https://b.example",
        "Why does requests.get('https://example.com') raise SSLError?",
        "What is a URL such as http:// for?",
    ],
)
def test_other_questions_with_addresses_open_nothing_unasked(question: str) -> None:
    route = choose(question, phrases=phrases_of(NAMES), sufficient=sufficient_tools(NAMES))
    assert "read_page" not in route.tools


def test_full_team_stays_with_those_who_chose_it() -> None:
    question = "summarise https://example.com/a"
    route = choose(
        question, mode="full", phrases=phrases_of(NAMES), sufficient=sufficient_tools(NAMES)
    )
    assert route.path == "full"


def test_no_question_keeps_the_router_busy() -> None:
    hostile = (
        "summarise " * 3000,
        "https://a " * 3000,
        "what is about says read https://" * 900,
        f"open https://{'a' * 30_000}",
        f"open https://a{')' * 30_000}",
        " ".join(f"https://a.example/{')' * 900}" for _ in range(40)),
    )
    for question in hostile:
        started = time.perf_counter()
        choose(question, phrases=phrases_of(NAMES), sufficient=sufficient_tools(NAMES))
        arguments_for("read_page", question)
        assert time.perf_counter() - started < 0.5
