"""`manage.py runserver` as a real process, with the server of this project."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from django.core.management import get_commands, load_command_class
from websockets.sync.client import connect

from agenticfleet.embedded import free_port
from agenticfleet.server import Server
from tests.chatting import chat_request, is_terminal, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import GONE, MANAGE, OWN_SETTINGS, START, STOP, all_gone, until


def test_runserver_uses_the_server_with_back_pressure() -> None:
    app = get_commands()["runserver"]
    assert load_command_class(app, "runserver").server_cls is Server


@pytest.mark.processes
def test_runserver_serves_pages_and_sockets_and_stops_its_children(
    tmp_path: Path, model: ScriptedModel
) -> None:
    model.on("Hello, please.", tokens=["Good ", "day."])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    environment = {
        **clean,
        "FLEET_STATE_DIR": str(tmp_path),
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
        "FLEET_LIGHT_THRESHOLD": "0",
    }
    subprocess.run([sys.executable, MANAGE, "migrate", "-v0"], env=environment, check=True)
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, MANAGE, "runserver", address],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def page() -> bytes:
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/") as response:
            return response.read()
        return b""

    try:
        assert b"AgenticFleet" in until(page, START, "no page is served")
        children = psutil.Process(process.pid).children(recursive=True)
        with connect(f"ws://{address}/ws/chat/") as client:
            client.send(json.dumps(chat_request("Hello, please.")))
            events = [json.loads(client.recv(timeout=STOP))]
            while not is_terminal(events[-1]):
                events.append(json.loads(client.recv(timeout=STOP)))
        assert text_of(events) == "Good day."
    finally:
        process.terminate()
        process.wait(STOP)
    until(lambda: all_gone(children), GONE, "children outlived runserver")
