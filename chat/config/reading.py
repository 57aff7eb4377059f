"""Read fleet.toml, and refuse what is wrong in it in one line that says where."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from django.core.exceptions import ImproperlyConfigured
from msgspec import Struct, structs

from tooling.tables import McpTable, ToolTable

from .tables import AgentTable, FleetFile, ModelTable

FILE, TOOLS_FILE = "fleet.toml", "fleet_tools.py"
# A secret, by the name that it has in the environment.
SECRET = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
KINDS: dict[str, type[Struct]] = {
    "agents": AgentTable,
    "models": ModelTable,
    "tools": ToolTable,
    "mcp": McpTable,
}
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")

type Place = tuple[str, ...]  # the keys of a value, outermost first


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """What the owner of a fleet has changed, with where it is from.

    `path` is that of fleet.toml, `tools_path` that of fleet_tools.py; None without one.
    """

    file: FleetFile = field(default_factory=FleetFile)
    text: str = ""
    path: Path | None = None
    tools_path: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)

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


def read_config(chosen: str, folders: list[Path], secret: Callable[[str], str]) -> Config:
    """Return what the owner has changed. Raise ImproperlyConfigured if that can't be used.

    `chosen` is the path of the file; without it, it is looked for in the `folders`. `secret`
    returns a value of the environment by its name, "" if there is none.
    """
    if chosen and not Path(chosen).is_file():
        raise ImproperlyConfigured(f"{chosen} is not a file.")
    folders = list(dict.fromkeys(folders))
    found = [Path(chosen).absolute()] if chosen else existing(folders, FILE)
    if len(found) > 1:
        raise ImproperlyConfigured(
            f"There are {found[0]} and {found[1]}; FLEET_CONFIG says which of them counts."
        )
    path = found[0] if found else None
    own = existing([path.parent] if path else folders, TOOLS_FILE)
    text = text_of(path) if path else ""
    config = Config(decoded(path, text), text, path, own[0] if own else None)
    names = {name for value in strings_in(tomllib.loads(text)) for name in SECRET.findall(value)}
    secrets = {name: secret(name) for name in names}
    if missing := next((name for name in sorted(names) if not secrets[name]), None):
        line = next(n for n, words in enumerate(text.splitlines(), 1) if f"${missing}" in words)
        raise ImproperlyConfigured(f"{path}, line {line}: the environment has no {missing}.")
    return Config(config.file, text, path, config.tools_path, secrets)


def existing(folders: list[Path], name: str) -> list[Path]:
    return [folder / name for folder in folders if (folder / name).is_file()]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ImproperlyConfigured(f"{path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise ImproperlyConfigured(f"{path} must be in UTF-8.") from exc


def decoded(path: Path | None, text: str) -> FleetFile:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ImproperlyConfigured(f"{path}: {exc}.") from exc
    tables: dict[str, Any] = dict(raw)
    # Table by table, because msgspec doesn't tell the keys of a dict.
    for kind, struct in KINDS.items():
        if not isinstance(group := raw.get(kind, {}), dict):
            continue
        tables[kind] = {
            name: converted(path, text, (kind, name), table, struct)
            for name, table in group.items()
        }
    return converted(path, text, (), tables, FleetFile)


def converted[T: Struct](
    path: Path | None, text: str, place: Place, value: object, kind: type[T]
) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as exc:
        problem = str(exc)
    if within := _PLACE.search(problem):
        place += tuple(part for part in re.split(r"[.\[]", within["place"]) if part.isidentifier())
        problem = problem[: within.start()]
    if unknown := _UNKNOWN.fullmatch(problem):
        place += (unknown["name"],)
        problem = f"is unknown; did you mean {nearest(unknown['name'], kind.__struct_fields__)}?"
    raise ImproperlyConfigured(told(path, text, place, problem))


def nearest(name: str, names: Sequence[str]) -> str:
    [found] = get_close_matches(name, names, n=1, cutoff=0)
    return found


def told(path: Path | None, text: str, place: Place, problem: str) -> str:
    return f"{path}, line {line_of(text, place)}: {'.'.join(place)}: {problem}"


def line_of(text: str, place: Place) -> int:
    """Return the number of the line in which the statement begins that has this value.

    Such a statement ends with the first line up to which the text has the value.
    """
    lines = text.splitlines(keepends=True)
    begins = 1
    for count in range(1, len(lines) + 1):
        try:
            value: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for key in place:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return begins
        begins = count + 1
    return begins


def strings_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings_in(part)]
