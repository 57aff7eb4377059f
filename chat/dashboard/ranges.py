"""The times that an operator can look at. All are in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chat.telemetry.periods import LENGTHS, start_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAX_LENGTH = 366 * DAY
MAX_HOURS = 14 * DAY  # A longer range is read from the rows of days.
MAX_STEPS = 62  # points in a chart
TICKS = 2  # distances between the times of an axis
STEPS = (HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY)


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` up to, not including, `end`, in steps that charts show. `span` has the rows."""

    name: str
    start: datetime
    end: datetime
    step: timedelta
    span: str

    @property
    def label(self) -> str:
        return f"{self.start:%-d %b %Y %H:%M} – {self.end:%-d %b %Y %H:%M} UTC"

    @property
    def starts(self) -> list[datetime]:
        """The starts of the steps."""
        count = -(-(self.end - self.start) // self.step)
        return [self.start + number * self.step for number in range(count)]

    def step_of(self, moment: datetime) -> int:
        return (moment - self.start) // self.step

    def short(self, moment: datetime) -> str:
        """Return a moment as the axis of a chart shows it."""
        if self.end - self.start <= DAY:
            return f"{moment:%H:%M}"
        return f"{moment:%-d %b %H:%M}" if self.step < DAY else f"{moment:%-d %b}"

    @property
    def ticks(self) -> list[str]:
        """Times at equal distances, for an axis."""
        length = self.end - self.start
        form = "%H:%M" if length <= DAY else "%-d %b"
        return [
            (self.start + length * number / TICKS).strftime(form) for number in range(TICKS + 1)
        ]


LATEST = {
    "hour": (HOUR, LENGTHS["minute"], "minute"),
    "day": (DAY, HOUR, "hour"),
    "week": (7 * DAY, 3 * HOUR, "hour"),
    "month": (30 * DAY, DAY, "day"),
}
DEFAULT = "day"


def latest(name: str, now: datetime) -> Range:
    """Return the range of this name that ends with the step of `now`."""
    length, step, span = LATEST[name]
    today = start_of("day", now)
    end = today + ((now - today) // step + 1) * step
    return Range(name, end - length, end, step, span)


def range_of(query: Mapping[str, str], now: datetime) -> Range:
    """Return the range that a query asks for. Raise ValueError, with a message, if it is wrong."""
    first, last = query.get("from", "").strip(), query.get("to", "").strip()
    if not (first or last):
        name = query.get("range", DEFAULT)
        if name not in LATEST:
            raise ValueError(f"There is no range of this name. Choose one of {', '.join(LATEST)}.")
        return latest(name, now)
    start = moment_of(first) if first else None
    end = moment_of(last, is_end=True) if last else now
    start = start or end - DAY
    if start >= end:
        raise ValueError("“From” must be before “to”.")
    if end - start > MAX_LENGTH:
        raise ValueError(f"A range has at most {MAX_LENGTH.days} days.")
    span = "hour" if end - start <= MAX_HOURS else "day"
    start, whole = start_of(span, start), start_of(span, end)
    end = whole if whole == end else whole + LENGTHS[span]
    fitting = (
        step for step in STEPS if step >= LENGTHS[span] and (end - start) / step <= MAX_STEPS
    )
    return Range("", start, end, next(fitting), span)


def moment_of(text: str, *, is_end: bool = False) -> datetime:
    """Return a date or a time, in UTC. A date as the end of a range includes its day."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if not 2000 <= moment.year <= 2100:
            raise ValueError
        return moment + DAY if is_end and len(text) <= len("2026-01-31") else moment
    except (ValueError, OverflowError):
        raise ValueError("A time must look like 2026-01-31 or 2026-01-31T14:00, in UTC.") from None
