"""The clock and calendar as a tool, and the time or day that a question asks for."""

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated

from msgspec import Meta

from .dates import UnknownDate, date_of
from .places import Place, place_named
from .registry import tool
from .results import ToolFailure
from .sentences import sentence
from .services import Services

MAX_QUESTION_CHARS = 300
MAX_ZONES = 12
UNKNOWN_ZONE = sentence("The time zone of %(place)s is not known here.")
NOT_IN_CALENDAR = sentence("That is not in the calendar.")


class Unknown(Exception):
    """Raised for a place or a time of day that is not known here."""


_PHRASES = re.compile(
    "|".join(
        (
            r"\bwhat(?:'?s| is| are)? (?:the )?(?:current |exact |local )?(?:time|date|day)\b"
            r"(?! (?:complexity|series|zone))",
            r"\bwhat times? is it\b",
            r"\bwhat day (?:is|of)\b",
            r"\btoday'?s date\b",
            r"\bdate (?:today|tomorrow)\b",
            r"\b(?:days|weeks|months|hours|sleeps) (?:until|till|left|to|before|since) ",
            r"\bhow (?:many|long) .{0,20}\buntil\b",
            r"\b(?:time|clock) (?:is it )?in \w+",
            r"\btime ?zone\b",
            r"\bwhat (?:year|month|week) is (?:it|this)\b",
            r"wie sp[äa]t|quelle heure|qué hora|che ore|que horas|который час|сколько времени",
            r"几点|何時|몇 시|saat kaç|hoe laat",
        )
    ),
    re.IGNORECASE,
)


@tool(
    timeout=2,
    max_chars=1500,
    phrases=_PHRASES,
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
            description="A time of day in `place`, to be told in `to_place`: 15:00, 3 pm",
            max_length=20,
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
        str, Meta(description="A second day, to count the days from `date` to it", max_length=60)
    ] = "",
    *,
    services: Services,
) -> str:
    """Tell the time and date now, in any place; convert a time between places; tell the weekday of
    a date; count days between dates. Without arguments: the time and date here and now."""
    now = services.now()
    try:
        today = now.astimezone(known_place(place).zones[0] if place else services.zone).date()
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
    zone = known_place(place).zones[0] if place else services.zone
    to_zone = known_place(to_place).zones[0] if to_place else services.zone
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
    here = now.astimezone(known_place(place).zones[0] if place else services.zone)
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
    in_weeks = (
        f" ({counted(weeks, 'week')}{f' and {counted(rest, "day")}' if rest else ''})"
        if weeks
        else ""
    )
    from_to = f"From {start:%A}, {in_full(start)}, to {end:%A}, {in_full(end)}"
    return f"{from_to}: {counted(days, 'day')}{in_weeks}."


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


# --- In a question --------------------------------------------------------------------------------

