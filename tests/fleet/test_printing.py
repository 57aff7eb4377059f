"""What `ask` prints when an answer has ended."""

import io

import pytest

from agenticfleet.printing import Printer
from chat.doors.client.protocol import Done, Summary, Timings, Usage


def noted(**counts: int) -> str:
    """Return the notes of a completed answer with this usage."""
    summary = Summary(status="completed", timings=Timings(total_ms=2100), usage=Usage(**counts))
    out, err = io.StringIO(), io.StringIO()
    Printer(out, err, is_json=False).print_event(Done(data=summary))
    return err.getvalue().strip()


@pytest.mark.parametrize(
    ("counts", "notes"),
    [
        ({"input_tokens": 4210}, "(2.1 s)"),
        (
            {"input_tokens": 4210, "cached_tokens": 3100},
            "(2.1 s, 73 % of 4,210 tokens read cached)",
        ),
        (
            {"input_tokens": 4210, "cached_tokens": 4210},
            "(2.1 s, 100 % of 4,210 tokens read cached)",
        ),
    ],
)
def test_time_is_noted_and_cached_input_where_a_server_reports_it(
    counts: dict[str, int], notes: str
) -> None:
    assert noted(**counts) == notes
