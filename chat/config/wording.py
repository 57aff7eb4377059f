"""What is wrong with a value of fleet.toml, in words of the operator."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Struct

from tooling.tables import APPROVER

from .places import Place, quoted

COMMAND = '["uvx", "mcp-server-time"]'
EXPECTED = {
    "object": "a table",
    "array": "a list",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}
GOT = {
    **EXPECTED,
    "int": "a number",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}
EXAMPLES: dict[str | int, str] = {"command": COMMAND}
TYPES = {"dict": "object", "list": "array"}
PATTERNS = {
    APPROVER: 'must be "owner", or "perm:app.codename" for staff with a permission.',
}
_PLACE = re.compile(r" - at `\$(?P<within>[^`]*)`$")
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_KIND = re.compile(r"Expected `(?P<expected>\w+)(?: \| null)?`, got `(?P<got>\w+)`")
_BOUND = re.compile(r"Expected `\w+` (?P<sign>[<>]=?) (?P<number>[\d.]+)")
_LENGTH = re.compile(r"Expected `\w+` of length (?P<sign>[<>]=) (?P<number>\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_ENUM = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)
SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def said_of(complaint: str, value: Any, kind: type[Struct]) -> tuple[Place, str]:
    """Return where in `value` msgspec's complaint is, and what to say of it.

    `value` is a table that isn't of this `kind`.
    """
    place: Place = ()
    if within := _PLACE.search(complaint):
        place = place_within(within["within"], value)
        complaint = complaint[: within.start()]
    if found := _UNKNOWN.fullmatch(complaint):
        names = kind.__struct_fields__
        return (*place, found["name"]), f"is unknown{meant(found['name'], names)}"
    if found := _MISSING.fullmatch(complaint):
        return place, f"needs {found['name']} = …"
    if found := _ENUM.fullmatch(complaint):
        choices = choices_of(kind, str(place[-1]))
        shown = quoted(found["value"])
        return place, f"must be one of {', '.join(choices)}; not {shown}."
    example = EXAMPLES.get(place[-1] if place else "", '["…"]')
    return place, problem_in(complaint).replace('["…"]', example)


def problem_in(complaint: str) -> str:
    if found := _KIND.fullmatch(complaint):
        if (found["expected"], found["got"]) == ("int", "float"):
            return "must be a whole number, without a point."
        such = ' such as ["…"],' if found["expected"] == "array" else ","
        return f"must be {EXPECTED[found['expected']]}{such} not {GOT[found['got']]}."
    if found := _BOUND.fullmatch(complaint):
        return f"must be {SIGNS[found['sign']]} {float(found['number']):,.10g}."
    if found := _LENGTH.fullmatch(complaint):
        if (found["sign"], found["number"]) == (">=", "1"):
            return "must not be empty."
        return f"must have {SIGNS[found['sign']]} {int(found['number']):,} characters."
    if found := _PATTERN.fullmatch(complaint):
        written = found["pattern"].replace("\\\\", "\\")
        return PATTERNS.get(written, f"must be like {written}")
    if complaint in ("Integer value out of range", "Number out of range"):
        return "must be a smaller number."
    return f"{complaint}."


def kind_of(value: object) -> str:
    """Return what kind of value this is."""
    name = type(value).__name__
    return GOT[TYPES.get(name, name)]


def place_within(path: str, value: Any) -> Place:
    """Return the keys in msgspec's path, which doesn't tell those of free names."""
    place: Place = ()
    for step in _STEP.finditer(path):
        if step["any"]:
            # The only tables of free names within others have texts.
            key: str | int = next(name for name in value if not isinstance(value[name], str))
        else:
            key = int(step["index"]) if step["index"] else step["key"]
        place, value = (*place, key), value[key]
    return place


def choices_of(kind: type[Struct], name: str) -> tuple[str, ...]:
    """Return the values that a field may have."""
    hint = get_type_hints(kind)[name]
    for each in (hint, *get_args(hint)):
        if get_origin(each) is Literal:
            return get_args(each)
    return ()


def meant(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, or all."""
    if near := get_close_matches(name, known, n=1, cutoff=0.6):
        return f"; did you mean {near[0]}?"
    return f"; there are {listed(known)}." if known else "."


def listed(names: Collection[str], *, most: int = 20) -> str:
    """Return the names in one line, only the first of many."""
    shown = [*names][:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(shown)}{more}"
