"""What README.md has newcomers write, in an empty folder: it works as it is printed."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chat.workflow.agents import ASSISTANT, PLANNER
from tests.chatting import text_of
from tests.fleet.test_fleet import read_to, read_to_end
from tests.programs import REQUIRED
from tests.scripted_model import Script, ScriptedModel
from tests.serving import LOOKS_FOR_FILES, MANAGE, START, Fleet, clean_environment, running, until
from tests.workflow.playing import plan

from .document import ROOT, block, commands

README = ROOT / "README.md"
AGENT, TOOL, SERVER = "Your first agent", "Your first tool", "An MCP server"
MAX_LINES = 5
SETTINGS = {
    **LOOKS_FOR_FILES,
    # `pip install uv` may have put uvx beside this Python; shims find it only in some folders.
    "PATH": f"{sys.base_prefix}/bin{os.pathsep}{os.environ['PATH']}",
}
RELOAD = START  # seconds; about 4 on a machine that has nothing else to do
INSTALL_TIMEOUT = 300  # seconds


@dataclass
class Newcomer:
    """Somebody who works in a folder, with a fleet that runs there."""

    fleet: Fleet
    folder: Path

    def writes(self, name: str, content: str) -> None:
        assert len([line for line in content.splitlines() if line]) <= MAX_LINES
        (self.folder / name).write_text(content)

    def types(self, command: str) -> str:
        """Return what a command prints."""
        words = shlex.split(command)
        assert words[:3] == ["uv", "run", "manage.py"]
        done = subprocess.run(
            [sys.executable, MANAGE, *words[3:]],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=START,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        # The terminal asks the fleet that runs; were there none, it would have no model.
        return {
            **clean_environment(),
            "FLEET_STATE_DIR": str(self.fleet.folder / "state"),
            **SETTINGS,
        }


def has_reloaded(fleet: Fleet) -> bool:
    assert "Wrong setting" not in fleet.complained, fleet.complained
    return "Reloaded." in fleet.said


def last_command(heading: str) -> str:
    return commands(heading, README).splitlines()[-1]


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    """A server of these tests alone: their fleet outlives each."""
    server = ScriptedModel()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("newcomer")
    state = tmp_path_factory.mktemp("fleet")
    # The answer that streams during the reload is held for as long as a busy machine takes.
    settings = {**SETTINGS, "FLEET_IDLE_TIMEOUT": "600", "FLEET_MAX_RUNTIME": "600"}
    with running(state, model, through=("env", "-C", str(folder)), **settings) as fleet:
        yield Newcomer(fleet, folder)


def offered(call: Any) -> set[str]:
    return {each["function"]["name"] for each in call.body.get("tools", [])}


def calls_with(model: ScriptedModel, instructions: str) -> list[Any]:
    return [call for call in model.calls if call.instructions == instructions]


def test_new_agent_and_tool_answer_after_a_reload_that_loses_nothing(
    newcomer: Newcomer, model: ScriptedModel
) -> None:
    model.reset()
    words = [f"word{n} " for n in range(40)]
    model.on("Before?", tokens=words, hold_after=20)
    toml = block("toml", AGENT, README)
    lawyer = tomllib.loads(toml)["agents"]["lawyer"]["instructions"]
    model.as_agent(PLANNER.instructions, plan("lawyer"))
    model.as_agent(lawyer, Script(tokens=["Clause 4."]))
    with newcomer.fleet.ask("Before?") as client:
        read_to("response.delta", client)
        newcomer.writes("fleet.toml", toml)
        newcomer.writes("fleet_tools.py", block("python", TOOL, README))
        newcomer.fleet.signal(signal.SIGHUP)
        until(lambda: has_reloaded(newcomer.fleet), RELOAD, "no reload")
        newcomer.types(last_command(AGENT))
        model.release()
        before = read_to_end(client)
    assert before[-1]["type"] == "done"
    assert text_of(before).endswith("".join(words[1:]))
    assert len(calls_with(model, lawyer)) == 1
    [planned] = calls_with(model, PLANNER.instructions)
    assert "lawyer: reads contracts" in planned.question


def test_first_tool_is_called(newcomer: Newcomer, model: ScriptedModel) -> None:
    model.reset()
    call = Script(tokens=[], calls=[("stock", '{"article": "kettle"}')])
    model.as_agent(ASSISTANT.instructions, call, Script(tokens=["There are seven."]))
    assert "There are seven." in newcomer.types(last_command(TOOL))
    wanting, reading = model.calls
    assert "stock" in offered(wanting)
    assert reading.body["messages"][-1]["content"] == "7"


@pytest.fixture(scope="module")
def packaged() -> None:
    """Have uvx fetch the server; skip what needs it if the registry can't be reached."""
    program, *words = tomllib.loads(block("toml", SERVER, README))["mcp"]["git"]["command"]
    found = shutil.which(program, path=SETTINGS["PATH"])
    done = found and subprocess.run(
        [found, words[0], "--help"], capture_output=True, timeout=INSTALL_TIMEOUT, check=False
    )
    if not REQUIRED and (not done or done.returncode):
        pytest.skip(f"not to be had here: {program} {words[0]}")
    assert done, f"{program} is not installed"
    assert done.returncode == 0, done.stderr


def test_mcp_server_is_called(packaged: None, model: ScriptedModel, tmp_path: Path) -> None:
    model.reset()
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "Plant a lemon tree")
    call = Script(tokens=[], calls=[("git__git_log", json.dumps({"repo_path": "."}))])
    model.as_agent(ASSISTANT.instructions, call, Script(tokens=["A lemon tree."]))
    (folder / "fleet.toml").write_text(block("toml", SERVER, README))
    with running(tmp_path, model, through=("env", "-C", str(folder)), **SETTINGS) as fleet:
        newcomer = Newcomer(fleet, folder)
        until(lambda: "MCP server git is open" in fleet.complained, START, "it does not open")
        said = newcomer.types(last_command(SERVER))
        assert "A lemon tree." in said, fleet.complained
    wanting, reading = model.calls
    assert "git__git_log" in offered(wanting)
    assert "Plant a lemon tree" in reading.body["messages"][-1]["content"]


def git(folder: Path, *words: str) -> None:
    names = {
        f"GIT_{role}_{what}": "a@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    subprocess.run(["git", *words], cwd=folder, env={**os.environ, **names}, check=True)
