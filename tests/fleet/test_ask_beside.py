"""`manage.py ask` beside a running fleet, over whose socket it asks."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chat.workflow.agents import ASSISTANT
from tests.fleet.test_ask import CHOICES, COUNTS, Person, ask
from tests.scripted_model import Script, ScriptedModel
from tests.serving import MANAGE, START, STOP, Fleet, clean_environment, running

pytestmark = pytest.mark.processes


@pytest.fixture
def fleet(tmp_path: Path, model: ScriptedModel) -> Iterator[Fleet]:
    with running(tmp_path, model, FLEET_APPROVE="calculator", FLEET_API="off") as fleet:
        yield fleet


def asked(question: str, fleet: Fleet, model: ScriptedModel, *options: str) -> tuple[int, str, str]:
    """Return the exit code of the command, the answer, and the notes."""
    asking = ask(question, fleet.folder / "state", model, *options)
    answer, notes = asking.communicate(timeout=START)
    return asking.returncode, answer.decode(), notes.decode()


def rows(fleet: Fleet, columns: str, table: str = "chat_run") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as database:
        query = f"SELECT {columns} FROM {table} ORDER BY created_at"
        return database.execute(query).fetchall()


def test_running_fleet_answers_as_the_terminal(fleet: Fleet, model: ScriptedModel) -> None:
    code, answer, notes = asked("Hello?", fleet, model)
    assert (code, answer.strip()) == (0, "The answer is **42**."), notes
    [(owner, door, worker)] = rows(fleet, "owner, door, worker")
    assert (owner, door) == ("terminal:", "terminal")
    code, answer, notes = asked("Hello?", fleet, model, "--json", "--prefer", "quality")
    events = [json.loads(line) for line in answer.splitlines()]
    assert [events[0]["type"], events[-1]["type"]] == ["connected", "done"]
    assert rows(fleet, "worker, preference") == [(worker, "balanced"), (worker, "quality")]


def test_question_is_read_from_standard_input(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("From a pipe", tokens=["Heard."])
    reading, writing = os.pipe()
    os.write(writing, b"From a pipe")
    os.close(writing)
    asking = ask("-", fleet.folder / "state", model, stdin=reading)
    os.close(reading)
    answer, notes = asking.communicate(timeout=START)
    assert (asking.returncode, answer.strip()) == (0, b"Heard."), notes


def test_refusal_of_the_fleet_is_told_in_one_line(fleet: Fleet, model: ScriptedModel) -> None:
    code, answer, notes = asked("Hello?", fleet, model, "--model", "other")
    assert (code, answer) == (1, "")
    [line] = notes.splitlines()
    assert line.startswith('The model "other" isn\'t offered')
    code, _, notes = asked(" ", fleet, model)
    assert (code, notes) == (1, "the message is empty\n")


def test_ctrl_c_ends_the_run_in_the_fleet(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("For ever, please.", tokens=["word "], hang_after=1)
    asking = ask("For ever, please.", fleet.folder / "state", model)
    assert asking.stdout
    assert asking.stdout.read(5) == b"word "
    os.killpg(asking.pid, signal.SIGINT)
    _, notes = asking.communicate(timeout=STOP)
    assert (asking.returncode, b"Traceback" in notes) == (1, False), notes
    assert rows(fleet, "status") == [("cancelled",)]


def test_person_decides_what_the_fleet_asks(fleet: Fleet, model: ScriptedModel) -> None:
    model.as_agent(ASSISTANT.instructions, COUNTS, Script(tokens=["Two."]))
    person = Person(fleet.folder / "state", model, "")
    person.environment = {}
    person.ask("Count.")
    person.read_until(CHOICES)
    os.killpg(person.asking.pid, signal.SIGINT)
    code, _, notes = person.result()
    assert (code, "Traceback" in notes) == (3, False)
    [run_id] = re.findall(r"manage.py ask --continue (\S+)", notes)
    person.ask("--continue", run_id)
    person.type("a", after=CHOICES)
    code, answer, notes = person.result()
    assert (code, answer.strip()) == (0, "Two."), notes
    assert rows(fleet, "state, replied_by", "chat_ask") == [("approved", "terminal:")]
    assert rows(fleet, "status") == [("paused",), ("completed",)]
    code, answer, _ = asked("--continue", fleet, model, run_id)
    assert (code, answer.strip()) == (0, "Two.")


def test_command_needs_no_setting_of_the_fleet(tmp_path: Path, model: ScriptedModel) -> None:
    settings = {
        "DJANGO_SECRET_KEY": "only the service that runs the fleet has it",
        "DJANGO_ALLOWED_HOSTS": "chat.example",
        "FLEET_AUTH": "required",
    }
    with running(tmp_path, model, "--host", "0.0.0.0", **settings) as fleet:
        code, answer, notes = asked("Hello?", fleet, model)
        assert (code, answer.strip()) == (0, "The answer is **42**."), notes
        assert rows(fleet, "owner, door") == [("terminal:", "terminal")]


def test_answer_of_another_model_is_made_here(
    fleet: Fleet, model: ScriptedModel, valkey_url: str
) -> None:
    options = {"FLEET_MODEL": "another", "REDIS_URL": valkey_url, "FLEET_LIGHT_THRESHOLD": "0"}
    asking = ask("Hello?", fleet.folder / "state", model, **options)
    asking.communicate(timeout=START)
    assert asking.returncode == 0
    assert model.calls[-1].body["model"] == "another"


def test_answer_beside_a_fleet_needs_no_models() -> None:
    """Their import would take longer than the first word."""
    program = (
        "import sys, agenticfleet.asking\n"
        "heavy = ('chat.models', 'chat.runs', 'channels', 'django.contrib.auth.models')\n"
        "sys.exit(str([name for name in heavy if name in sys.modules] or ''))"
    )
    environment = {**clean_environment(), "DJANGO_SETTINGS_MODULE": "agenticfleet.settings"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=MANAGE.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == ""
