"""A silent model behind nginx, which cuts silent connections, with the lines of the README."""

import json
import ssl
import time
import uuid
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from agenticfleet.embedded import free_port
from tests.fleet.test_fleet import read_to, read_to_end
from tests.nginx import SNIPPET, needs_nginx, nginx, server
from tests.scripted_model import ScriptedModel
from tests.serving import running

pytestmark = [needs_nginx, pytest.mark.long]
ALLOWED = 60  # seconds of silence, after which nginx cuts a connection


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    model = ScriptedModel()
    yield model
    model.stop()


def test_socket_outlives_a_silent_model(
    tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel
) -> None:
    model.on("Be silent.", hold_after=1)
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    environment = {
        "FLEET_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "FLEET_TRUSTED_PROXIES": "127.0.0.1",
        "FLEET_ANONYMOUS": "allowed",
        "FLEET_API": "open",
        "FLEET_IDLE_TIMEOUT": "600",
        "FLEET_MAX_RUNTIME": "600",
    }
    with running(tmp_path_factory.mktemp("fleet"), model, **environment) as fleet:
        location = f"location / {{ proxy_pass http://127.0.0.1:{fleet.port}; {SNIPPET} }}"
        with nginx(folder, server(port, location)):
            trust = ssl.create_default_context(cafile=folder / "authority.pem")
            with connect(f"wss://127.0.0.1:{port}/ws/chat/", ssl=trust) as client:
                client.send(json.dumps({"message": "Be silent.", "message_id": str(uuid.uuid4())}))
                read_to("response.delta", client)
                until_then = time.monotonic() + ALLOWED + 5
                while (left := until_then - time.monotonic()) > 0:
                    assert json.loads(client.recv(timeout=left + 10))["type"] == "heartbeat"
                model.release_once()
                assert read_to_end(client)[-1]["data"]["status"] == "completed"
