"""The sources of an answer, and the links to them in its text."""

import re
from html import unescape

import pytest

from chat.protocol.events import (
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    Connected,
    ResponseDelta,
)
from chat.protocol.payloads import SourceData
from chat.protocol.terms import Ending
from chat.rendering.answer import AnswerView

from .events import (
    CITED,
    RUN,
    SAMPLES,
    SOURCES,
    TIMINGS,
    USAGE,
    WHO,
    completed,
    searched,
    tokens_of,
)
from .page import of_history, shown, text_of


def test_sources_are_shown_from_the_first_word_of_the_answer() -> None:
    events = [
        AgentStart(**WHO),
        searched(sources=SOURCES),
        searched(call_id="c2", sources=SOURCES[:1]),
    ]
    page, _ = shown(*events)
    assert text_of(page.part("sources")) == ""
    page, _ = shown(*events, ResponseDelta(delta="Hello [1]"))
    assert (
        text_of(page.part("sources"))
        == "Sources 1 2 Kafka docs kafka.apache.org · 2 Oct 2026 Kafka on the wiki en.wikipedia.org"
    )
    link = f'id="run-{RUN}-source-1" rel="noopener noreferrer nofollow ugc" target="_blank">'
    assert f'<a dir="auto" href="https://kafka.apache.org/documentation/" {link}' in page.part(
        "sources"
    )
    assert of_history(events, "Hello [1]").part("sources") == page.part("sources")


@pytest.mark.parametrize("late", [False, True])
def test_cited_source_is_linked_live_and_in_history(late: bool) -> None:
    deltas: list[AnyEvent] = [ResponseDelta(delta=token) for token in tokens_of(CITED)]
    found = searched(sources=SOURCES)
    # A model may write before it searches; that text is part of the same answer.
    events = [AgentStart(**WHO), *deltas, found] if late else [AgentStart(**WHO), found, *deltas]
    page, _ = shown(*events, *completed(CITED))
    body = page.part("body")
    link = (
        f'<a aria-label="Source 1: Kafka docs" class="citation" href="#run-{RUN}-source-1">[1]</a>'
    )
    assert body.count(link) == 3
    assert body.count('class="citation"') == 6
    assert "but not [3] and <code>[1]</code>" in body
    history = of_history(
        events, CITED, Ending(status="completed", timings=TIMINGS, usage=USAGE, path="light")
    )
    for name in ("body", "sources"):
        assert history.part(name) == page.part(name), name


def test_number_is_not_linked_without_sources_or_in_the_output_of_agents() -> None:
    page, _ = shown(AgentStart(**WHO), ResponseDelta(delta=CITED), *completed(CITED))
    assert 'class="citation"' not in page.part("body")
    page, _ = shown(
        AgentStart(**WHO),
        searched(sources=SOURCES),
        AgentOutput(message=CITED, **WHO),
        SAMPLES[AgentMessage],
    )
    assert 'class="citation"' not in page.part("timeline")


def test_title_in_the_label_of_a_citation_is_escaped_and_shortened() -> None:
    title = "\"><img src=x onerror=alert(1)>' %(run)s " + "long " * 40
    source = SourceData(1, title, "https://example.org", "example.org")
    view = AnswerView(RUN)
    for event in (SAMPLES[Connected], AgentStart(**WHO), searched(sources=[source])):
        view.render(event)
    html = view.render(ResponseDelta(delta="Hello [1]"))
    assert "<img" not in html
    [name] = set(
        re.findall(r'<a class="citation" href="#[^"]*"\saria-label="([^"<>]*)">\[1\]</a>', html)
    )
    assert unescape(name).startswith("Source 1: \"><img src=x onerror=alert(1)>' %(run)s long")
    assert name.endswith("…")


def test_closed_list_of_sources_names_the_first_numbers() -> None:
    many = [
        SourceData(number, f"Page {number}", f"https://example.org/{number}", "example.org")
        for number in range(1, 13)
    ]
    page, _ = shown(AgentStart(**WHO), searched(sources=many), SAMPLES[ResponseDelta])
    assert text_of(page.part("sources")).startswith("Sources 1 2 3 4 5 6 7 8 +4 Page 1")
    assert page.part("sources").count("<a ") == 12


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://example.org/@someone?q=a&b=<c>", "example.org"),
        ("HTTP://EXAMPLE.org", "example.org"),
        ("javascript:alert(1)", ""),
        ("data:text/html,<script>alert(1)</script>", ""),
        ("//example.org", ""),
        ("https://", ""),
        ("https://good.example\\@evil.example/", ""),
        ("https://good.example@evil.example/", ""),
        ("https://exa mple.org/", ""),
        ("https://[::1", ""),
        ("\njavascript:alert(1)", ""),
    ],
)
def test_source_is_linked_only_to_a_web_address_and_names_its_host(address: str, host: str) -> None:
    page, _ = shown(
        AgentStart(**WHO),
        searched(sources=[SourceData(1, "Title", address, "bank.example")]),
        SAMPLES[ResponseDelta],
    )
    sources = page.part("sources")
    assert ("<a " in sources) == bool(host)
    assert "bank.example" not in sources
    assert "Title" in sources
    if host:
        assert f'<span class="source-where">{host}</span>' in sources


@pytest.mark.parametrize("published", ["yesterday", "", "2026-99-99", "<b>2026"])
def test_invalid_date_of_a_source_is_left_out(published: str) -> None:
    source = SourceData(1, "Title", "https://example.org", "example.org", published)
    page, _ = shown(AgentStart(**WHO), searched(sources=[source]), SAMPLES[ResponseDelta])
    assert "<time" not in page.part("sources")
