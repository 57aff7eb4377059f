"""`manage.py ask` as a real process: Ctrl-C, and questions that it can't ask."""

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Script, ScriptedModel
from tests.serving import MANAGE, OWN_SETTINGS, START, STOP
from tests.workflow.playing import wants

pytestmark = pytest.mark.processes


def ask(
    question: str | bytes,
    folder: Path,
    model: ScriptedModel,
    *options: str,
    stdin: int | None = None,
    **environment: str,
) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    own = {
        "FLEET_STATE_DIR": str(folder),
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
        "FLEET_LIGHT_THRESHOLD": "0",
    }
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that runs the tests in the background ignores Ctrl-C, and so would this child.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, MANAGE, "ask", question, *options],
        env={**clean, **own, **environment},
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


class Person:
    """Someone at a terminal, who asks and decides."""

    def __init__(self, folder: Path, model: ScriptedModel, valkey_url: str) -> None:
        self.place = folder, model
        self.environment = {"REDIS_URL": valkey_url, "FLEET_APPROVE": "calculator"}
        self.folder = folder
        self.seen = b""

    def ask(self, question: str, *options: str) -> None:
        self.keyboard, terminal = pty.openpty()
        self.asking = ask(question, *self.place, *options, stdin=terminal, **self.environment)
        os.close(terminal)
        self.seen = b""

    def read_until(self, words: str) -> None:
        """Read notes and prompts up to these words."""
        assert self.asking.stderr
        while words.encode() not in self.seen:
            piece = os.read(self.asking.stderr.fileno(), 4096)
            assert piece, self.seen.decode()
            self.seen += piece

    def type(self, line: str, *, after: str) -> None:
        self.read_until(after)
        self.seen = b""
        os.write(self.keyboard, f"{line}\n".encode())

    def result(self) -> tuple[int, str, str]:
        """Wait for the end. Return the exit code, the answer, and the last notes."""
        answer, notes = self.asking.communicate(timeout=STOP)
        os.close(self.keyboard)
        return self.asking.returncode, answer.decode(), (self.seen + notes).decode()

    def rows(self, columns: str, table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "fleet.sqlite3")) as database:
            query = f"SELECT {columns} FROM {table} ORDER BY created_at"
            return database.execute(query).fetchall()


@pytest.fixture
def person(tmp_path: Path, model: ScriptedModel, valkey_url: str) -> Person:
    model.as_agent(ASSISTANT.instructions, COUNTS, Script(tokens=["Two."]))
    return Person(tmp_path, model, valkey_url)


COUNTS = wants(("calculator", {"expression": "1 + 1"}))
CHOICES = "[w]ithdraw the question?"


def test_approved_call_is_made_and_the_answer_goes_on(person: Person) -> None:
    person.ask("Count.")
    person.read_until('calculator {"expression":"1 + 1"}')
    person.type("x", after=CHOICES)
    person.type("a", after=CHOICES)
    code, answer, notes = person.result()
    assert code == 0, notes
    assert answer.strip() == "Two."
    assert person.rows("status", "chat_run") == [("paused",), ("completed",)]
    assert person.rows("state, replied_by", "chat_ask") == [("approved", "terminal:")]


def test_ctrl_c_at_the_prompt_leaves_the_answer_waiting_for_another_time(person: Person) -> None:
    person.ask("Count.")
    person.read_until(CHOICES)
    os.killpg(person.asking.pid, signal.SIGINT)
    code, _, notes = person.result()
    assert (code, "Traceback" in notes) == (3, False)
    [run_id] = re.findall(r"manage.py ask --continue (\S+)", notes)
    person.ask("--continue", run_id)
    person.type("e", after=CHOICES)
    person.type('{"expression": 7}', after="one line of JSON")
    person.read_until("7 is not of type 'string'")
    person.type('{"expression": "2 + 2"}', after="one line of JSON")
    code, _, notes = person.result()
    assert code == 0, notes
    [(state, reply)] = person.rows("state, reply", "chat_ask")
    assert (state, json.loads(reply)["arguments"]) == ("edited", {"expression": "2 + 2"})
    assert person.rows("status", "chat_run") == [("paused",), ("completed",)]
    # An answer that waits for nothing more is shown again, with all its parts.
    person.ask("--continue", run_id)
    assert person.result()[0] == 0


def test_withdrawn_question_ends_as_cancelled(person: Person, model: ScriptedModel) -> None:
    model.as_agent(ASSISTANT.instructions, COUNTS)
    person.ask("Count.")
    person.type("w", after=CHOICES)
    assert person.result()[0] == 0
    assert person.rows("status", "chat_run") == [("paused",), ("cancelled",)]


@pytest.mark.parametrize("option", ["--fresh", "--json"])
def test_without_a_terminal_a_paused_answer_has_an_exit_code_of_its_own(
    person: Person, option: str
) -> None:
    asking = ask("Count.", *person.place, option, **person.environment)
    stdout, stderr = asking.communicate(timeout=START)
    assert asking.returncode == 3, stderr
    assert b"manage.py ask --continue" in stderr
    if option == "--json":
        last = [json.loads(line) for line in stdout.splitlines()][-2:]
        assert [event["type"] for event in last] == ["ask.opened", "done"]
        assert last[1]["data"]["waiting"] == [last[0]["data"]["ask_id"]]
    assert person.rows("state", "chat_ask") == [("open",)]


def test_ctrl_c_cancels_the_run_and_exits_without_a_traceback(
    tmp_path: Path, model: ScriptedModel
) -> None:
    model.on("For ever, please.", tokens=["word "], hang_after=1)
    asking = ask("For ever, please.", tmp_path, model)
    assert asking.stdout
    assert asking.stdout.read(5) == b"word "
    os.killpg(asking.pid, signal.SIGINT)
    _, stderr = asking.communicate(timeout=STOP)
    assert asking.returncode == 1
    assert b"Traceback" not in stderr
    with sqlite3.connect(tmp_path / "fleet.sqlite3") as database:
        assert database.execute("SELECT status FROM chat_run").fetchall() == [("cancelled",)]
    database.close()


def test_model_can_be_chosen_of_those_that_the_server_lists(
    tmp_path: Path, model: ScriptedModel, valkey_url: str
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "listed"}, {"id": "scripted"}]}
    environment = {"REDIS_URL": valkey_url}
    asking = ask("Hello?", tmp_path, model, "--model", "listed", **environment)
    answer, notes = asking.communicate(timeout=START)
    assert asking.returncode == 0, notes
    assert answer.strip() == b"The answer is **42**."
    assert {call.body["model"] for call in model.calls} == {"listed"}
    asking = ask("Hello?", tmp_path, model, "--model", "other", **environment)
    answer, notes = asking.communicate(timeout=START)
    assert (asking.returncode, answer) == (1, b"")
    assert b'The model "other" isn\'t offered' in notes
    assert b"Offered: scripted, listed." in notes


@pytest.mark.parametrize(
    ("question", "url", "message"),
    [
        (b"caf\xe9", "", b"not in UTF-8"),
        (b"Hello?", "sqlite:///nowhere/fleet.sqlite3", b"DATABASE_URL: SQLite"),
    ],
    ids=["bytes", "database"],
)
def test_invalid_question_or_database_is_reported_in_one_line(
    tmp_path: Path, model: ScriptedModel, valkey_url: str, question: bytes, url: str, message: bytes
) -> None:
    asking = ask(question, tmp_path, model, REDIS_URL=valkey_url, DATABASE_URL=url)
    _, stderr = asking.communicate(timeout=START)
    assert asking.returncode == 1
    [line] = stderr.splitlines()
    assert message in line
