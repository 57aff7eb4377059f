"""Questions about days and times in everyday words: what the clock is asked for them."""

import pytest

from tooling.asked_times import arguments_in


@pytest.mark.parametrize(
    ("question", "arguments"),
    [
        ("What time is it in Tokyo?", {"place": "Tokyo"}),
        ("How many days are left until 24 December?", {"date": "today", "until": "24 December"}),
        ("how many days until Christmas", {"date": "today", "until": "Christmas"}),
        ("What day is 24 December 2026?", {"date": "24 December 2026"}),
        ("What day was 3 May 1990?", {"date": "3 May 1990"}),
        ("What day of the week was July 4, 1776?", {"date": "July 4, 1776"}),
        ("What weekday is Christmas this year?", {"date": "Christmas"}),
        ("On what day does Christmas fall?", {"date": "Christmas"}),
        ("What day will it be in 10 days?", {"date": "in 10 days"}),
        ("What is the date in 3 weeks?", {"date": "in 3 weeks"}),
        ("What's the date three weeks from now?", {"date": "three weeks from now"}),
        ("What date is 90 days from now?", {"date": "90 days from now"}),
        ("What was the date 100 days ago?", {"date": "100 days ago"}),
        ("What date was it 2 weeks ago?", {"date": "2 weeks ago"}),
        ("What will the date be in 45 days?", {"date": "in 45 days"}),
        ("what date is next Friday", {"date": "next Friday"}),
        ("When is next Friday?", {"date": "next Friday"}),
        ("90 days from today", {"date": "90 days from today"}),
        ("90 days after 1 March 2026", {"date": "90 days after 1 March 2026"}),
        ("What is 90 days after 1 March 2026?", {"date": "90 days after 1 March 2026"}),
        ("How many days since 1 January 2026?", {"date": "1 January 2026", "until": "today"}),
        (
            "How many days have passed since 1 January 2026?",
            {"date": "1 January 2026", "until": "today"},
        ),
        ("How long has it been since 3 May 1990?", {"date": "3 May 1990", "until": "today"}),
        ("How many days ago was 1 May 2026?", {"date": "1 May 2026", "until": "today"}),
        ("How many weeks until Christmas?", {"date": "today", "until": "Christmas"}),
        ("How many days between 1 May and 1 June 2027?", {"date": "1 May", "until": "1 June 2027"}),
        ("How many days from May 1 to June 1?", {"date": "May 1", "until": "June 1"}),
        (
            "How many days are there between 2026-01-01 and 2026-12-31?",
            {"date": "2026-01-01", "until": "2026-12-31"},
        ),
        ("How many days are left in the year?", {"date": "today", "until": "31 December"}),
        (
            "How many days are in February 2028?",
            {"date": "1 February 2028", "until": "1 month after 1 February 2028"},
        ),
        ("How old is someone born on 3 May 1990?", {"date": "3 May 1990", "until": "today"}),
        ("I was born on 3 May 1990. How old am I?", {"date": "3 May 1990", "until": "today"}),
        ("How old am I if I was born on May 3, 1990?", {"date": "May 3, 1990", "until": "today"}),
        (
            "How old would someone born on 3 May 1990 be today?",
            {"date": "3 May 1990", "until": "today"},
        ),
        (
            "My birthday is 3 May 1990, how many days old am I?",
            {"date": "3 May 1990", "until": "today"},
        ),
        ("What time will it be in 3 hours?", {"time": "in 3 hours"}),
        ("What time was it 45 minutes ago?", {"time": "45 minutes ago"}),
        ("How long is it from 9:30 to 17:15?", {"time": "9:30", "until": "17:15"}),
        ("How many hours between 9am and 5pm?", {"time": "9am", "until": "5pm"}),
        ("How many hours are there from 9 am to 5:30 pm?", {"time": "9 am", "until": "5:30 pm"}),
        ("How many hours until midnight?", {"time": "now", "until": "midnight"}),
        ("3 pm Tokyo in Berlin", {"time": "3 pm", "place": "Tokyo", "to_place": "Berlin"}),
        ("3pm Tokyo time in Berlin", {"time": "3pm", "place": "Tokyo time", "to_place": "Berlin"}),
        ("3 pm in Tokyo in Berlin time", {"time": "3 pm", "place": "Tokyo", "to_place": "Berlin"}),
        (
            "What is 3 pm Tokyo time in Berlin?",
            {"time": "3 pm", "place": "Tokyo time", "to_place": "Berlin"},
        ),
        (
            "What time is 3 pm in Tokyo in Berlin?",
            {"time": "3 pm", "place": "Tokyo", "to_place": "Berlin"},
        ),
        (
            "When it's 9am in London what time is it in New York?",
            {"time": "9am", "place": "London", "to_place": "New York"},
        ),
        (
            "If it's 9 am in London, what time is it in Tokyo?",
            {"time": "9 am", "place": "London", "to_place": "Tokyo"},
        ),
        ("9am London to New York", {"time": "9am", "place": "London", "to_place": "New York"}),
        ("convert 9am PST to CET", {"time": "9am", "place": "PST", "to_place": "CET"}),
        ("9 am PST in CET", {"time": "9 am", "place": "PST", "to_place": "CET"}),
        ("time difference between Tokyo and Berlin", {"place": "Tokyo", "to_place": "Berlin"}),
        (
            "What is the time difference between Tokyo and Berlin?",
            {"place": "Tokyo", "to_place": "Berlin"},
        ),
        ("How many hours ahead is Tokyo of Berlin?", {"place": "Berlin", "to_place": "Tokyo"}),
        ("How many hours is Tokyo ahead of London?", {"place": "London", "to_place": "Tokyo"}),
        ("what time is it here?", {}),
        ("what's today's date?", {}),
        ("What day is it tomorrow?", {"date": "tomorrow"}),
        ("What day is tomorrow?", {"date": "tomorrow"}),
        ("what year is it", {}),
        ("Wie spät ist es in Tokio?", {"place": "Tokio"}),
        ("Wie viele Tage sind es noch bis Weihnachten?", {"date": "today", "until": "Weihnachten"}),
        ("Wie viele Tage bis zum 24. Dezember?", {"date": "today", "until": "24. Dezember"}),
        ("Wie lange ist es noch bis Silvester?", {"date": "today", "until": "Silvester"}),
        ("Welcher Wochentag ist der 24. Dezember 2026?", {"date": "der 24. Dezember 2026"}),
        ("Welcher Wochentag war der 3. Mai 1990?", {"date": "der 3. Mai 1990"}),
        ("Was für ein Tag war der 3. Mai 1990?", {"date": "der 3. Mai 1990"}),
        ("An welchem Tag ist Heiligabend?", {"date": "Heiligabend"}),
        ("Welches Datum ist in 3 Wochen?", {"date": "in 3 Wochen"}),
        ("Welches Datum haben wir in 90 Tagen?", {"date": "in 90 Tagen"}),
        ("Welcher Tag ist heute?", {}),
        ("Welcher Tag ist in 10 Tagen?", {"date": "in 10 Tagen"}),
        ("Wie viele Tage seit dem 1. Januar 2026?", {"date": "1. Januar 2026", "until": "today"}),
        ("Wie lange ist der 3. Mai 1990 her?", {"date": "3. Mai 1990", "until": "today"}),
        (
            "Wie alt ist jemand, der am 3. Mai 1990 geboren ist?",
            {"date": "3. Mai 1990", "until": "today"},
        ),
        (
            "Ich bin am 3. Mai 1990 geboren, wie alt bin ich?",
            {"date": "3. Mai 1990", "until": "today"},
        ),
        ("Wie viel Uhr ist es in New York?", {"place": "New York"}),
        (
            "15 Uhr in Tokio, wie spät ist das in Berlin?",
            {"time": "15 Uhr", "place": "Tokio", "to_place": "Berlin"},
        ),
        (
            "Wie viele Tage liegen zwischen dem 1. Mai und dem 1. Juni?",
            {"date": "1. Mai", "until": "dem 1. Juni"},
        ),
        ("Wie spät ist es in 3 Stunden?", {"time": "in 3 Stunden"}),
        ("Wie lange ist es von 9:30 bis 17:15 Uhr?", {"time": "9:30", "until": "17:15 Uhr"}),
    ],
)
def test_question_about_a_day_or_a_time_is_recognized(
    question: str, arguments: dict[str, str]
) -> None:
    assert arguments_in(question) == arguments
