"""Read days as people write them: 24 December 2026, next Friday, in two weeks, heute."""

import calendar
import re
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta

MAX_CHARS = 60
MAX_STEPS = 100_000  # days, weeks, months or years from today


class UnknownDate(Exception):
    """Raised for a text that is not a date, or that can be read as two."""


_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier enero gennaio janeiro januari",
            "february feb februar fevrier febrero febbraio fevereiro februari",
            "march mar marz mars marzo marco maart",
            "april apr avril abril aprile",
            "may mai mayo maggio maio mei maj",
            "june jun juni juin junio giugno junho",
            "july jul juli juillet julio luglio julho",
            "august aug aout agosto augustus augusti",
            "september sep sept septembre septiembre settembre setembro",
            "october oct oktober octobre octubre ottobre outubro okt",
            "november nov novembre noviembre novembro",
            "december dec dezember decembre diciembre dicembre dezembro dez desember",
        ),
        start=1,
    )
    for name in names.split()
}
_WEEKDAYS = {
    name: number
    for number, names in enumerate(
        (
            "monday mon montag lundi lunes lunedi maandag mandag",
            "tuesday tue tues dienstag mardi martes martedi dinsdag tisdag",
            "wednesday wed mittwoch mercredi miercoles mercoledi woensdag onsdag",
            "thursday thu thur thurs donnerstag jeudi jueves giovedi donderdag torsdag",
            "friday fri freitag vendredi viernes venerdi vrijdag fredag",
            "saturday sat samstag sonnabend samedi sabado sabato zaterdag lordag",
            "sunday sun sonntag dimanche domingo domenica zondag sondag",
        )
    )
    for name in names.split()
}
_FROM_TODAY = {
    name: days
    for days, names in {
        0: "today,now,tonight,heute,aujourd'hui,hoy,oggi,hoje,vandaag,idag,i dag,今天,今日"
        ",сегодня,오늘",
        1: "tomorrow,morgen,demain,manana,domani,amanha,imorgon,i morgon,明天,明日,завтра,내일",
        2: "day after tomorrow,overmorrow,ubermorgen,apres-demain,pasado manana,dopodomani",
        -1: "yesterday,gestern,hier,ayer,ieri,ontem,gisteren,igar,昨天,昨日,вчера,어제",
        -2: "day before yesterday,vorgestern,avant-hier,anteayer",
    }.items()
    for name in names.split(",")
}
_FEASTS = {
    name: day
    for day, names in {
        (1, 1): "new year,new years,new year's,new year's day,new years day,neujahr",
        (2, 14): "valentine's day,valentines day",
        (3, 17): "st patrick's day",
        (4, 1): "april fools,april fools day",
        (7, 4): "independence day",
        (10, 31): "halloween",
        (12, 24): "christmas eve,heiligabend",
        (12, 25): "christmas,christmas day,xmas,weihnachten,noel,navidad,natale",
        (12, 26): "boxing day",
        (12, 31): "new year's eve,new years eve,silvester",
    }.items()
    for name in names.split(",")
}
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_NUMBERS = {word: number for number, word in enumerate(_ONES.split(), start=1)} | {
    name: number
    for number, names in {
        1: "a,an,ein,eine,einem,einer,un,une,una",
        2: "zwei,deux,dos",
        3: "drei,trois,tres",
        4: "vier",
        5: "funf",
        20: "twenty",
        30: "thirty",
        40: "forty",
        50: "fifty",
        60: "sixty",
        90: "ninety",
        100: "hundred,a hundred,one hundred",
    }.items()
    for name in names.split(",")
}
_STEPS = {
    name: unit
    for unit, names in {
        "day": "day days tag tage tagen jour jours dia dias giorno giorni",
        "week": "week weeks woche wochen semaine semaines semana semanas settimana settimane",
        "fortnight": "fortnight fortnights",
        "month": "month months monat monate monaten mois mes meses mese mesi",
        "year": "year years jahr jahre jahren an ans ano anos anno anni",
    }.items()
    for name in names.split()
}
_AMOUNT = r"(?P<count>\d{1,6}|[a-z]+(?: hundred)?)"
_RELATIVE = [
    (re.compile(pattern), sign)
    for pattern, sign in (
        (rf"(?:in|en|dans|tra|fra) {_AMOUNT} (?P<unit>[a-z]+)", 1),
        (rf"{_AMOUNT} (?P<unit>[a-z]+) (?:from (?:now|today)|later|hence|ahead)", 1),
        (rf"(?:vor|hace|il y a) {_AMOUNT} (?P<unit>[a-z]+)", -1),
        (rf"{_AMOUNT} (?P<unit>[a-z]+) (?:ago|before today|earlier|fa)", -1),
    )
]
_AROUND = re.compile(rf"{_AMOUNT} (?P<unit>[a-z]+) (?P<side>after|from|before) (?P<day>.+)")
_DAY_MONTH = re.compile(
    r"(?:(?P<weekday>[a-z]+),? )?(?P<day>\d{1,2})(?:st|nd|rd|th|\.|er|º)?,? (?:of |de "
    r"|d')?(?P<month>[a-z]+)\.?,?(?: (?:of |de |"
    r"del )?(?P<year>\d{4}))?"
)
_MONTH_DAY = re.compile(
    r"(?:(?P<weekday>[a-z]+),? )?(?P<month>[a-z]+)\.? (?:the )?(?P<day>\d{1,2})(?:st|nd|rd|"
    r"th)?(?:,? (?P<year>\d{4}))?"
)
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_NUMERIC = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})?")
_WEEKDAY = re.compile(
    r"(?:(?P<which>this|next|last|coming|nachsten|nachster|kommenden|letzten|prochain|proximo|el|"
    r"on) )?(?P<day>[a-z]+)(?P<after> prochain| proximo)?"
)


