"""The clock: times in places, days and their distances, and the arguments in a question.

It is Sunday, 22 November 2026, 19:05 UTC.
"""

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from tooling.asked_times import arguments_in
from tooling.clock import clock
from tooling.dates import UnknownDate, date_of
from tooling.places import place_named
from tooling.results import ToolFailure
from tooling.services import Services

NOW = datetime(2026, 11, 22, 19, 5, tzinfo=UTC)
TODAY = NOW.date()


async def told(*, zone: str = "UTC", now: datetime = NOW, **arguments: str) -> str:
    services = Services(now=lambda: now, zone=ZoneInfo(zone))
    return (await clock.run(clock.parameters.check(dict(arguments)), services)).text


# --- Places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ("Tokyo", "Asia/Tokyo"),
        ("tokio", "Asia/Tokyo"),
        ("東京", "Asia/Tokyo"),
        ("Japan", "Asia/Tokyo"),
        ("New York", "America/New_York"),
        ("nyc", "America/New_York"),
        ("San Francisco", "America/Los_Angeles"),
        ("San Francisco, CA", "America/Los_Angeles"),
        ("texas", "America/Chicago"),
        ("London", "Europe/London"),
        ("Paris, France", "Europe/Paris"),
        ("München", "Europe/Berlin"),
        ("Munchen", "Europe/Berlin"),
        ("Zürich", "Europe/Zurich"),
        ("São Paulo", "America/Sao_Paulo"),
        ("Delhi", "Asia/Kolkata"),
        ("India", "Asia/Kolkata"),
        ("Peru", "America/Lima"),
        ("the Netherlands", "Europe/Amsterdam"),
        ("South Korea", "Asia/Seoul"),
        ("Beijing", "Asia/Shanghai"),
        ("Dubai", "Asia/Dubai"),
        ("Sydney", "Australia/Sydney"),
        ("CET", "Europe/Berlin"),
        ("PST", "America/Los_Angeles"),
        ("EST time", "America/New_York"),
        ("bst timezone", "Europe/London"),
        ("UTC", "Etc/UTC"),
        ("Europe/Rome", "Europe/Rome"),
        ("america/new york", "America/New_York"),
        ("UTC+3", "UTC+03:00"),
        ("GMT-5", "UTC-05:00"),
        ("+5:30", "UTC+05:30"),
        ("Buenos Aires", "America/Argentina/Buenos_Aires"),
    ],
)
def test_place_is_known_by_many_names(place: str, zone: str) -> None:
    found = place_named(place)
    assert found is not None
    assert str(found.zones[0]).lower() == zone.lower()


@pytest.mark.parametrize(
    "place",
    [
        "Gotham",
        "",
        " ",
        "../../etc/passwd",
        "/etc/localtime",
        "UTC+99",
        "x" * 100,
        "\x00",
        "zone.tab",
        "Europe/",
        "Europe/../Europe/Rome",
    ],
)
def test_unknown_place_has_no_zone(place: str) -> None:
    assert place_named(place) is None


async def test_clock_lists_every_zone_of_a_large_country() -> None:
    text = await told(place="USA")
    assert "several time zones" in text
    assert "New York: 14:05" in text
    assert "Los Angeles: 11:05" in text


