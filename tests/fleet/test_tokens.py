"""Tokens at a real fleet of two workers: how programs show them, and that no log has them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.chatting import chat_request
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running, until

ENDED = 10  # seconds; far below the interval at which sockets look for themselves


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    model = ScriptedModel()
    model.default = Script(tokens=["a "], hang_after=1)
    settings = {"FLEET_AUTH": "required", "FLEET_LOG_LEVEL": "debug"}
    with running(tmp_path, model, "--workers", "2", **settings) as fleet:
        yield fleet
    model.stop()


@contextmanager
def asked(fleet: Fleet, **options: Any) -> Iterator[ClientConnection]:
    with connect(fleet.address.replace("http", "ws") + "ws/chat/", **options) as client:
        client.send(json.dumps(chat_request()))
        yield client


def end_of(client: ClientConnection) -> int | None:
    """Read until the server closes the socket; return its code."""
    try:
        while True:
            client.recv(timeout=ENDED)
    except ConnectionClosed:
        return client.close_code


def refusal(fleet: Fleet, **options: Any) -> int | None:
    with asked(fleet, **options) as client:
        return end_of(client)


def test_token_opens_sockets_until_it_is_revoked_and_is_in_no_log(fleet: Fleet) -> None:
    text = fleet.token("create", "--service", "ci")
    wrong = f"{text[:-1]}{'0' if text[-1] != '0' else '1'}"
    names = [Subprotocol(f"fleet.token.{text}"), Subprotocol("fleet.json.v1")]
    ways: list[dict[str, Any]] = [
        {"additional_headers": {"Authorization": f"Bearer {text}"}},
        {"subprotocols": names},
    ]
    assert refusal(fleet, additional_headers={"Authorization": f"Bearer {wrong}"}) == 4401
    assert refusal(fleet, subprotocols=[Subprotocol(f"fleet.token.{wrong}"), *names]) == 4401
    assert refusal(fleet) == 4401
    with ExitStack() as stack:
        clients = [stack.enter_context(asked(fleet, **ways[number % 2])) for number in range(6)]
        for number, client in enumerate(clients):
            assert client.subprotocol == (None if number % 2 == 0 else "fleet.json.v1")
            while json.loads(client.recv(timeout=ENDED))["type"] != "response.delta":
                pass
        fleet.token("revoke", text.split("_")[1])
        assert [end_of(client) for client in clients] == [4401] * len(clients)
    assert refusal(fleet, **ways[0]) == 4401
    until(lambda: "socket code=" in fleet.complained, ENDED, "nothing was logged")
    for said in (fleet.said, fleet.complained):
        assert text.split("_")[2] not in said
