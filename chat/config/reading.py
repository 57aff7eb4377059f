"""Read fleet.toml, and refuse what is wrong in it in one line that says where."""

import os
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from django.core.exceptions import ImproperlyConfigured
from msgspec import Struct, structs

from tooling.tables import McpTable, ToolTable

from .checking import SECRET, check, check_apps, secrets_of
from .places import Place, line_told, syntax_told, told, visible
from .tables import AgentTable, FleetFile, ModelTable
from .wording import kind_of, said_of

FILE, TOOLS_FILE = "fleet.toml", "fleet_tools.py"
MAX_BYTES = 1_000_000  # of either file
TABLES: dict[str, type[Struct]] = {
    "agents": AgentTable,
    "models": ModelTable,
    "tools": ToolTable,
    "mcp": McpTable,
}


class Files(Struct, frozen=True):
    """What the operator of a fleet has written, as it was when it was read."""

    path: str = ""  # of fleet.toml
    text: str = ""
    tools_path: str = ""  # of fleet_tools.py
    tools_source: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """What the operator of a fleet has changed, with where it is from.

    If something is wrong with it, this is the `problem`, in one line, and all else is empty.
    """

    file: FleetFile = field(default_factory=FleetFile)
    files: Files = field(default_factory=Files)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: str = ""
    places: Sequence[Path] = ()  # where the files are, or would be

    @property
    def text(self) -> str:
        """What is in fleet.toml."""
        return self.files.text

    @property
    def path(self) -> Path | None:
        """The path of fleet.toml; None without one."""
        return Path(self.files.path) if self.files.path else None

    @property
    def tools_path(self) -> Path | None:
        """The path of fleet_tools.py; None without one."""
        return Path(self.files.tools_path) if self.files.tools_path else None

    def filled(self, value: str) -> str:
        """Return the value with its secrets. Nothing that people read may have them."""
        return SECRET.sub(lambda found: self.secrets[found[1]], value)

    @property
    def servers(self) -> dict[str, McpTable]:
        """The MCP servers that are on, with their secrets."""
        return {
            name: structs.replace(
                table,
                env={key: self.filled(value) for key, value in table.env.items()},
                headers={key: self.filled(value) for key, value in table.headers.items()},
            )
            for name, table in self.file.mcp.items()
            if table.enabled
        }

    def reject(self, place: Place, problem: str) -> NoReturn:
        """Raise ImproperlyConfigured with one line: the place, and what is wrong with it."""
        raise ImproperlyConfigured(told(self.path, self.text, place, problem))


def read_config(
    chosen: str,
    folders: list[Path],
    secret: Callable[[str], str],
    *,
    installed: Collection[str] = (),
) -> Config:
    """Return what the operator has changed. Raise ImproperlyConfigured if that can't be used.

    `chosen` is the path of the file; without it, it is looked for in the `folders`. `secret`
    returns a value of the environment by its name, "" if there is none. `installed` are the Django
    apps that are there anyhow.
    """
    return config_of(files_in(chosen, folders), secret, installed=installed)


def config_of(
    files: Files, secret: Callable[[str], str], *, installed: Collection[str] = ()
) -> Config:
    """Return what is written in these files. Raise ImproperlyConfigured if that can't be used."""
    config = Config(files=files)
    config = replace(config, file=decoded(config))
    check(config.file, config.reject)
    # An app, and fleet_tools.py, may import what is beside these files.
    beside = {str(Path(path).parent) for path in (files.path, files.tools_path) if path}
    sys.path += beside.difference(sys.path)
    check_apps(config.file.apps, installed, config.reject)
    return replace(config, secrets=secrets_of(config.file, secret, config.reject))


# --- The files


def files_in(chosen: str, folders: list[Path]) -> Files:
    """Find the files, and read them. Raise ImproperlyConfigured if that is impossible."""
    folders = list(dict.fromkeys(folder.absolute() for folder in folders))
    found = [Path(chosen).absolute()] if chosen else existing(folders, FILE)
    if chosen and not existing(found, ""):
        raise ImproperlyConfigured(visible(f"FLEET_CONFIG names {found[0]}, which isn't there."))
    if chosen and found[0].is_dir():
        raise ImproperlyConfigured(visible(f"FLEET_CONFIG: {found[0]} is not a file."))
    if len(found) > 1:
        raise ImproperlyConfigured(
            f"There are {found[0]} and {found[1]}; FLEET_CONFIG says which of them counts."
        )
    path = found[0] if found else None
    # With a fleet.toml elsewhere, the one in the folders belongs to another fleet.
    own = existing([path.parent] if path else folders, TOOLS_FILE)
    if len(own) > 1:
        raise ImproperlyConfigured(f"There are {own[0]} and {own[1]}; only one of them can count.")
    return Files(
        path=str(path) if path else "",
        text=text_of(path) if path else "",
        tools_path=str(own[0]) if own else "",
        tools_source=bytes_of(own[0]) if own else b"",
    )


def existing(folders: list[Path], name: str) -> list[Path]:
    return [folder / name for folder in folders if os.path.lexists(folder / name)]


def bytes_of(path: Path) -> bytes:
    """Return what is in a file. Raise ImproperlyConfigured if it can't be read, or is too large."""
    try:
        # Reading anything else, such as a pipe, might never end.
        if path.exists() and not path.is_file():
            raise ImproperlyConfigured(visible(f"{path} is not a file."))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ImproperlyConfigured(visible(f"{path} cannot be read: {reason}.")) from exc
    if len(content) > MAX_BYTES:
        raise ImproperlyConfigured(visible(f"{path} has more than {MAX_BYTES:,} bytes."))
    return content


def text_of(path: Path) -> str:
    content = bytes_of(path)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ImproperlyConfigured(line_told(path, line, "must be in UTF-8.")) from exc


# --- The tables


def decoded(config: Config) -> FleetFile:
    try:
        raw: dict[str, Any] = tomllib.loads(config.text)
    except (ValueError, RecursionError) as exc:
        line = syntax_told(config.path, config.text, str(exc))
        raise ImproperlyConfigured(line) from exc
    tables = dict(raw)
    # Table by table, because msgspec doesn't tell the keys of a dict.
    for kind, struct in TABLES.items():
        group = raw.get(kind, {})
        if not isinstance(group, dict):
            config.reject((kind,), f"must be tables such as [{kind}.NAME], not {kind_of(group)}.")
        for name, table in group.items():
            if not isinstance(table, dict):
                config.reject(
                    (kind, name), f"must be a table such as [{kind}.NAME], not {kind_of(table)}."
                )
        tables[kind] = {
            name: converted(config, (kind, name), table, struct) for name, table in group.items()
        }
    return converted(config, (), tables, FleetFile)


def converted[T: Struct](config: Config, place: Place, value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as exc:
        within, problem = said_of(str(exc), value, kind)
        config.reject((*place, *within), problem)
