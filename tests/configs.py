"""What the operator of a fleet writes, in force for the processes of tests."""

from collections.abc import Callable
from pathlib import Path

from chat.config.reading import FILE, TOOLS_FILE, Config, read_config

type Configure = Callable[..., Config]


def written(folder: Path, toml: str, tools: str = "", **secrets: str) -> Config:
    """Write fleet.toml, and fleet_tools.py if there are `tools`. Return what is read of them."""
    (folder / FILE).write_text(toml)
    if tools:
        (folder / TOOLS_FILE).write_text(tools)
    return read_config("", [folder], lambda name: secrets.get(name, ""))
