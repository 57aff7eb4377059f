"""What is said of quotations below an answer: on pages, in exports, in the terminal."""

import io

import msgspec
import pytest
from django.test import Client

from agenticfleet.printing import Printer
from chat.conversations import Conversation
from chat.database import in_database
from chat.doors.client.protocol import Done as TerminalDone
from chat.protocol.events import Done, ResponseDelta, ending_events
from chat.protocol.terms import Ending, MissedQuote, QuoteCheck, Summary
from chat.rendering.answer import AnswerView
from chat.rendering.remarks import missed_quotes_of, remarks_of
from tests.pages.conversations import conversation_of, page, run_of
from tests.pages.test_export import exported
from tests.pages.test_sharing import share

from .events import RUN, TIMINGS, USAGE, decided
from .page import history_page, shown, text_of

MISSED = [
    MissedQuote("it <never> rains", [2]),
    MissedQuote("Take a coat", [1, 3], found_in=2),
]
CHECK = QuoteCheck(checked=4, found=2, missed=MISSED, unknown=[4, 7])
ENDING = Ending(status="completed", timings=TIMINGS, usage=USAGE, path="light", quotes=CHECK)
LINE = "2 of 4 quotes found in their source. [4], [7] cite nothing."


def line_of(check: QuoteCheck) -> str:
    return " ".join(remarks_of(Summary(quotes=check)))


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (QuoteCheck(checked=3, found=2), "2 of 3 quotes found in their source."),
        (QuoteCheck(checked=1, found=1), "1 of 1 quote found in its source."),
        (QuoteCheck(unknown=[4]), "[4] cites nothing."),
        (CHECK, LINE),
    ],
)
def test_one_line_says_what_was_found(check: QuoteCheck, line: str) -> None:
    assert line_of(check) == line


def test_quotes_that_were_not_found_are_listed() -> None:
    more = msgspec.structs.replace(CHECK, checked=9)
    assert missed_quotes_of(Summary(quotes=more)) == (
        "“it <never> rains” is not in [2].",
        "“Take a coat” is not in [1], [3], but in [2].",
        "And 5 more.",
    )


def test_page_shows_the_line_once_and_the_same_from_history() -> None:
    live, _ = shown(decided(), ResponseDelta(delta="Hello"), *ending_events(ENDING, "Hello"))
    again = history_page(AnswerView.of_record(RUN, [], "Hello", ENDING))
    for foot in (live.part("end"), again.part("end")):
        assert text_of(foot).count(LINE) == 1
        assert "“Take a coat” is not in [1], [3], but in [2]." in text_of(foot)


def test_answer_without_quotations_has_no_line() -> None:
    plain = msgspec.structs.replace(ENDING, quotes=None)
    live, _ = shown(decided(), ResponseDelta(delta="Hello"), *ending_events(plain, "Hello"))
    assert "remarks" not in live.part("end")


@pytest.mark.django_db
def test_shared_page_has_the_line(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, "Why?", "So.", ending=ENDING)
    html = page(Client(), share(client, chat))
    assert html.count(LINE) == 1
    assert "“it &lt;never&gt; rains” is not in [2]." in html


@pytest.mark.django_db(transaction=True)
async def test_exported_chat_has_the_line(client: Client) -> None:
    def made() -> Conversation:
        chat = conversation_of(client)
        run_of(chat, "Why?", "So.", ending=ENDING)
        return chat

    text = await exported(client, await in_database(made), "markdown")
    assert "2 of 4 quotes found in their source." in text


def test_terminal_notes_what_was_found() -> None:
    frame = msgspec.json.encode(Done(data=Summary(status="completed", quotes=CHECK)))
    out, notes = io.StringIO(), io.StringIO()
    printer = Printer(out, notes, is_json=False)
    printer.print_event(msgspec.json.decode(frame, type=TerminalDone))
    assert f"{LINE} “it <never> rains” is not in [2]." in notes.getvalue()
    assert "quotes" not in out.getvalue()
