"""The clock and calendar as a tool."""

import re
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Annotated

from msgspec import Meta

from .asked_times import arguments_in
from .dates import UnknownDate, date_of
from .places import Place, place_named
from .registry import tool
from .results import ToolFailure
from .sentences import sentence
from .services import Services

MAX_ZONES = 12
UNKNOWN_ZONE = sentence("The time zone of %(place)s is not known here.")
NOT_IN_CALENDAR = sentence("That is not in the calendar.")


_FROM_NOW = re.compile(
    r"(?P<before>in |vor )?(?P<count>\d{1,4}|an?|one|two|three|half an|einer?) (?P<unit>h|hours?"
    r"|min"
    r"|minutes?|stunden?|minuten?)(?P<after> ago| earlier| from now| later)?"
)
_FEW = {"two": 2.0, "three": 3.0, "half an": 0.5}


class Unknown(Exception):
    """Raised for a place or a time of day that is not known here."""


@tool(
    timeout=2,
    max_chars=1500,
    from_question=lambda question, follows: arguments_in(question),
)
async def clock(
    place: Annotated[
        str,
        Meta(
            description="City, country, state, time zone or offset: Tokyo, Peru, CET, UTC+3."
            " Empty: here.",
            max_length=60,
        ),
    ] = "",
    time: Annotated[
        str,
        Meta(
            description="A time of day in `place`, to be told in `to_place`: 15:00, 3 pm; or a time"
            " from now: in 3 hours",
            max_length=40,
        ),
    ] = "",
    to_place: Annotated[
        str, Meta(description="A second place, for its time or the difference", max_length=60)
    ] = "",
    date: Annotated[
        str,
        Meta(description="A day: 2026-12-24, next Friday, in 14 days, 2 weeks ago", max_length=60),
    ] = "",
    until: Annotated[
        str,
        Meta(
            description="A second day, to count the days from `date` to it; or a second time of"
            " day,"
            " to count the hours from `time` to it",
            max_length=60,
        ),
    ] = "",
    *,
    services: Services,
) -> str:
    """Tell the time and date now, in any place; convert a time between places; tell the weekday of
    a date; count days between dates, and hours between times. Without arguments: the time and date
    here and now."""
    now = services.now()
    try:
        today = now.astimezone(zone_of(place, services)).date()
        if time and until:
            return hours_between(time, until, now.astimezone(zone_of(place, services)))
        if moved := duration_in(time):
            return later(time, place, now + moved, services)
        if until:
            return days_between(date or "today", until, today)
        if date and not time:
            return weekday_of(date, today)
        if time:
            day = date_of(date, today) if date else today
            told = converted(time, place, to_place, day, services)
            return f"On {in_full(day)}, {told}" if date else told
        if to_place:
            both = f"{now_in(place, now, services)} {now_in(to_place, now, services)}"
            return f"{both} {difference(place, to_place, now, services)}"
        return now_in(place, now, services)
    except Unknown as exc:
        raise ToolFailure(
            str(exc), advice="Name a larger city nearby, or a time zone such as Europe/Paris."
        ) from exc
    except UnknownDate as exc:
        raise ToolFailure(f"{exc}.", advice="Write days as 2026-12-24.") from exc
    except OverflowError as exc:
        raise ToolFailure(NOT_IN_CALENDAR) from exc


def known_place(name: str) -> Place:
    if found := place_named(name):
        return found
    raise Unknown(UNKNOWN_ZONE % {"place": repr(name)})


def zone_of(place: str, services: Services) -> tzinfo:
    return known_place(place).zones[0] if place else services.zone


def now_in(name: str, now: datetime, services: Services) -> str:
    if not name:
        return f"It is {moment(now.astimezone(services.zone))}."
    place = known_place(name)
    local = [now.astimezone(zone) for zone in place.zones]
    by_offset = {each.utcoffset(): each for each in reversed(local)}
    if len(by_offset) == 1:
        return f"In {place.name} it is {moment(local[0])}."
    lines = [
        f"{zone_name(each)}: {moment(each)}"
        for _, each in sorted(by_offset.items(), key=lambda row: row[0] or timedelta())
    ]
    return f"{place.name} has several time zones. " + "; ".join(lines[:MAX_ZONES]) + "."


def converted(written: str, place: str, to_place: str, day: date, services: Services) -> str:
    zone = zone_of(place, services)
    to_zone = zone_of(to_place, services)
    here = datetime.combine(day, time_of(written), tzinfo=zone)
    there = here.astimezone(to_zone)
    # Places may be 26 hours apart.
    which = {
        -2: "two days before",
        -1: "the day before",
        0: "the same day",
        1: "the next day",
        2: "two days later",
    }
    relation = which[(there.date() - here.date()).days]
    return (
        f"{here:%H:%M} {at_place(place)} ({offset(here)})"
        f" is {there:%H:%M} {at_place(to_place)} ({offset(there)}), {relation}."
    )


