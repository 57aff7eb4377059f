"""Which of many tools have to do with a question."""

import os
import subprocess
import sys
import time

import msgspec
import pytest

from tooling.choosing import chosen, entry_of, index_of, ranked, words_of
from tooling.registry import Tool

from .many_tools import QUESTIONS, TOOLS, made

MOST, MAX_BYTES = 24, 100_000


def names(tools: list[Tool]) -> list[str]:
    return [tool.name for tool in tools]


def place(question: str, wanted: tuple[str, ...]) -> int:
    found = list(ranked(map(entry_of, TOOLS), question))
    return min(map(found.index, wanted))


def test_right_tool_of_a_hundred_is_among_the_first_for_nearly_all_questions() -> None:
    places = [place(question, wanted) for question, wanted in QUESTIONS]
    assert sum(each < 4 for each in places) / len(places) >= 0.92
    assert sum(each < MOST for each in places) / len(places) >= 0.92


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getHTTPServerById", ["get", "http", "server", "by", "id"]),
        ("shop__get_stock2", ["shop", "get", "stock", "2"]),
        ("STRASSE Straße", ["strasse"]),
        ("天气预报", ["天气", "气预", "预报"]),
        ("用Python写", ["用", "python", "写"]),
        ("قِطَّة café", ["قطة", "cafe"]),
        ("한국어", ["한국", "국어"]),
        ("", []),
    ],
)
def test_names_and_texts_are_split_into_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("question", "description"),
    [
        ("Which invoices are open?", "Read an invoice."),
        ("Wie ist der Bestand?", "Liefert den Lagerbestand."),
        ("كيف الطقس؟", "يعرض حالة طقس المدينة"),
        ("明日の天気は?", "天気を調べる"),
        ("서울 날씨 알려줘", "날씨를 조회한다"),
    ],
)
def test_words_are_found_in_other_forms_and_other_scripts(question: str, description: str) -> None:
    others = [made(f"other_{n}", "Do something else with a thing.", []) for n in range(5)]
    tools = [*others, made("wanted", description, [])]
    assert next(iter(ranked(map(entry_of, tools), question))) == "wanted"


def test_few_tools_are_all_chosen_in_their_order() -> None:
    assert chosen(TOOLS[:5], "the weather", most=5, max_bytes=MAX_BYTES) == TOOLS[:5]


def test_named_tools_come_before_related_ones() -> None:
    question = "forecast of rain and wind"
    assert names(chosen(TOOLS, question, most=1, max_bytes=MAX_BYTES)) == ["weather__forecast"]
    first = {"db__backup", "weather__forecast", "gone"}
    assert names(chosen(TOOLS, question, first=first, most=2, max_bytes=MAX_BYTES)) == [
        "db__backup",
        "weather__forecast",
    ]


def test_chosen_tools_stay_within_their_size() -> None:
    large = made("rain", "rain " * 200, [f"rain_{n}" for n in range(40)])
    question = "Will it rain in Oslo tomorrow?"
    found = chosen([large, *TOOLS], question, most=MOST, max_bytes=1500)
    assert sum(len(msgspec.json.encode(tool.offer)) for tool in found) <= 1500
    assert "weather__forecast" in names(found), "it fits, if a larger one does not"
    assert "rain" not in names(found)


def test_choice_is_the_same_in_every_process() -> None:
    """A worker that takes a run over sends the same tools."""
    script = (
        "from tests.tooling.many_tools import QUESTIONS, TOOLS\n"
        "from tooling.choosing import entry_of, ranked\n"
        "print([ranked(map(entry_of, TOOLS), question) for question, _ in QUESTIONS])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_words_of_the_tools_are_read_once() -> None:
    entries = tuple(map(entry_of, TOOLS))
    assert index_of(entries) is index_of(tuple(map(entry_of, TOOLS)))


@pytest.mark.parametrize("question", ["Will it rain in Oslo tomorrow?", "rain and wind " * 5_000])
def test_choice_among_a_hundred_takes_less_than_a_millisecond(question: str) -> None:
    chosen(TOOLS, question, most=MOST, max_bytes=MAX_BYTES)
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        ranked(map(entry_of, TOOLS), question)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.001
