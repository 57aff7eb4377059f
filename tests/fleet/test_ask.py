"""`manage.py ask` as a real process: Ctrl-C, and questions that it can't ask."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, OWN_SETTINGS, START, STOP


def ask(
    question: str | bytes, folder: Path, model: ScriptedModel, **environment: str
) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    own = {
        "FLEET_STATE_DIR": str(folder),
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
        "FLEET_LIGHT_THRESHOLD": "0",
    }
    return subprocess.Popen(
        [sys.executable, MANAGE, "ask", question],
        env={**clean, **own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


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
