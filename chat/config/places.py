"""Where in a TOML text something is: the lines of its statements, and of what can't be read."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

type Place = tuple[str | int, ...]  # the keys of a value, outermost first; numbers count from 0

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|""".*'
    r"|'''.*?'{3,5}|'''.*"
    # A text that isn't closed ends with its line.
    r'|"(?:\\[^\n]|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
BARE = re.compile(r"[\w-]+", re.ASCII)
BLANK = " \t\n"
MAX_SHOWN = 60  # characters of a key or a value in a line
MAX_LINE = 600
AT = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
THIS = "must be a table such as [agents.lawyer], or NAME = value."
# What Python's reader complains of, and what the operator reads.
SYNTAX = {
    r"(Illegal|Found invalid) character '\\n'|Unterminated string|Expected \"'+\"": (
        "a text isn't closed: its quotation mark is missing. A text of several lines stands between"
        ' """ and """.'
    ),
    r"Unclosed array": "a list isn't closed: a ] is missing, or a comma between two items.",
    r"Cannot declare \((?P<keys>.*?),?\) twice": "the table [{keys}] is there already.",
    r"Cannot overwrite a value": "this name has a value already.",
    r"Duplicate inline table key (?P<keys>.*)": "{keys} is there twice.",
    r"Invalid value": 'a value must be a "text", a number, true, false, or a [list] of them.',
    r"Expected '=' after a key|Invalid statement": THIS,
    r"Expected newline or end of document": "something follows the value, or it has no quotes.",
    r"Unescaped '\\'|Escaped character|Invalid hex value": (
        r"a \ in a text must be written \\, or the text in 'such quotation marks'."
    ),
    r"Expected '\]+' at the end": (
        'the ] after the name of a table is missing, or the name needs quotes: [models."qwen3:8b"].'
    ),
    r"Illegal character|Found invalid character": "there is a character that nobody can see.",
    r"Nested too deeply": "lists or tables are nested too deeply.",
    r"Too many digits": "a number has too many digits.",
    r"Invalid initial character": (
        "a name is missing, or needs quotation marks; {…} must be in one line, with no comma at"
        " its end."
    ),
}


def told(path: Path | None, text: str, place: Place, problem: str) -> str:
    """Return one line: the file, the line of the place, its keys, and the problem."""
    where = keys(place)
    return line_told(path, line_of(text, place), f"{where}: {problem}" if where else problem)


def line_told(path: Path | str | None, line: int, problem: str) -> str:
    return visible(f"{path}, line {line}: {problem}")


def visible(text: str) -> str:
    """Return the text as one line, in which each character can be seen."""
    shown = "".join(each if each.isprintable() else escaped(each) for each in text)
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}…"


def escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def quoted(value: str) -> str:
    """Return a value of the file as a line may show it."""
    return f'"{value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"}"'


def keys(place: Place) -> str:
    """Return the keys of a place as the file has them."""
    shown = ""
    for key in place:
        if isinstance(key, int):
            shown += f", item {key + 1}"
        else:
            name = key if BARE.fullmatch(key) and len(key) <= MAX_SHOWN else quoted(key)
            shown += f".{name}" if shown else name
    return shown


# --- Lines


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of the line in which it begins."""
    begins, line, start, depth = 1, 1, 0, 0
    for token in TOKEN.finditer(text):
        words = token[0]
        line += words.count("\n")
        if words in ("[", "{"):
            depth += 1
        elif words in ("]", "}"):
            depth -= 1
        elif words == "\n" and depth <= 0:
            yield begins, text[start : token.end()]
            begins, start, depth = line, token.end(), 0
    yield begins, text[start:]


def line_of(text: str, place: Place) -> int:
    """Return the line of the first statement that has this value, or what the value is in.

    The text must be valid TOML.
    """
    places = [place[:count] for count in range(len(place), 0, -1)]
    found: dict[Place, int] = {}
    header: list[str] = []
    for line, statement in statements(text):
        value: Any = tomllib.loads(statement)
        if statement.lstrip(BLANK).startswith("["):
            header = header_of(value)
        else:
            for key in reversed(header if value else []):
                value = {key: value}
        for each in places:
            if each not in found and has(value, each):
                found[each] = line
        if place in found:
            break
    return next((found[each] for each in places if each in found), 1)


def header_of(value: Any) -> list[str]:
    """Return the keys of a table's header, which is all that `value` has."""
    names = []
    while value:
        if isinstance(value, list):
            value = value[0]
        else:
            [(name, value)] = value.items()
            names.append(name)
    return names


def has(value: Any, place: Place) -> bool:
    for key in place:
        if isinstance(key, int):
            if not isinstance(value, list) or key >= len(value):
                return False
            value = value[key]
        else:
            if isinstance(value, list):
                # Of an array of tables.
                value = value[0] if value else None
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
    return True


def syntax_told(path: Path | None, text: str, complaint: str) -> str:
    """Return one line for what Python's reader complains of in the text."""
    at = AT.search(complaint)
    reached = int(at["line"]) if at and at["line"] else text.count("\n") + 1
    line = 1
    for begins, statement in statements(text):
        if begins > reached:
            break
        line = begins if statement.strip(BLANK) else line
        # The reader may have gone beyond a text that isn't closed.
        if alone := complaint_about(statement):
            complaint = alone
            break
    problem = AT.sub("", complaint)
    for pattern, words in SYNTAX.items():
        if found := re.match(pattern, problem):
            names = found.groupdict().get("keys", "").replace("'", "").replace(", ", ".")
            return line_told(path, line, words.replace("{keys}", names))
    return line_told(path, line, f"{problem}.")


def complaint_about(statement: str) -> str:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError as exc:
        return str(exc)
    except RecursionError:
        return "Nested too deeply"
    except ValueError:  # Python reads no number of 5,000 digits.
        return "Too many digits"
    return ""