_NOW = (
    r"(?:\W*(?:right now|now|currently|at the moment|at present|today|please|pls|jetzt|gerade"
    r"|maintenant|ahora|adesso))*"
)
_IN = r"(?:in|at|for|over in|a|à|au|aux|en|i|på)"
_CLOCK = re.compile(
    r"(?:(?:.*\b)?(?:what(?:'?s| is| was|s)? (?:the |my )?(?:current |local |exact "
    r"|correct )?times?(?: zone|zone)?(?: is it| it is|"
    r" is)?|what times? is it|(?:current|local) time|"
    r"tell me (?:the )?(?:current |local )?time|do you (?:have|know) (?:the time|what time it is)|"
    r"wie sp[äa]t ist es|wie viel uhr(?: ist es)?|wieviel uhr(?: ist es)?|uhrzeit"
    r"|quelle heure(?: est-il| il est| est il)?|"
    r"qu[ée] hora(?:s)?(?: es| son)?|che ora [èe]|che ore sono|que horas s[ãa]o|hoe laat is het"
    r"|vad [äa]r klockan|hva er klokken)|"
    r"(?:the )?time)"
    rf"{_NOW}(?:,? {_IN} (?P<place>[^?!]{{2,50}}?))?{_NOW}[\s?!.]*",
    re.IGNORECASE,
)
_CLOCK_AFTER = re.compile(
    r"in (?P<place>[^,?]{2,40}),? what(?:'s| is) the time[\s?!.]*"
    r"|in (?P<place2>[^,?]{2,40}),? what time is it[\s?!.]*",
    re.IGNORECASE,
)
_CJK_TIME = re.compile(
    r"(?P<place>\S{1,8}?)(?:は|现在|現在|지금|\s)*(?:今)?(?:何時|几点|幾點|몇\s?시)\S{0,6}"
)
_TIME_OF_DAY = r"(?P<time>\d{1,2}(?:[:.]\d{2})? ?(?:a\.?m\.?|p\.?m\.?|uhr)?|noon|midnight)"
_BETWEEN_PLACES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"what time (?:is it|will it be|would it be) in (?P<to>[^?,]+?),? (?:when|if) (?:it'?s|"
        rf"it is) {_TIME_OF_DAY} (?:in )?(?P<place>[^?,]+)\??",
        rf"(?:when|if) (?:it'?s|it is) {_TIME_OF_DAY} (?:in )?(?P<place>[^?,]+?),? what(?:'s the|"
        rf" is the)? time is it in (?P<to>[^?,]+)\??",
        rf"(?:what(?:'s| is| time is)|convert)? ?{_TIME_OF_DAY} (?:in )?(?P<place>[^?,]+?) (?:in"
        rf"|to) (?P<to>[^?,]+?)(?: time)?\??",
    )
]
_UNTIL = re.compile(
    r"(?:how many (?:more )?(?:days|weeks|sleeps)|how long|how much time|days)(?: are there| are"
    r"| is it| is there| do we have|"
    r"'s)?(?: left| remaining)?(?: from now)? (?:until|till|til|to|before) (?P<en>.+)"
    r"|wie (?:viele tage|lange)(?: sind es| ist es| dauert es)?(?: noch)? bis(?: zum"
    r"| zu)? (?P<de>.+)"
    r"|combien de jours?(?: reste-t-il| y a-t-il| il reste)?(?: avant| jusqu'(?:à|au"
    r"|a))(?: le)? (?P<fr>.+)"
    r"|cu[áa]ntos d[íi]as (?:faltan|quedan|hay) (?:para|hasta)(?: el)? (?P<es>.+)",
    re.IGNORECASE,
)
_SINCE = re.compile(
    r"(?:how many (?:days|weeks)|how long)(?: is it| has it been| have passed"
    r"|'s it been)? since (?P<since>.+)|"
    r"how (?:long|many days) ago was (?P<ago>.+)",
    re.IGNORECASE,
)
_BETWEEN_DAYS = re.compile(
    r".*\b(?:days|weeks|tage|jours|d[íi]as)\b.*?\b(?:between|from|zwischen|entre)(?: dem| le|"
    r" el)? (?P<first>.+?) (?:and|to|until|und|et|y|bis) (?P<second>.+)",
    re.IGNORECASE,
)
_DAY_WORDS = re.compile(
    r"\b(?:day|date|weekday|wochentag|tag|datum|jour|d[íi]a|fecha|giorno|data|dag)\b", re.IGNORECASE
)
_TODAY = re.compile(
    r"(?:.*\b)?(?:what(?:'?s| is)? (?:the )?(?:today'?s |current )?(?:date|day"
    r"|weekday)(?: of the week)?(?: is)?(?: it)?(?: today|"
    r" now)*|what(?:'?s| is) today(?:'?s date)?|"
    r"which day is it(?: today)?|today'?s date|welcher (?:wochen)?tag ist heute"
    r"|welches datum (?:ist|haben wir)(?: heute)?|"
    r"quel jour (?:sommes-nous|est-ce)(?: aujourd'hui)?|"
    r"(?:what|which) (?:year|month) (?:is it|are we in)|qu[ée] (?:d[íi]a|fecha) es(?: hoy)?"
    r"|che giorno [èe](?: oggi)?)[\s?!.]*",
    re.IGNORECASE,
)


