"""The foot of an answer: why it ended so, what it cost, and what the reader can do."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import msgspec
import pytest
from django.template.loader import render_to_string
from pytest_django import Settings

from chat.prices import Prices
from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import (
    AgentStart,
    AnyEvent,
    Cancelled,
    Connected,
    Done,
    Error,
    ResponseDelta,
    ending_events,
)
from chat.protocol.terms import Ending, Slowest, Summary, Usage, Verdict
from chat.rendering.answer import AnswerView

from .events import (
    RUN,
    SAMPLES,
    TIMINGS,
    USAGE,
    WHO,
    called,
    completed,
    decided,
    numbered,
    searched,
)
from .page import Page, history_page, shown, text_of

DONE = Done(data=Summary(status="cancelled", timings=TIMINGS, usage=USAGE))


def test_facts_explain_why_the_router_chose_the_path() -> None:
    route = decided(reasons=["asks for one fact", "is short"], skipped=["analysis", "review"])
    page, _ = shown(route, ResponseDelta(delta="Hello"), *completed())
    end = text_of(page.part("end"))
    assert "Light 1.2 s 1 tool 212 tokens" in end
    reasons = "Asks for one fact Is short Skipped: Planning, Reviewing."
    assert f"92 % sure that one agent suffices. {reasons}" in end
    assert "First word after 0.3 s. 1 model call: 10 tokens read, 212 written." in end


def ended(**figures: Any) -> str:
    """Return the foot of a stopped answer with these figures."""
    summary = Summary(status="cancelled", timings=TIMINGS, **figures)
    page, _ = shown(decided(), SAMPLES[ResponseDelta], Cancelled(), Done(data=summary))
    return text_of(page.part("end"))


def test_estimated_tokens_are_marked() -> None:
    usage = msgspec.structs.replace(USAGE, estimated=True)
    assert "1 tool ≈ 212 tokens" in ended(usage=usage)
    assert "1 model call: ≈ 10 tokens read, 212 written (estimated)." in ended(usage=usage)
    assert "≈" not in ended(usage=USAGE)
    assert "estimated" not in ended(usage=USAGE)


def test_cached_input_is_a_badge_and_a_sentence_where_a_server_reports_it() -> None:
    usage = msgspec.structs.replace(USAGE, input_tokens=4210, cached_tokens=3100)
    end = ended(usage=usage)
    assert "212 tokens 73 % of input cached" in end
    assert "212 written. 3,100 of the tokens read (73 %) were in the model server's cache." in end
    assert "cache" not in ended(usage=USAGE)


@pytest.mark.parametrize(
    ("read", "cached", "words"),
    [(1000, 1, "1 %"), (1000, 999, "99 %"), (1000, 1000, "100 %"), (10, 400, "100 %")],
)
def test_share_of_cached_input_is_neither_nothing_nor_too_much(
    read: int, cached: int, words: str
) -> None:
    usage = msgspec.structs.replace(USAGE, input_tokens=read, cached_tokens=cached)
    assert f"{words} of input cached" in ended(usage=usage)


def test_cost_in_money_is_shown_if_prices_are_configured(settings: Settings) -> None:
    assert settings.FLEET_PRICES is None
    assert "0.0042" not in ended(usage=USAGE, cost=0.0042)
    settings.FLEET_PRICES = Prices(currency="EUR")
    end = ended(usage=USAGE, cost=0.0042)
    assert "212 tokens €0.0042" in end
    assert "212 written. Cost: €0.0042." in end
    assert "€" not in ended(usage=USAGE, cost=None)


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_model_that_was_chosen_is_named(settings: Settings, mode: str) -> None:
    settings.FLEET_MODELS = {"org/big": "The big one"}
    page, view = Page(), AnswerView(RUN, model_asked="org/big")
    route = decided(path="full", mode=mode)
    end = completed(path="full")
    for event in numbered([SAMPLES[Connected], route, ResponseDelta(delta="Hello"), *end]):
        page.show(view.render(event))
    foot = text_of(page.part("end"))
    assert "Full team The big one 1.2 s" in foot
    assert "Model: org/big, chosen by you. First word after" in foot
    again = AnswerView.of_record(RUN, [], "Hello", Ending(status="failed"), model_asked="other")
    assert "Model: other, chosen by you." in text_of(history_page(again).part("end"))


def test_missed_service_level_is_not_shown_to_readers() -> None:
    verdict = Verdict(missed={"total": 2100.0}, slowest={"agent": Slowest("assistant", 900)})
    assert ended(usage=USAGE, sla=verdict) == ended(usage=USAGE)


def test_failed_answer_shows_its_cost() -> None:
    error = Error(
        error=SAMPLES[Error].error,
        data=Summary(status="failed", timings=TIMINGS, usage=USAGE, path="light"),
    )
    page, _ = shown(decided(), SAMPLES[ResponseDelta], error)
    assert "Light 1.2 s 1 tool 212 tokens" in text_of(page.part("end"))


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"mode": "light"}, "Light: asked for by you."),
        ({"path": "full", "mode": "full", "confidence": 0.2}, "Full team: asked for by you."),
        (
            {"path": "full", "escalated": True, "reasons": ["the light answer did not know"]},
            "Light, then the full team: the light answer did not know.",
        ),
        (
            {"path": "full", "mode": "full", "skipped": ["writing"]},
            "Full team: asked for by you. 92 % sure that one agent suffices. Skipped: Drafting.",
        ),
        ({"confidence": 0.999}, "More than 99 % sure"),
        ({"confidence": 0.001}, "Less than 1 % sure"),
    ],
)
def test_facts_explain_an_unusual_path(route: dict[str, Any], words: str) -> None:
    page, _ = shown(
        decided(**route), ResponseDelta(delta="Hello"), *completed(path=route.get("path", "light"))
    )
    assert words in text_of(page.part("end"))


def test_full_team_is_offered_only_for_a_complete_light_answer() -> None:
    def end(*events: AnyEvent) -> str:
        return shown(decided(), ResponseDelta(delta="Hello"), *events)[0].part("end")

    assert 'data-action="team"' in end(*completed())
    assert 'data-action="team"' not in end(*completed(path="full"))
    assert 'data-action="team"' not in end(Cancelled(), DONE)
    assert 'data-action="team"' not in end(SAMPLES[Error])


def test_answer_from_the_cache_shows_its_age_and_offers_a_new_search() -> None:
    events = [
        decided(mode="light"),
        AgentStart(**WHO),
        searched(cached=True, age_s=730),
        ResponseDelta(delta="Hello"),
        *completed(),
    ]
    page, _ = shown(*events)
    assert "<span>cached 12 min ago</span>" in page.part("end")
    assert 'data-action="fresh" data-mode="light"' in page.part("end")
    stale, _ = shown(
        AgentStart(**WHO),
        searched(cached=True, stale=True, age_s=7300),
        SAMPLES[ResponseDelta],
        *completed(),
    )
    assert "<span>cached 2 h ago, stale</span>" in stale.part("end")
    new, _ = shown(AgentStart(**WHO), searched(), SAMPLES[ResponseDelta], *completed())
    assert 'data-action="fresh"' not in new.part("end")


def test_rating_is_offered_only_for_a_complete_answer() -> None:
    assert 'value="up"' in shown(SAMPLES[ResponseDelta], *completed())[0].part("end")
    assert 'value="up"' not in shown(SAMPLES[ResponseDelta], Cancelled(), DONE)[0].part("end")


@pytest.mark.parametrize(
    ("rating", "up", "down"),
    [(None, "false", "false"), (1, "true", "false"), (-1, "false", "true")],
)
def test_pressed_thumb_removes_its_rating(rating: int | None, up: str, down: str) -> None:
    view = AnswerView(RUN)
    view.rating = rating
    html = render_to_string("chat/room.html#rating", {"answer": view})
    assert re.findall('aria-pressed="(true|false)"', html) == [up, down]
    assert re.findall('value="([a-z]+)"', html) == [
        "none" if rating == 1 else "up",
        "none" if rating == -1 else "down",
    ]


def ended_with(*events: AnyEvent, text: str = "Some words") -> str:
    page, view = Page(), AnswerView(RUN)
    page.show(view.render(SAMPLES[Connected]))
    if text:
        page.show(view.render(ResponseDelta(delta=text)))
    for event in events:
        page.show(view.render(event))
    return page.part("end") + page.part("outcome") + page.part("body")


def test_stopped_answer_can_be_continued_or_asked_again() -> None:
    end = ended_with(Cancelled(), DONE)
    assert "Stopped." in end
    assert 'data-action="continue"' in end
    assert 'data-action="again"' in end
    assert ", stopped" in end
    assert "Some words" in end


def test_answer_stopped_before_its_first_word_offers_no_copy_and_no_continuation() -> None:
    end = ended_with(Cancelled(), DONE, text="")
    assert 'data-action="continue"' not in end
    assert "data-copy" not in end


@pytest.mark.parametrize("code", get_args(Code))
def test_error_shows_its_message_and_code_and_keeps_the_text_so_far(
    code: Any,
) -> None:
    end = ended_with(Error(error=ErrorInfo(code, "This is what happened.")))
    assert "This is what happened." in end
    assert f"{code} · {RUN}" in end
    assert ", failed" in end
    assert "Some words" in end
    assert ('data-action="again"' in end) == (
        code not in {"forbidden", "bad_request", "context_too_long"}
    )


def test_error_is_an_alert_only_if_it_needs_action() -> None:
    urgent = ended_with(Error(error=ErrorInfo("model_error", "The server refused the key.")))
    assert 'role="alert"' in urgent
    for code in ("model_error", "idle_timeout", "worker_lost"):
        assert 'role="alert"' not in ended_with(
            Error(error=ErrorInfo(code, "It was cut off.", retryable=True))
        )


def test_wait_for_a_busy_model_is_counted_down() -> None:
    end = ended_with(
        Error(
            error=ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", retryable=True)
        )
    )
    assert 'Try again <span data-countdown="20">in 20 s</span>.' in end


def test_wait_that_is_over_is_not_counted_down_again() -> None:
    ending = Ending(
        status="failed",
        error=ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", retryable=True),
    )
    view = AnswerView.of_record(
        RUN, [], "", ending, ended_at=datetime.now(UTC) - timedelta(minutes=1)
    )
    end = history_page(view).part("end")
    assert 'Try again <span data-countdown="0">now</span>.' in end


def test_too_many_runs_offers_to_show_them() -> None:
    html = AnswerView("").render(
        Error(error=ErrorInfo("too_many_runs", "3 answers are already running."))
    )
    assert 'data-action="running"' in html


def test_refusal_replaces_the_answer_and_names_no_run() -> None:
    html = AnswerView("").render(Error(error=ErrorInfo("forbidden", "This is not yours.")))
    assert "This is not yours." in html
    assert "hx-swap-oob" not in html
    assert " id=" not in html


# --- What an answer is, and what can be done if the stand-in was not asked


def foot(*steps: AnyEvent, text: str = "Hello", **figures: Any) -> str:
    """Return the foot of a complete light answer, as html."""
    ending = Ending(status="completed", timings=TIMINGS, path="light", **figures)
    events = cast("list[AnyEvent]", ending_events(ending, text))
    page, _ = shown(decided(), *steps, ResponseDelta(delta=text), *events)
    return page.part("end")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"unread_messages": 12}, "12 earlier messages were not read."),
        ({"unread_messages": 1}, "1 earlier message was not read."),
        ({"summarized_messages": 12}, "A summary stood for 12 earlier messages."),
        (
            {"summarized_messages": 1200, "unread_messages": 2},
            "A summary stood for 1,200 earlier messages. 2 earlier messages were not read.",
        ),
    ],
)
def test_foot_says_once_what_a_long_chat_left_out(figures: dict[str, int], words: str) -> None:
    shown_words = text_of(foot(usage=USAGE, **figures))
    assert shown_words.count(words) == 1
    assert "earlier message" not in text_of(foot(usage=USAGE))


@pytest.mark.parametrize(
    ("tool", "words"),
    [("calculator", "exact, by the calculator"), ("clock", "exact, by the clock")],
)
def test_result_of_a_tool_is_marked_exact_unless_a_model_phrased_it(tool: str, words: str) -> None:
    agent = AgentStart(**WHO)
    used = (agent, called(tool), searched(tool=tool))
    assert words in foot(*used, usage=Usage(tool_calls=1))
    assert words not in foot(*used, usage=Usage(tool_calls=1, model_calls=1))
    failed = (agent, called(tool), searched(tool=tool, ok=False))
    assert words not in foot(*failed, usage=Usage(tool_calls=1))


def test_answer_of_the_stand_in_is_marked_whatever_model_serves_now(settings: Settings) -> None:
    assert "stand-in model" in foot(usage=USAGE, models=[settings.BUILTIN_MODEL])
    assert "stand-in model" not in foot(usage=USAGE, models=["gpt-5-mini"])


def test_full_team_is_offered_only_with_a_better_model(settings: Settings) -> None:
    assert "Use the full team" in foot(usage=USAGE)
    settings.FLEET_MODEL_IS_STAND_IN = True
    assert "Use the full team" not in foot(usage=USAGE)


def test_declined_question_can_be_asked_anyway_and_is_not_rated() -> None:
    html = foot(declined="language")
    [button] = re.findall(r"<button[^>]*>Ask anyway", html)
    assert 'data-action="again"' in button
    assert "Rate this answer" not in html
    assert 'aria-label="Ask again"' not in html
