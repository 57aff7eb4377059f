"""A fleet that other machines reach serves people who have not signed in only on purpose."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from agenticfleet.environment import name_elsewhere
from agenticfleet.errors import EmbeddedError
from agenticfleet.startup import refuse_open_site
from tests.fleet.test_settings import ROOT, manage
from tests.serving import MANAGE, clean_environment

OPEN = {"FLEET_AUTH": "anonymous", "FLEET_ANONYMOUS": "refused", "FLEET_DOOR": ""}


def is_refused(settings: Settings, address: str, **changed: str) -> bool:
    for name, value in {**OPEN, **changed}.items():
        setattr(settings, name, value)
    try:
        refuse_open_site(address)
    except EmbeddedError:
        return True
    return False


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.0.7", "::", "127.0.0.1", "::1"])
@pytest.mark.parametrize("door", ["", "chat.example"])
def test_open_site_is_refused_unless_only_this_machine_reaches_it(
    settings: Settings, address: str, door: str
) -> None:
    is_elsewhere = bool(door) or address not in ("127.0.0.1", "::1")
    assert is_refused(settings, address, FLEET_DOOR=door) == is_elsewhere
    for chosen in (
        {"FLEET_AUTH": "required"},
        {"FLEET_AUTH": "signup"},
        {"FLEET_ANONYMOUS": "allowed"},
    ):
        assert not is_refused(settings, address, FLEET_DOOR=door, **chosen)


@pytest.mark.parametrize(
    ("hosts", "origins", "name"),
    [
        (["localhost", "127.0.0.1", "[::1]", ".localhost", "a.localhost", "127.0.0.9"], [], ""),
        (["localhost", "chat.example"], [], "chat.example"),
        (["*"], [], "*"),
        (["localhost"], ["http://localhost:3000", "https://[::1]:1", "http://127.0.0.1"], ""),
        (["localhost"], ["chrome-extension://abc"], ""),
        (["localhost"], ["https://*.chat.example:8443"], ".chat.example"),
        (["10.0.0.7"], [], "10.0.0.7"),
        (["localhost.example"], [], "localhost.example"),
    ],
)
def test_site_with_a_name_elsewhere_is_behind_a_proxy(
    hosts: list[str], origins: list[str], name: str
) -> None:
    assert name_elsewhere(hosts, origins) == name


@pytest.mark.parametrize(
    ("arguments", "environment", "door"),
    [
        (["fleet", "--host", "0.0.0.0", "--port", "0"], {}, "0.0.0.0"),
        (["fleet", "--port", "0"], {"FLEET_PUBLIC_URL": "https://chat.example"}, "chat.example"),
        (["fleet", "--port", "0"], {"FLEET_TRUSTED_PROXIES": "127.0.0.1"}, "127.0.0.1/32"),
        (["runserver", "0.0.0.0:0", "--noreload"], {}, "0.0.0.0"),
    ],
)
def test_start_of_an_open_site_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], door: str
) -> None:
    services = {
        "FLEET_STATE_DIR": str(tmp_path),
        "OPENAI_API_KEY": "k",
        "FLEET_MODEL": "m",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    ran = manage(*arguments, **services, **environment)
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"CommandError: Other machines can reach this fleet ({door}), ")
    assert "FLEET_AUTH=required" in line
    assert "FLEET_ANONYMOUS=allowed" in line


def test_worker_refuses_an_open_site_too_because_settings_may_have_changed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ran = subprocess.run(
            [sys.executable, MANAGE, "fleet-worker", "--fd", str(listener.fileno())],
            env={
                **clean_environment(),
                "FLEET_STATE_DIR": str(tmp_path),
                "FLEET_PUBLIC_URL": "https://chat.example",
            },
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 1
    assert "Other machines can reach this fleet (chat.example)" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_containers_ask_people_to_sign_in() -> None:
    compose, image = (ROOT / "docker-compose.yml").read_text(), (ROOT / "Dockerfile").read_text()
    assert "FLEET_AUTH: ${FLEET_AUTH:-required}" in compose
    assert "FLEET_AUTH=required" in image
