"""What else must be true of fleet.toml: what its tables alone can't say."""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import NoReturn

from tooling.tables import SERVER_NAME, McpTable

from .places import Place, quoted
from .sent import HEADER, has_stray_password, is_header_value, is_web_address
from .tables import AGENT_NAME, MODEL_NAME, FleetFile, ModelTable
from .wording import COMMAND

# A secret, by the name that it has in the environment.
SECRET = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
NO_SETTING = {"FLEET_": " Choose another name: those that begin with FLEET_ are settings."}
NOT_FILLED = (
    "takes no secrets, so $… would stand there as it is; api_key, headers and env take them."
)

type Reject = Callable[[Place, str], NoReturn]


def check(file: FleetFile, reject: Reject) -> None:
    """Reject what is wrong in the tables, each by itself."""
    for name, agent in file.agents.items():
        check_name(("agents", name), AGENT_NAME, reject)
        if not agent.name.isprintable():
            reject(("agents", name, "name"), "must be one line that people can read.")
        for key in ("role", "instructions"):
            if "\0" in getattr(agent, key):
                reject(("agents", name, key), "must be a text without the character NUL.")
    for name, model in file.models.items():
        check_name(("models", name), MODEL_NAME, reject)
        check_model(("models", name), model, reject)
    for name, server in file.mcp.items():
        check_name(("mcp", name), SERVER_NAME, reject)
        check_server(("mcp", name), server, reject)
    if any(server.enabled for server in file.mcp.values()) and find_spec("mcp") is None:
        reject(("mcp",), "needs the packages of MCP: uv sync --extra mcp")


NAMES = {
    AGENT_NAME: "must be named with a to z, 0 to 9 and _, and begin with a letter (at most 31).",
    MODEL_NAME: "must be named with letters, digits, spaces and . : / _ - (at most 63).",
    SERVER_NAME: "must be named with a to z, 0 to 9 and -, and begin with a letter (at most 31).",
}


def check_name(place: tuple[str, str], pattern: str, reject: Reject) -> None:
    if not re.match(pattern, place[1]):
        reject(place, NAMES[pattern])


def check_model(place: tuple[str, str], model: ModelTable, reject: Reject) -> None:
    if SECRET.search(model.model):
        reject((*place, "model"), NOT_FILLED)
    if model.base_url:
        check_address((*place, "base_url"), model.base_url, reject)
    elif model.api_key or model.headers:
        reject(place, "needs a base_url, to which api_key and headers are sent.")
    if model.api_key and not SECRET.fullmatch(model.api_key):
        reject(
            (*place, "api_key"),
            'must name a variable of the environment or of .env, such as "$OPENAI_API_KEY": the'
            " key itself must not be in this file.",
        )
    check_headers((*place, "headers"), model.headers, reject)


def check_server(place: tuple[str, str], server: McpTable, reject: Reject) -> None:
    if bool(server.command) == bool(server.url):
        both = "has both" if server.url else "needs one of both"
        reject(place, f'{both}: command = ["…"] starts a program, url = "…" asks a server.')
    for number, word in enumerate(server.command):
        where = (*place, "command", number)
        if SECRET.search(word):
            reject(where, NOT_FILLED)
        if "\0" in word or (number == 0 and not word.strip()):
            reject(where, "can't be a word of a command.")
        if number == 0 and " " in word and "/" not in word and which(word) is None:
            reject(where, f"must be one word, as in {COMMAND}: there is no program {quoted(word)}.")
    if server.url:
        check_address((*place, "url"), server.url, reject)
        if server.env:
            reject((*place, "env"), "is for a command; a server with a url gets headers.")
    if server.command and server.headers:
        reject((*place, "headers"), "are for a url; a command gets env.")
    for name, value in server.env.items():
        if not name or "=" in name or "\0" in name + value:
            reject((*place, "env", name), "can't be a variable of the environment.")
    check_headers((*place, "headers"), server.headers, reject)


def check_address(place: Place, url: str, reject: Reject) -> None:
    """Reject what is no address of a server. It may have a password, so it isn't shown."""
    if SECRET.search(url):
        reject(place, NOT_FILLED)
    if not is_web_address(url):
        reject(place, "must be an address such as https://host.example/path")
    if has_stray_password(url):
        reject(place, "must have special characters of its password quoted as %XX.")


def check_headers(place: Place, headers: Mapping[str, str], reject: Reject) -> None:
    for name, value in headers.items():
        if not HEADER.fullmatch(name):
            reject((*place, name), "can't be the name of a header.")
        if not is_header_value(value):
            reject((*place, name), "must be ASCII characters in one line, as headers are.")


# --- Secrets


def secret_places(file: FleetFile) -> Iterator[tuple[Place, str]]:
    """Yield the values in which `$NAME` stands for a secret, with their places."""
    for name, model in file.models.items():
        yield ("models", name, "api_key"), model.api_key
        yield from (
            (("models", name, "headers", key), value) for key, value in model.headers.items()
        )
    for name, server in file.mcp.items():
        if server.enabled:
            for table in ("env", "headers"):
                values: dict[str, str] = getattr(server, table)
                yield from ((("mcp", name, table, key), value) for key, value in values.items())


def secrets_of(file: FleetFile, secret: Callable[[str], str], reject: Reject) -> dict[str, str]:
    """Return the secrets that the file names. Reject those that aren't there, or can't be sent."""
    found: dict[str, str] = {}
    for place, value in secret_places(file):
        for name in SECRET.findall(value):
            found[name] = secret(name)
            if not found[name]:
                reject(place, f"the environment has no {name}.{NO_SETTING.get(name[:6], '')}")
            if "env" not in place and not is_header_value(found[name]):
                reject(place, f"{name} must be ASCII characters in one line, as headers are.")
    return found


# --- Apps


def check_apps(names: Collection[str], installed: Collection[str], reject: Reject) -> None:
    """Reject Django apps that can't be imported, or that are there already."""
    for number, name in enumerate(names):
        place: Place = ("apps", number)
        if name in installed or name in [*names][:number]:
            reject(place, f"{quoted(name)} is there already.")
        if not all(part.isidentifier() for part in name.split(".")):
            reject(place, f"{quoted(name)} must be the name of a package, such as acme.fleet.")
        try:
            import_module(name)
        except Exception as exc:  # noqa: BLE001 - it is code of others, which may raise anything
            why = str(exc).partition("\n")[0]
            reject(place, f"{name} can't be imported: {type(exc).__name__}: {why}")
        if not hasattr(sys.modules[name], "__path__"):
            reject(place, f"{name} must be a package: a folder with an __init__.py.")
