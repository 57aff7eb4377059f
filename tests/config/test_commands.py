"""fleet.toml as commands see it: one line if it is wrong, and what it says if not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chat.config.keeping import keep_files, kept_files
from chat.config.reading import files_in
from tests.serving import LOOKS_FOR_FILES, MANAGE, clean_environment

pytestmark = pytest.mark.processes

TOML = """
apps = ["acme.fleet"]

[agents.lawyer]
role = "reads contracts"
instructions = "You read contracts."
tools = ["clock", "stock", "shop__*"]
model = "fast"

[models.fast]
model = "qwen3:8b"
base_url = "http://127.0.0.1:11434/v1"
api_key = "$FAST_KEY"

[tools.stock]
approver = "owner"

[tools.calculator]
enabled = false

[mcp.shop]
command = ["shop-mcp", "--stdio"]
"""
TOOLS = '''
from tooling import tool

@tool(timeout=5)
async def stock(article: str) -> str:
    """How many of an article are in stock."""
    return "7"
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working folder with a fleet.toml, a fleet_tools.py and an app."""
    (tmp_path / "fleet.toml").write_text(TOML)
    (tmp_path / "fleet_tools.py").write_text(TOOLS)
    app = tmp_path / "acme" / "fleet"
    app.mkdir(parents=True)
    (app / "__init__.py").touch()
    (app / "tools.py").write_text(TOOLS.replace("stock", "price"))
    return tmp_path


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py in the folder, without Redis, a model or a database."""
    return subprocess.run(
        [sys.executable, MANAGE, *arguments],
        env={
            **clean_environment(),
            **LOOKS_FOR_FILES,
            "FLEET_STATE_DIR": str(folder / "state"),
            "FLEET_LOOK": "off",
            "FAST_KEY": "k-secret",
            **environment,
        },
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )


def test_check_says_what_is_in_force(folder: Path) -> None:
    done = manage(folder, "fleet", "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == (
        f"All is right. {folder}/fleet.toml and {folder}/fleet_tools.py: 1 agent, 1 model, 2 added"
        " tools, 1 MCP server, 1 app"
    )
    assert "lawyer research fast clock, shop__*, stock" in lines
    assert "fast qwen3:8b http://127.0.0.1:11434/v1" in lines
    assert "stock fleet_tools.py 5 s the person who asked approves each call" in lines
    assert "price acme.fleet.tools 5 s" in lines
    assert "calculator switched off" in lines
    assert "shop shop-mcp --stdio its tools are known once it runs" in lines
    assert "secret" not in done.stdout
    assert not (folder / "state/fleet.sqlite3").exists()


def test_check_without_a_file_shows_the_product(tmp_path: Path) -> None:
    done = manage(tmp_path, "fleet", "--check-config")
    assert done.returncode == 0
    assert "no fleet.toml and no fleet_tools.py" in done.stdout
    assert "editor" in done.stdout


def test_check_says_what_is_hardly_meant(folder: Path) -> None:
    (folder / "fleet.toml").rename(folder / "Fleet.toml.txt")
    (folder / "fleet_tools.py").write_text("def stock() -> str:\n    return '7'\n")
    done = manage(folder, "fleet", "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:4] == [
        f"But {folder}/fleet_tools.py has no function with @tool.",
        f"But {folder}/Fleet.toml.txt is not read: its name must be fleet.toml.",
        "",
    ]


def test_check_names_programs_that_are_not_there(folder: Path) -> None:
    (folder / "there").touch(mode=0o755)
    text = "".join(
        f"[mcp.{name}]\ncommand = {command!r}\n"
        for name, command in {
            "shop": ["no-such-program"],
            "bank": ["./no-such-program"],
            "mill": ["./there"],
            "farm": ["python3"],
            "mine": ["there"],
            "well": ["there"],
        }.items()
    )
    (folder / "fleet.toml").write_text(f"{text}env = {{ PATH = {str(folder)!r} }}\n")
    done = manage(folder, "fleet", "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("But ")] == [
        'But there is no program "no-such-program", which mcp.shop.command starts.',
        'But there is no program "./no-such-program", which mcp.bank.command starts.',
        'But there is no program "there", which mcp.mine.command starts.',
    ]


def test_check_of_a_wrong_file_is_one_line(folder: Path) -> None:
    (folder / "fleet.toml").write_text(TOML.replace("shop__*", "shoop__*"))
    done = manage(folder, "fleet", "--check-config")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"Wrong setting: {folder}/fleet.toml, line 7: agents.lawyer.tools, item 3: there is no tool"
        ' "shoop__*"; there are clock, read_page, web_search, ask_person, price, stock, calculator.'
    ]


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("check", "rolle = 'r'"),
        ("fleet", "tools = ['no_such_tool']"),
        ("fleet-worker --fd 0", "rolle = 'r'"),
        ("runserver", "tools = ['no_such_tool']"),
        ("ask Hello?", "rolle = 'r'"),
    ],
)
def test_every_command_stops_with_one_line(tmp_path: Path, command: str, key: str) -> None:
    (tmp_path / "fleet.toml").write_text(f"[agents.writer]\n{key}")
    done = manage(tmp_path, *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    [said] = done.stderr.splitlines()
    assert said.startswith(f"Wrong setting: {tmp_path}/fleet.toml, line 2: agents.writer.")


def test_problem_of_the_file_is_said_before_what_follows_from_it(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[models.fast]\nmodell = 'm'")
    done = manage(tmp_path, "check", FLEET_MODEL="fast")
    assert "fleet.toml, line 2: models.fast.modell: is unknown; did you mean model?" in done.stderr


def test_file_that_is_kept_counts_in_place_of_the_one_on_disk(folder: Path) -> None:
    kept = keep_files(files_in("", [folder]), folder / "kept")
    assert kept.stat().st_mode & 0o077 == 0
    (folder / "fleet.toml").write_text("wrong")
    (folder / "fleet_tools.py").write_text("wrong")
    wrong = manage(folder, "fleet", "--check-config")
    assert wrong.returncode == 1
    done = manage(folder, "fleet", "--check-config", FLEET_KEPT_CONFIG=str(kept))
    assert (done.returncode, done.stderr) == (0, "")
    assert "stock" in done.stdout


@pytest.mark.parametrize("content", ["", "{", json.dumps({"path": 3})])
def test_kept_file_that_is_broken_does_not_count(tmp_path: Path, content: str) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(content)
    assert kept_files(kept) is None
    assert kept_files(tmp_path / "gone.json") is None


def test_old_bytecode_of_the_tools_does_not_count(folder: Path) -> None:
    """Python would take it for that of a file of the same size and second."""
    path = folder / "fleet_tools.py"
    assert "stock" in manage(folder, "fleet", "--check-config").stdout
    seen = path.stat()
    path.write_text(TOOLS.replace("stock", "stick"))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    (folder / "fleet.toml").unlink()
    assert "stick" in manage(folder, "fleet", "--check-config").stdout