def difference(place: str, to_place: str, now: datetime, services: Services) -> str:
    here = now.astimezone(zone_of(place, services))
    there = now.astimezone(known_place(to_place).zones[0])
    minutes = int(
        ((there.utcoffset() or timedelta()) - (here.utcoffset() or timedelta())).total_seconds()
        // 60
    )
    if not minutes:
        return "They share the time."
    hours, rest = divmod(abs(minutes), 60)
    apart = f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"The second is {apart} {'ahead' if minutes > 0 else 'behind'}."


def weekday_of(written: str, today: date) -> str:
    day = date_of(written, today)
    return f"{day:%A}, {in_full(day)}, {distance((day - today).days)}."


def days_between(first: str, second: str, today: date) -> str:
    start = date_of(first, today, past=is_today(second))
    end = date_of(second, today, since=max(start, today))
    days = (end - start).days
    weeks, rest = divmod(abs(days), 7)
    longer = [in_years(min(start, end), max(start, end))]
    if weeks:
        longer.append(counted(weeks, "week") + (f" and {counted(rest, 'day')}" if rest else ""))
    others = "; ".join(filter(None, longer))
    from_to = f"From {start:%A}, {in_full(start)}, to {end:%A}, {in_full(end)}"
    return f"{from_to}: {counted(days, 'day')}{f' ({others})' if others else ''}."


def in_years(start: date, end: date) -> str:
    """Return the years and months from one day to a later one; empty below a year."""
    months = (end.year - start.year) * 12 + end.month - start.month - (end.day < start.day)
    years, months = divmod(months, 12)
    if not years:
        return ""
    return counted(years, "year") + (f" and {counted(months, 'month')}" if months else "")


def hours_between(first: str, second: str, now: datetime) -> str:
    """Return the time from one time of day to the next such time of another."""
    is_now = first.strip().lower() == "now"
    start, end = now.time() if is_now else time_of(first), time_of(second)
    minutes = (end.hour - start.hour) * 60 + end.minute - start.minute
    is_next_day = minutes <= 0
    hours, rest = divmod(minutes % (24 * 60) or 24 * 60, 60)
    took = f"{hours} h {rest} min" if rest else f"{hours} h"
    next_day = " the next day" if is_next_day else ""
    return f"From {start:%H:%M}{' now' if is_now else ''} to {end:%H:%M}{next_day}: {took}."


def duration_in(written: str) -> timedelta | None:
    """Return the hours and minutes of "in 3 hours" or "45 minutes ago"; None for other texts."""
    match = _FROM_NOW.fullmatch(written.strip().lower())
    if match is None or not (match["before"] or match["after"]):
        return None
    count = float(match["count"]) if match["count"].isdigit() else _FEW.get(match["count"], 1.0)
    moved = timedelta(hours=count) if match["unit"][0] in "hs" else timedelta(minutes=count)
    is_past = match["before"] == "vor " or match["after"] in {" ago", " earlier"}
    return -moved if is_past else moved


def later(written: str, place: str, moment_then: datetime, services: Services) -> str:
    local = moment_then.astimezone(zone_of(place, services))
    where = f" in {known_place(place).name}" if place else ""
    return f"{written[:1].upper()}{written[1:]}{where}: {moment(local)}."


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if abs(number) == 1 else f"{number} {what}s"


def is_today(written: str) -> bool:
    return written.strip().lower() in {"today", "now"}


def distance(days: int) -> str:
    match days:
        case 0:
            return "today"
        case 1:
            return "tomorrow"
        case -1:
            return "yesterday"
    return f"in {days} days" if days > 0 else f"{-days} days ago"


def time_of(written: str) -> time:
    match = re.fullmatch(
        r"(\d{1,2})(?:[:.h](\d{2}))? ?(?:uhr)? ?(a\.?m\.?|p\.?m\.?|noon|midnight)?|(noon|midnight)",
        written.strip().lower(),
    )
    if match is None:
        raise Unknown(f"{written!r} is not a time of day.")
    if match[4]:
        return time(12 if match[4] == "noon" else 0)
    hour, minute = int(match[1]), int(match[2] or 0)
    half = {"noon": "pm", "midnight": "am"}.get(match[3], (match[3] or "").replace(".", ""))
    if half in {"am", "pm"}:
        hour = hour % 12 + (12 if half == "pm" else 0) if 1 <= hour <= 12 else 99
    if hour > 23 or minute > 59:
        raise Unknown(f"{written!r} is not a time of day.")
    return time(hour, minute)


def moment(local: datetime) -> str:
    return f"{local:%H:%M} on {local:%A}, {in_full(local.date())} ({offset(local)})"


def in_full(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def offset(local: datetime) -> str:
    minutes = int((local.utcoffset() or timedelta()).total_seconds() // 60)
    if not minutes:
        return "UTC"
    return f"UTC{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def zone_name(local: datetime) -> str:
    return str(local.tzinfo).rpartition("/")[2].replace("_", " ")


def at_place(place: str) -> str:
    return f"in {known_place(place).name}" if place else "here"