# --- The tool -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "It is 19:05 on Sunday, 22 November 2026 (UTC)."),
        ({"zone": "Europe/Paris"}, "It is 20:05 on Sunday, 22 November 2026 (UTC+01:00)."),
        ({"place": "tokyo"}, "In Tokyo it is 04:05 on Monday, 23 November 2026 (UTC+09:00)."),
        ({"place": "Nepal"}, "In Nepal it is 00:50 on Monday, 23 November 2026 (UTC+05:45)."),
        (
            {"time": "3 pm", "place": "Tokyo", "to_place": "London"},
            "15:00 in Tokyo (UTC+09:00) is 06:00 in London (UTC), the same day.",
        ),
        (
            {"time": "22:00", "place": "NYC", "to_place": "Paris"},
            "22:00 in NYC (UTC-05:00) is 04:00 in Paris (UTC+01:00), the next day.",
        ),
        (
            {"time": "noon", "to_place": "Sydney"},
            "12:00 here (UTC) is 23:00 in Sydney (UTC+11:00), the same day.",
        ),
        ({"date": "2026-12-24"}, "Thursday, 24 December 2026, in 32 days."),
        ({"date": "in fourteen days"}, "Sunday, 6 December 2026, in 14 days."),
        ({"date": "tomorrow"}, "Monday, 23 November 2026, tomorrow."),
        ({"date": "in 2 days"}, "Tuesday, 24 November 2026, in 2 days."),
        ({"date": "yesterday"}, "Saturday, 21 November 2026, yesterday."),
        ({"date": "2 days ago"}, "Friday, 20 November 2026, 2 days ago."),
        (
            {"date": "today", "until": "24 December 2026"},
            "From Sunday, 22 November 2026, to Thursday, 24 December 2026: 32 days (4 weeks and 4 "
            "days).",
        ),
        (
            {"until": "tomorrow"},
            "From Sunday, 22 November 2026, to Monday, 23 November 2026: 1 day.",
        ),
        (
            {"date": "1 May", "until": "today"},
            "From Friday, 1 May 2026, to Sunday, 22 November 2026: 205 days (29 weeks and 2 days).",
        ),
        (
            {"date": "2024-02-01", "until": "2024-03-01"},
            "From Thursday, 1 February 2024, to Friday, 1 March 2024: 29 days (4 weeks and 1 day).",
        ),
        (
            {"date": "2026-12-01", "until": "tomorrow"},
            "From Tuesday, 1 December 2026, to Monday, 23 November 2026: -8 days (1 week and 1 "
            "day).",
        ),
        (
            {"date": "24 December", "until": "3 January"},
            "From Thursday, 24 December 2026, to Sunday, 3 January 2027: 10 days (1 week and 3 "
            "days).",
        ),
        # Time zones lie up to 26 hours apart, and their distance changes with the date.
        (
            {"time": "23:30", "place": "Pago Pago", "to_place": "Kiritimati"},
            "23:30 in Pago Pago (UTC-11:00) is 00:30 in Kiritimati (UTC+14:00), two days later.",
        ),
        (
            {"time": "00:30", "place": "Kiritimati", "to_place": "Pago Pago"},
            "00:30 in Kiritimati (UTC+14:00) is 23:30 in Pago Pago (UTC-11:00), two days before.",
        ),
        (
            {"time": "15:00", "place": "New York", "to_place": "Phoenix", "date": "1 July 2027"},
            "On 1 July 2027, 15:00 in New York (UTC-04:00) is 12:00 in Phoenix (UTC-07:00), the "
            "same "
            "day.",
        ),
        (
            {"time": "12 midnight", "place": "UTC"},
            "00:00 in UTC (UTC) is 00:00 here (UTC), the same day.",
        ),
        # Today is the day at the place that is asked about.
        ({"place": "Tokyo", "date": "today"}, "Monday, 23 November 2026, today."),
    ],
)
async def test_clock_answers(arguments: dict[str, str], text: str) -> None:
    assert await told(**arguments) == text


async def test_clock_compares_two_places() -> None:
    assert (await told(place="London", to_place="Mumbai")).endswith(
        "The second is 5 h 30 min ahead."
    )


async def test_clock_respects_summer_time() -> None:
    assert "UTC+02:00" in await told(place="Paris", now=datetime(2026, 7, 1, tzinfo=UTC))
    assert "UTC+01:00" in await told(place="Paris", now=datetime(2026, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "arguments",
    [
        {"place": "Gotham"},
        {"date": "the twelfth of never"},
        {"date": "2026-02-30"},
        {"time": "25:00"},
        {"time": "13 pm"},
        {"date": "3/4/2026"},
        {"date": "in 999999 years"},
        {"date": "9999-12-31", "time": "23:00", "place": "New York"},
    ],
)
async def test_clock_names_what_it_does_not_know(arguments: dict[str, str]) -> None:
    with pytest.raises(ToolFailure):
        await told(**arguments)


# --- Days -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-12-24", date(2026, 12, 24)),
        ("24 December 2026", date(2026, 12, 24)),
        ("24th of December, 2026", date(2026, 12, 24)),
        ("December 24, 2026", date(2026, 12, 24)),
        ("Dec 24th", date(2026, 12, 24)),
        ("24.12.2026", date(2026, 12, 24)),
        ("12/24/2026", date(2026, 12, 24)),
        ("24/12/26", date(2026, 12, 24)),
        ("24. Dezember 2026", date(2026, 12, 24)),
        ("24 décembre 2026", date(2026, 12, 24)),
        ("24 de diciembre de 2026", date(2026, 12, 24)),
        ("Thursday, 24 December 2026", date(2026, 12, 24)),
        ("1 January", date(2027, 1, 1)),
        ("22 November", TODAY),
        ("29 February", date(2028, 2, 29)),
        ("today", TODAY),
        ("tomorrow", date(2026, 11, 23)),
        ("yesterday", date(2026, 11, 21)),
        ("übermorgen", date(2026, 11, 24)),
        ("in 14 days", date(2026, 12, 6)),
        ("in two weeks", date(2026, 12, 6)),
        ("a month from now", date(2026, 12, 22)),
        ("3 weeks ago", date(2026, 11, 1)),
        ("90 days from today", date(2027, 2, 20)),
        ("in 1 year", date(2027, 11, 22)),
        ("vor 2 Tagen", date(2026, 11, 20)),
        ("2 weeks after 1 January 2027", date(2027, 1, 15)),
        ("3 days before Christmas", date(2026, 12, 22)),
        ("next Friday", date(2026, 11, 27)),
        ("friday", date(2026, 11, 27)),
        ("last Friday", date(2026, 11, 20)),
        ("next Sunday", date(2026, 11, 29)),
        ("this Sunday", TODAY),
        ("nächsten Freitag", date(2026, 11, 27)),
        ("vendredi prochain", date(2026, 11, 27)),
        ("Christmas", date(2026, 12, 25)),
        ("Christmas 2030", date(2030, 12, 25)),
        ("New Year's Eve", date(2026, 12, 31)),
        ("last Halloween", date(2026, 10, 31)),
    ],
)
def test_day_is_read(text: str, day: date) -> None:
    assert date_of(text, TODAY) == day


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-13-01",
        "31 April 2026",
        "3/4/2026",
        "in 99999999 days",
        "in 20000 years",
        "x" * 100,
        "1 1 1",
        "next",
        "the day",
        "\x00",
    ],
)
def test_text_that_is_no_day_is_rejected(text: str) -> None:
    with pytest.raises(UnknownDate):
        date_of(text, TODAY)