def date_of(text: str, today: date, *, since: date | None = None, past: bool = False) -> date:
    """Return the day that the text means, or raise UnknownDate.

    A day without a year is the next one from `since` (default: today), or the last one if `past`.
    """
    plain = plain_form(text)
    if not 1 <= len(plain) <= MAX_CHARS:
        raise UnknownDate(f"{text[:MAX_CHARS]!r} is not a date")
    try:
        if (found := relative(plain, today)) is not None:
            return found
        for reading in (numeric, by_month, feast, by_weekday):
            if (found := reading(plain, since or today, past)) is not None:
                return found
    except (ValueError, OverflowError) as exc:
        raise UnknownDate(f"{text!r} is not in the calendar") from exc
    raise UnknownDate(f"{text!r} is not a date known here; write it as 2026-12-24")


def plain_form(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.lower().replace("’", "'").replace("ß", "ss"))
    plain = unicodedata.normalize(
        "NFC", "".join(c for c in decomposed if not unicodedata.combining(c))
    )
    plain = " ".join(plain.split()).strip(' ?!.,;"')
    return re.sub(r"^(?:the|den|dem|der|le|el|il|on|am|zum|al|au) (?=.)", "", plain)


def relative(text: str, today: date) -> date | None:
    if text in _FROM_TODAY:
        return today + timedelta(days=_FROM_TODAY[text])
    for pattern, sign in _RELATIVE:
        if (match := pattern.fullmatch(text)) and (moved := stepped_by(today, match, sign)):
            return moved
    if text in {"next week", "next month", "next year", "last week", "last month", "last year"}:
        which, unit = text.split()
        return stepped(today, 1 if which == "next" else -1, unit)
    if match := _AROUND.fullmatch(text):
        return stepped_by(
            date_of(match["day"], today), match, -1 if match["side"] == "before" else 1
        )
    return None


def stepped_by(day: date, match: re.Match[str], sign: int) -> date | None:
    count = int(match["count"]) if match["count"].isdigit() else _NUMBERS.get(match["count"])
    unit = _STEPS.get(match["unit"])
    return stepped(day, sign * count, unit) if count is not None and unit else None


def stepped(day: date, count: int, unit: str) -> date:
    if abs(count) > MAX_STEPS * 10:
        raise ValueError
    if unit in {"day", "week", "fortnight"}:
        return day + timedelta(days=count * {"day": 1, "week": 7, "fortnight": 14}[unit])
    months = day.year * 12 + day.month - 1 + count * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    # A month after 31 January is the last of February.
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def numeric(text: str, today: date, past: bool) -> date | None:
    if match := _ISO.fullmatch(text):
        return date(*map(int, match.groups()))
    if match := _NUMERIC.fullmatch(text):
        first, second, year = int(match[1]), int(match[3]), match[4]
        if match[2] != "." and first <= 12 and second <= 12 and first != second:
            raise UnknownDate(f"{text!r} can be read in two ways; write it as 2026-12-24")
        day, month = (second, first) if second > 12 else (first, second)
        if year is None:
            return nearest(lambda y: date(y, month, day), today, past)
        return date(int(year) + (2000 if len(year) == 2 else 0), month, day)
    return None


def by_month(text: str, today: date, past: bool) -> date | None:
    match = _DAY_MONTH.fullmatch(text) or _MONTH_DAY.fullmatch(text)
    if (
        match is None
        or match["month"] not in _MONTHS
        or (match["weekday"] and match["weekday"] not in _WEEKDAYS)
    ):
        return None
    month, day = _MONTHS[match["month"]], int(match["day"])
    if match["year"]:
        return date(int(match["year"]), month, day)
    return nearest(lambda year: date(year, month, day), today, past)


def feast(text: str, today: date, past: bool) -> date | None:
    name, _, year = text.rpartition(" ")
    if re.fullmatch(r"\d{4}", year) and name in _FEASTS:
        return date(int(year), *_FEASTS[name])
    if text.removeprefix("next ").removeprefix("last ") in _FEASTS:
        past = past or text.startswith("last ")
        return nearest(
            lambda y: date(y, *_FEASTS[text.removeprefix("next ").removeprefix("last ")]),
            today,
            past,
        )
    return None


def nearest(in_year: Callable[[int], date], today: date, past: bool) -> date:
    """Return the next such day from today, or the last one. 29 February may be years away."""
    years = range(today.year, today.year - 9, -1) if past else range(today.year, today.year + 9)
    for year in years:
        try:
            day = in_year(year)
        except ValueError:
            continue
        if (day <= today) if past else (day >= today):
            return day
    raise ValueError


def by_weekday(text: str, today: date, past: bool) -> date | None:
    match = _WEEKDAY.fullmatch(text)
    if match is None or match["day"] not in _WEEKDAYS:
        return None
    ahead = (_WEEKDAYS[match["day"]] - today.weekday()) % 7
    if match["which"] in {"last", "letzten"} or (past and not match["which"]):
        return today + timedelta(days=ahead - 7)
    # On a Friday, "Friday" and "next Friday" are in a week and "this Friday" is today.
    return today + timedelta(days=ahead or (0 if match["which"] == "this" else 7))
