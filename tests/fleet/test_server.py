"""The server's frames, as a WebSocket client reads them, and the internal names that it uses."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from agenticfleet import incoming, server
from agenticfleet.incoming import Channel, Connection
from agenticfleet.server import BINARY, CONTINUATION, MAX_FRAME_PAYLOAD, TEXT, Client, Server, frame

ROOT = Path(__file__).parent.parent.parent
MODULES = (server, incoming)
INTERNAL_NAMES = server.INTERNAL_NAMES | incoming.INTERNAL_NAMES


def read(data: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    client.receive_data(data)
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, MAX_FRAME_PAYLOAD])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frame_of_any_size_can_be_read_by_a_client(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert read(frame(opcode, payload, is_last=True)) == [Frame(Opcode(opcode), payload)]


def test_message_in_pieces_ends_with_its_last_frame() -> None:
    pieces = (
        frame(TEXT, b"one ", is_last=False)
        + frame(CONTINUATION, b"two ", is_last=False)
        + frame(CONTINUATION, b"three", is_last=True)
    )
    assert [(piece.data, piece.fin) for piece in read(pieces)] == [
        (b"one ", False),
        (b"two ", False),
        (b"three", True),
    ]


def missing_names(*names: str) -> list[str]:
    """Return those of INTERNAL_NAMES and `names` that the installed libraries lack."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fleet.internal_names", *names],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()


# The library's and this project's version of each method that the server's classes extend.
EXTENDED = {
    f"{base.__module__}.{base.__name__}.{name}": (getattr(base, name), method)
    for subclass, base in (
        (Server, Server.__base__),
        (Client, Client.__base__),
        (Connection, Connection.__base__),
        (Channel, Channel.__base__),
    )
    for name, method in vars(subclass).items()
    if inspect.isfunction(method) and name != "__init__" and hasattr(base, name)
}


def test_no_internal_name_is_missing() -> None:
    assert missing_names() == []


def test_missing_internal_names_are_reported() -> None:
    gone = [
        "daphne.server.Server.gone",
        "daphne.server.gone",
        "daphne.gone.Server.handle_reply",
        "twisted.internet.tcp.Server._gone",
    ]
    assert missing_names(*gone) == gone


@pytest.mark.parametrize("name", EXTENDED)
def test_extended_method_is_listed_and_has_its_old_signature(name: str) -> None:
    original, extended = EXTENDED[name]
    assert name in INTERNAL_NAMES
    assert len(inspect.signature(original).parameters) == len(
        inspect.signature(extended).parameters
    )
    assert inspect.iscoroutinefunction(original) == inspect.iscoroutinefunction(extended)


@pytest.mark.parametrize("module", MODULES)
def test_every_listed_internal_name_is_used(module: Any) -> None:
    nodes = list(ast.walk(ast.parse(Path(module.__file__).read_text())))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {
        node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    }
    used |= {node.name for node in nodes if isinstance(node, ast.alias)}
    names = module.INTERNAL_NAMES
    assert [name for name in names if name.rpartition(".")[2] not in used] == []


def test_only_two_modules_import_daphne_twisted_and_autobahn() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for app in ("agenticfleet", "chat", "routing", "tooling")
        for path in (ROOT / app).rglob("*.py")
        if re.search(r"^\s*(import|from) (daphne|twisted|autobahn)\b", path.read_text(), re.M)
    }
    assert importing == {
        "agenticfleet/server.py",
        "agenticfleet/incoming.py",
        "agenticfleet/management/commands/runserver.py",
    }
