"""A fleet behind nginx, with the lines of the README."""

import json
import re
import shutil
import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from agenticfleet.embedded import free_port
from tests.fleet.test_fleet import read_to, read_to_end
from tests.scripted_model import ScriptedModel
from tests.serving import START, running, until

from .composition import ROOT
from .stage import REQUIRED, started

AUTHORITY = trustme.CA()
ALLOWED = 60  # seconds of silence, after which nginx cuts a connection
CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate;
        ssl_certificate_key {folder}/key;
        location / {{
            {lines}
        }}
    }}
}}
"""
pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None and not REQUIRED, reason="no nginx: apt-get install nginx"
)


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    server = ScriptedModel()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    site = f"https://localhost:{port}"
    environment = {
        "FLEET_PUBLIC_URL": site,
        "FLEET_TRUSTED_PROXIES": "127.0.0.1",
        "FLEET_ANONYMOUS": "allowed",
        "FLEET_IDLE_TIMEOUT": "600",
        "FLEET_MAX_RUNTIME": "600",
    }
    with running(folder, model, **environment) as fleet:
        config = configured(folder, port, fleet.port)
        with started(["nginx", "-p", str(folder), "-c", str(config)], folder, "log") as nginx:
            until(lambda: nginx.poll() is not None or answers(site), START, "nginx doesn't answer")
            assert nginx.poll() is None, (folder / "log.log").read_text()
            yield site


def configured(folder: Path, port: int, fleet_port: int) -> Path:
    """Write a configuration with the README's lines and a certificate; return its path."""
    [lines] = re.findall(r"^```nginx\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "127.0.0.1:8000" in lines
    certificate = AUTHORITY.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate")
    path = folder / "nginx.conf"
    lines = lines.replace("8000", str(fleet_port))
    path.write_text(CONFIG.format(folder=folder, port=port, lines=lines))
    return path


def trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def answers(site: str) -> bool:
    try:
        return httpx.get(f"{site}/readyz", verify=trust()).is_success
    except httpx.HTTPError:
        return False


def test_page_and_its_cookies_are_those_of_a_site_with_https(url: str) -> None:
    page = httpx.get(url, verify=trust())
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"]
    assert all("Secure" in cookie for cookie in page.headers.get_list("Set-Cookie"))


@pytest.mark.parametrize("silence", [1, pytest.param(ALLOWED + 5, marks=pytest.mark.long)])
def test_socket_outlives_a_silent_model(url: str, model: ScriptedModel, silence: int) -> None:
    question = f"Be silent for {silence} seconds."
    model.on(question, hold_after=1)
    address = url.replace("https", "wss") + "/ws/chat/"
    with connect(address, ssl=trust()) as client:
        client.send(json.dumps({"message": question, "message_id": str(uuid.uuid4())}))
        read_to("response.delta", client)
        until_then = time.monotonic() + silence
        while time.monotonic() < until_then:
            try:
                client.recv(timeout=until_then - time.monotonic())
            except TimeoutError:
                break
        model.release_once()
        assert read_to_end(client)[-1]["data"]["status"] == "completed"
