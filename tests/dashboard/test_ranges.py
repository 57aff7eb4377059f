"""An operator can look at the last hour, day, week or month, or at any range up to a year."""

from datetime import UTC, datetime, timedelta

import pytest

from chat.dashboard.ranges import LATEST, MAX_STEPS, latest, range_of

NOW = datetime(2026, 11, 28, 14, 37, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("hour", datetime(2026, 11, 28, 13, 38), datetime(2026, 11, 28, 14, 38)),
        ("day", datetime(2026, 11, 27, 15), datetime(2026, 11, 28, 15)),
        ("week", datetime(2026, 11, 21, 15), datetime(2026, 11, 28, 15)),
        ("month", datetime(2026, 10, 30), datetime(2026, 11, 29)),
    ],
)
def test_latest_range_ends_with_the_step_of_now(name: str, start: datetime, end: datetime) -> None:
    shown = latest(name, NOW)
    assert (shown.start, shown.end) == (start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))
    assert shown.starts[-1] <= NOW < shown.end
    assert len(shown.starts) <= MAX_STEPS


def test_no_query_is_the_last_day() -> None:
    assert range_of({}, NOW) == latest("day", NOW)


@pytest.mark.parametrize(
    ("first", "last", "start", "end", "span", "hours"),
    [
        ("2026-11-20", "2026-11-20", (20, 0), (21, 0), "hour", 1),
        ("2026-11-20T06:30", "2026-11-20T08:10", (20, 6), (20, 9), "hour", 1),
        ("2026-11-20T06:30:00+02:00", "2026-11-20T07:00", (20, 4), (20, 7), "hour", 1),
        ("2026-11-01", "2026-11-14", (1, 0), (15, 0), "hour", 6),
        ("2026-11-01", "2026-11-20T00:10", (1, 0), (21, 0), "day", 24),
        ("2026-11-27", "", (27, 0), (28, 15), "hour", 1),
        ("", "2026-11-27", (27, 0), (28, 0), "hour", 1),
    ],
)
def test_range_from_to_covers_whole_periods(
    first: str, last: str, start: tuple[int, int], end: tuple[int, int], span: str, hours: int
) -> None:
    shown = range_of({"from": first, "to": last}, NOW)
    assert shown.start == datetime(2026, 11, *start, tzinfo=UTC)
    assert shown.end == datetime(2026, 11, *end, tzinfo=UTC)
    assert (shown.span, shown.step) == (span, timedelta(hours=hours))


@pytest.mark.parametrize("days", [1, 2, 3, 7, 13, 14, 15, 31, 62, 63, 180, 365])
def test_any_range_has_few_steps_that_cover_it(days: int) -> None:
    shown = range_of({"from": f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M}"}, NOW)
    assert len(shown.starts) <= MAX_STEPS
    assert shown.step_of(shown.end - timedelta(seconds=1)) == len(shown.starts) - 1


@pytest.mark.parametrize(
    "query",
    [
        {"range": "decade"},
        {"range": "<script>"},
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": "2026-11-28", "to": "2026-11-20"},
        {"from": "2026-11-20T05:00", "to": "2026-11-20T05:00"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"from": "0001-01-01", "to": "0001-01-02"},
        {"to": "9999-12-31"},
        {"from": "0001-01-01T00:00:00+23:00"},
        {"from": "2026-11-20\0"},
        {"from": "١٢٣٤-١٢-١٢"},
    ],
)
def test_wrong_range_is_refused_with_a_message(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        range_of(query, NOW)


def test_names_of_ranges_are_those_of_the_page() -> None:
    assert list(LATEST) == ["hour", "day", "week", "month"]
