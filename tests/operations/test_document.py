"""What agenticfleet/README.md names exists: settings, commands, metrics, lines of the log."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from django.core.management import get_commands, load_command_class

from tests.fleet.test_settings import read_names

from .document import DOCUMENT, ROOT, section

ROOMS = ("agenticfleet", "chat", "routing", "tooling")
SETTING = re.compile(r"\b(?:FLEET|DJANGO|OPENAI|TAVILY|OTEL|DATABASE|REDIS|EMAIL|SSL)_[A-Z_]+\b")
COMMAND = re.compile(r"manage\.py ([a-z_]+)((?: --?[a-z-]+(?: [\w./]+)?)*)")
LINE = re.compile(r"`([^`]+)`")
SEEN = re.compile(r'"([^"]+)"')
FROM_DJANGO = {"migrate", "check"}


def text() -> str:
    # A command may go on in the next line.
    return re.sub(r"\\\n\s+|(?<=\S)\n(?=\S)", " ", DOCUMENT.read_text())


def symptoms() -> list[list[str]]:
    """Return the rows of the table of symptoms: what is seen, what is logged, what to do."""
    rows = [line for line in section("Troubleshooting").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]


@cache
def words_of_the_code() -> str:
    """Return all texts in the code, with a line for each; parts that differ are `…`."""
    found = [
        words
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for words in texts(ast.parse(path.read_text()))
    ]
    pages = (*ROOT.glob("templates/**/*.html"), *ROOT.glob("static/chat/*.js"))
    return "\n".join([*found, *(" ".join(path.read_text().split()) for path in pages)])


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield " ".join("".join(map(str, parts)).split())


def is_in_the_code(words: str) -> bool:
    """Return True if one text of the code has these words; `…` stands for any others."""
    pieces = [re.escape(piece.strip()) for piece in words.split("…")]
    return re.search(".*".join(pieces), words_of_the_code()) is not None


def test_every_setting_exists() -> None:
    named = set(SETTING.findall(text()))
    assert len(named) > 20
    assert named - read_names() == set()


def test_every_command_has_these_options() -> None:
    commands = get_commands()
    named = COMMAND.findall(text())
    assert {"fleet", "migrate", "prune"} <= {name for name, _ in named}
    for name, options in named:
        found = load_command_class(commands[name], name).create_parser("manage.py", name)
        for option in re.findall(r"--[a-z-]+", options):
            assert option in found.format_help(), f"{name} {option}"


def test_every_metric_exists() -> None:
    known = (ROOT / "chat/telemetry/README.md").read_text()
    named = set(re.findall(r"\bfleet_[a-z_]+", section("Alerts worth having")))
    assert len(named) > 5
    assert {name for name in named if f"`{name}`" not in known} == set()


@pytest.mark.parametrize("row", symptoms(), ids=lambda row: row[1][:40])
def test_every_line_of_the_log_is_in_the_code(row: list[str]) -> None:
    assert len(row) == 3
    for words in LINE.findall(row[1]):
        named = words.partition(" ")[0]
        is_name = re.fullmatch(r"fleet_[a-z_]+|chat\.[a-z.]+", named)
        assert is_name or is_in_the_code(words), words


@pytest.mark.parametrize("row", symptoms(), ids=lambda row: row[0][:40])
def test_every_sentence_that_people_see_is_in_the_code(row: list[str]) -> None:
    for words in SEEN.findall(row[0]):
        assert is_in_the_code(words), words


def test_there_are_enough_symptoms() -> None:
    assert len(symptoms()) >= 20