# --- In a question --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "arguments"),
    [
        ("What time is it in Tokyo?", {"place": "Tokyo"}),
        ("what's the time in tokyo", {"place": "tokyo"}),
        ("what times is it in texas?", {"place": "texas"}),
        ("Hey, what time is it in Berlin right now?", {"place": "Berlin"}),
        ("in bst timezone, what time is it", {"place": "bst timezone"}),
        ("what is my timezone in california?", {"place": "california"}),
        ("what time zone is Denver in", {"place": "Denver"}),
        ("tokyo time", {"place": "tokyo"}),
        ("current time in India please", {"place": "India"}),
        ("Wie spät ist es in München?", {"place": "München"}),
        ("Quelle heure est-il à Paris ?", {"place": "Paris"}),
        ("Qué hora es en Buenos Aires?", {"place": "Buenos Aires"}),
        ("東京は今何時ですか？", {"place": "東京"}),
        ("What time is it in Gotham?", {"place": "Gotham"}),
        ("What time is it?", {}),
        ("What time is it now?", {}),
        ("do you know what time it is", {}),
        ("what day is it today", {}),
        ("What's today's date?", {}),
        ("What year is it?", {}),
        (
            "what time is it in London when it is 3 pm in Tokyo",
            {"time": "3 pm", "place": "Tokyo", "to_place": "London"},
        ),
        ("What is 15:00 EST in Berlin?", {"time": "15:00", "place": "EST", "to_place": "Berlin"}),
        ("how many days until 24 December 2026", {"date": "today", "until": "24 December 2026"}),
        ("How long until Christmas?", {"date": "today", "until": "Christmas"}),
        ("Wie viele Tage sind es noch bis Weihnachten?", {"date": "today", "until": "Weihnachten"}),
        ("how many days since 1 January 2000", {"date": "1 January 2000", "until": "today"}),
        (
            "how many days are there between 1 March 2026 and 15 April 2026?",
            {"date": "1 March 2026", "until": "15 April 2026"},
        ),
        ("what day will it be in fourteen days", {"date": "in fourteen days"}),
        ("What day of the week was 1 May 2020?", {"date": "1 May 2020"}),
        ("when is next Friday", {"date": "next Friday"}),
        ("what's the date 90 days from now", {"date": "90 days from now"}),
    ],
)
async def test_arguments_for_the_clock_are_found_in_a_question(
    question: str, arguments: dict[str, str]
) -> None:
    assert arguments_in(question) == arguments


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is the capital of Peru?",
        "what time does the store close",
        "What is the time complexity of quicksort?",
        "is it time to go",
        "what is a good time to visit Japan",
        "what time is sunset in Oslo",
        "What time is the Super Bowl?",
        "What was the weather yesterday?",
        "what is the best day of the week",
        "when is the next election",
        "What is 12 * 7?",
        "what time " * 100,
        "days between " * 20,
    ],
)
def test_other_questions_have_no_arguments_for_the_clock(question: str) -> None:
    started = time.thread_time()
    assert arguments_in(question) is None
    assert time.thread_time() - started < 0.1