def arguments_in(question: str) -> dict[str, str] | None:
    """Return what to ask the clock for this question; None if it is not about a time or a day."""
    text = " ".join(question.replace("’", "'").split())
    if not text or len(text) > MAX_QUESTION_CHARS:
        return None
    text = re.split(r"(?<=\?)\s", text)[0]
    return of_days(text.rstrip("?!. ")) or of_places(text) or of_now(text)


def of_now(text: str) -> dict[str, str] | None:
    if _TODAY.fullmatch(text):
        return {}
    if (match := _CJK_TIME.fullmatch(text.rstrip("?？。 "))) and place_named(match["place"]):
        return {"place": match["place"]}
    if match := _CLOCK_AFTER.fullmatch(text):
        return {"place": match["place"] or match["place2"]}
    match = _CLOCK.fullmatch(text)
    if match is None:
        return named_zone(text)
    place = match["place"]
    if place is None:
        return {} if len(text.split()) <= 10 else None
    # Ask for an unknown place too: the clock's failure is the honest answer. A phrase is no place.
    return {"place": place.strip()} if place_named(place) or len(place.split()) <= 3 else None


def named_zone(text: str) -> dict[str, str] | None:
    """Return the place of a question such as "Tokyo time" or "time zone of California"."""
    if not re.search(r"\btime\b|\btime ?zone\b", text, re.IGNORECASE):
        return None
    match = re.fullmatch(
        r"(?:what(?:'s| is)? (?:the )?)?(?:time ?zone|time) (?:is|of|does)? ?(?P<of>.{2,40}?)(?: in"
        r"| use| have)?[?.! ]*|"
        r"in (?P<zone>.{2,30}?)(?: time ?zone)?,? what time is it[?.! ]*|(?:what(?:'s|"
        r" is) (?:the )?)?(?:current )?(?P<before>.{2,30}?) time(?: now| right now)?[?.! ]*",
        text,
        re.IGNORECASE,
    )
    name = (match["of"] or match["zone"] or match["before"] or "") if match else ""
    return {"place": name} if name and place_named(name) else None


def of_places(text: str) -> dict[str, str] | None:
    for pattern in _BETWEEN_PLACES:
        match = pattern.fullmatch(text.strip())
        if match and place_named(match["place"]) and place_named(match["to"]):
            return {
                "time": match["time"],
                "place": match["place"].strip(),
                "to_place": match["to"].strip(),
            }
    return None


def of_days(text: str) -> dict[str, str] | None:
    if match := _UNTIL.fullmatch(text):
        day = next(group for group in match.groups() if group)
        return {"date": "today", "until": day} if is_date(day) else None
    if match := _SINCE.fullmatch(text):
        day = match["since"] or match["ago"]
        return {"date": day, "until": "today"} if is_date(day) else None
    if (
        (match := _BETWEEN_DAYS.fullmatch(text))
        and is_date(match["first"])
        and is_date(match["second"])
    ):
        return {"date": match["first"], "until": match["second"]}
    if (
        _DAY_WORDS.search(text) or re.match("when(?:'s| is| was) ", text, re.IGNORECASE)
    ) and not _TODAY.fullmatch(text):
        return day_in(text)
    return None


def day_in(text: str) -> dict[str, str] | None:
    """Return the day of a question such as "which weekday was 24 December 2020"."""
    if not re.match(
        r"(?:what|which|when|welche|quel|qu[ée]|che|wat|vilken|on what|tell me|an welche)",
        text,
        re.IGNORECASE,
    ):
        return None
    words = re.sub(
        r" (?:on|fall(?:s)?(?: on)?|be|going to be)$", "", text, flags=re.IGNORECASE
    ).split()
    for count in range(min(len(words) - 1, 8), 0, -1):
        # The day is at the end: "what day of the week was 1 May 2020", "which day is in two weeks".
        phrase = " ".join(words[-count:])
        if is_date(phrase):
            rest = words[:-count]
            return {"date": phrase} if len(rest) <= 9 else None
    return None


def is_date(text: str) -> bool:
    try:
        # Any day will do for today: it does not decide if the text is a date.
        date_of(text, date(2024, 1, 1))
    except UnknownDate:
        return False
    return True
