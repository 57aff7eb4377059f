"""Time zones by the names of places: cities, countries, states, abbreviations."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta, timezone, tzinfo
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"(?:utc|gmt)? ?([+-])(\d{1,2})(?::?([0-5]\d))?")
_NOISE = re.compile(
    r"\b(?:the|city of|timezone|time zone|time|right now|now|currently|standard|please|local)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place under the name that was asked for; large countries have several zones."""

    name: str
    zones: tuple[tzinfo, ...]


def place_named(name: str) -> Place | None:
    """Return the place of this name, or None if it is not known."""
    written = " ".join(name.split()).strip(" ?!.,;:\"'()")
    if not 1 <= len(written) <= 60:
        return None
    for words in (
        written,
        _NOISE.sub(" ", written),
        written.partition(",")[0],
        written.rpartition(",")[2],
    ):
        if zones := zones_named(words):
            return Place(titled(" ".join(words.split())) if words else written, zones)
    return None


def zones_named(name: str) -> tuple[tzinfo, ...]:
    key = key_of(name)
    if not key:
        return ()
    if offset := _OFFSET.fullmatch(key):
        distance = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return (
            (timezone(-distance if offset[1] == "-" else distance),)
            if distance < timedelta(hours=15)
            else ()
        )
    if known := zone_keys().get(key):
        return tuple(zone for known_key in known for zone in zone_of(known_key))
    # Older names too, such as US/Pacific.
    return zone_of(name.strip().replace(" ", "_")) if "/" in name else ()


def zone_of(key: str) -> tuple[tzinfo, ...]:
    try:
        return (ZoneInfo(key),)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ()


def titled(name: str) -> str:
    """Return the name as written, or with capitals if it has none."""
    if name != name.lower():
        return name
    return name.upper() if len(name) <= 3 else name.title()


def key_of(name: str) -> str:
    """Return the name without accents, capitals and doubled spaces."""
    plain = "".join(
        c
        for c in unicodedata.normalize("NFKD", name.lower().replace("ß", "ss").replace("ø", "o"))
        if not unicodedata.combining(c)
    )
    return unicodedata.normalize("NFC", " ".join(plain.replace("_", " ").replace("’", "'").split()))


@cache
def zone_keys() -> dict[str, tuple[str, ...]]:
    """Return zone keys by name: from places.txt, then cities that name zones, then countries."""
    names: dict[str, tuple[str, ...]] = {}
    for line in rows((files("tooling") / "places.txt").read_text()):
        zone, _, others = line.partition(": ")
        for name in others.split():
            names.setdefault(key_of(name), (zone,))
    data = files("tzdata") / "zoneinfo"
    by_country: dict[str, list[str]] = {}
    for line in rows((data / "zone.tab").read_text()):
        country, _, zone, *_ = line.split("\t")
        by_country.setdefault(country, []).append(zone)
        for name in (zone, zone.rpartition("/")[2]):
            names.setdefault(key_of(name), (zone,))
    for line in rows((data / "iso3166.tab").read_text()):
        code, country = line.split("\t")
        # "Korea (South)" is also asked for as South Korea, "St Lucia" as Saint Lucia.
        inverted = re.sub(r"(.+) \((north|south)\)", r"\2 \1", key_of(country))
        for name in {
            key_of(country),
            inverted,
            re.sub(r" \(.*\)", "", key_of(country)),
            key_of(country).replace("&", "and"),
        }:
            names.setdefault(name, tuple(by_country.get(code, ())))
    for name in (
        "usa",
        "us",
        "u.s.",
        "u.s.a.",
        "america",
        "united states of america",
        "vereinigte staaten",
    ):
        names[name] = tuple(by_country["US"])
    for code, foreign in (
        ("RU", ("russland", "russie", "rusia")),
        ("AU", ("australien", "australie")),
        ("CA", ("kanada",)),
    ):
        names |= dict.fromkeys(foreign, tuple(by_country[code]))
    return names


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line and not line.startswith("#")]
