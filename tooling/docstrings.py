"""What a docstring says of a tool and of its parameters, as Google, NumPy or Sphinx write it."""

import re

_PARAMETERS = ("args", "arguments", "parameters", "params", "other parameters")
_SECTIONS = (
    *_PARAMETERS,
    *("returns", "return", "yields", "raises", "example", "examples", "note", "notes"),
    *("attributes", "see also", "references", "warnings", "todo"),
)
_UNDERLINE = re.compile(r"\s*-{3,}\s*")
_GOOGLE = re.compile(r"(?P<indent>\s+)\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?\s*:\s*(?P<text>.*)")
_NUMPY = re.compile(r"(?P<name>\w+)\s*(?::.*)?")
_SPHINX = re.compile(r"\s*:param\s+(?:[^:]*\s)?(?P<name>\w+)\s*:\s*(?P<text>.*)")
_OTHER_FIELD = re.compile(r"\s*:(?:type|returns?|rtype|raises?|param)\b[^:]*:")


def split_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """Return what the tool does, and what each parameter is. Both are on one line."""
    lines = doc.splitlines()
    said: list[str] = []
    about: dict[str, list[str]] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        if found := _SPHINX.fullmatch(line):
            number = take_block(lines, number, found["name"], found["text"], about)
        elif _OTHER_FIELD.match(line):
            number = take_block(lines, number, "", "", {})
        elif heading(lines, number) in _PARAMETERS:
            number = take_section(lines, number, about)
        else:
            said.append(line)
            number += 1
    return one_line(said), {name: one_line(words) for name, words in about.items()}


def one_line(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def heading(lines: list[str], number: int) -> str:
    """Return the title of the section that begins here, in small letters; empty if none does."""
    line = lines[number].strip()
    underlined = number + 1 < len(lines) and _UNDERLINE.fullmatch(lines[number + 1])
    title = line.removesuffix(":").lower()
    return title if title in _SECTIONS and (line.endswith(":") or underlined) else ""


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def take_block(
    lines: list[str], number: int, name: str, text: str, about: dict[str, list[str]]
) -> int:
    """Take in a field and its indented lines. Return the number of the line behind it."""
    words = about.setdefault(name, [])
    words.append(text)
    least = indent_of(lines[number])
    number += 1
    while number < len(lines) and lines[number].strip() and indent_of(lines[number]) > least:
        words.append(lines[number])
        number += 1
    return number


def take_section(lines: list[str], number: int, about: dict[str, list[str]]) -> int:
    """Take in the section of the parameters. Return the number of the line behind it."""
    is_numpy = _UNDERLINE.fullmatch(lines[number + 1]) if number + 1 < len(lines) else None
    least = indent_of(lines[number])
    number += 2 if is_numpy else 1
    name, depth = "", least
    while number < len(lines):
        line = lines[number]
        if line.strip():
            if heading(lines, number) or (not is_numpy and indent_of(line) <= least):
                break
            if is_numpy and indent_of(line) <= least:
                found = _NUMPY.fullmatch(line.strip())
                if found is None:
                    break
                name = found["name"]
            elif (
                not is_numpy
                and (entry := _GOOGLE.fullmatch(line))
                and (not name or indent_of(line) <= depth)
            ):
                name, depth = entry["name"], indent_of(line)
                about.setdefault(name, []).append(entry["text"])
            elif name:
                about.setdefault(name, []).append(line)
        number += 1
    return number
