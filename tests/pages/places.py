"""A fleet below a path of a host, behind a real nginx with TLS that does right, or wrong."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

import httpx
from playwright.sync_api import Page
from websockets.sync.client import ClientConnection, connect

from agenticfleet.embedded import free_port
from tests.nginx import SNIPPET, nginx, server
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

ROOT = "/fleet/"
HOST = "chat.test"  # not of this machine, to which browsers are kinder
# What nginx is told, by what it does with the path.
PASS, STRIP = "proxy_pass http://127.0.0.1:PORT;", "proxy_pass http://127.0.0.1:PORT/;"


def without(header: str, instead: str = "") -> str:
    """Return what the README tells nginx, but with another line for a header, or none."""
    changed, count = re.subn(rf"proxy_set_header {header} .*;", instead, SNIPPET)
    assert count == 1
    return changed


@dataclass(frozen=True, slots=True)
class Place:
    """A fleet below ROOT of HOST, with one way to it that leads through any of the proxies."""

    fleet: Fleet
    folder: Path  # of nginx
    front: Proxy
    ports: dict[str, int]

    def through(self, proxy: str) -> None:
        self.front.target = self.ports[proxy]

    @property
    def place(self) -> str:
        return f"{HOST}:{self.front.port}"

    @property
    def url(self) -> str:
        return f"https://{self.place}{ROOT}"

    @property
    def account(self) -> dict[str, str]:
        """The first administrator's name and password."""
        found = re.search(r"as (\S+) with the password (\S+)", self.fleet.said)
        assert found
        return {"username": found[1], "password": found[2]}

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "authority.pem"))

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.front.port}{ROOT}",
            headers={"Host": self.place},
            verify=self.trust,
        )

    def socket(self, cookies: str) -> ClientConnection:
        return connect(
            self.url.replace("https", "wss") + "ws/chat/",
            additional_headers={"Cookie": cookies},
            origin=f"https://{self.place}",
            subprotocols=["fleet.html.v1"],
            ssl=self.trust,
            sock=create_connection(("127.0.0.1", self.front.port)),
        )


@contextmanager
def place_behind(
    folder: Path,
    model: ScriptedModel,
    proxies: Mapping[str, str],
    *arguments: str,
    **environment: str,
) -> Iterator[Place]:
    """Run a fleet behind an nginx with these proxies; the way to it leads through the first."""
    ports = {name: free_port() for name in proxies}
    front = Proxy(next(iter(ports.values())))
    settings = {
        "FLEET_PUBLIC_URL": f"https://{HOST}:{front.port}/fleet",
        "FLEET_TRUSTED_PROXIES": "127.0.0.1",
        "FLEET_ANONYMOUS": "allowed",
        "FLEET_API": "open",
        "FLEET_HEARTBEAT": "1",
        **environment,
    }
    for each in ("fleet", "nginx"):
        (folder / each).mkdir()
    with running(folder / "fleet", model, *arguments, **settings) as fleet:
        servers = (
            server(ports[name], f"location {ROOT} {{ {told.replace('PORT', str(fleet.port))} }}")
            for name, told in proxies.items()
        )
        with nginx(folder / "nginx", *servers):
            yield Place(fleet, folder / "nginx", front, ports)
    front.stop()


def sign_in_on(page: Page, place: Place) -> None:
    page.goto(f"{place.url}login/")
    for name, value in place.account.items():
        page.locator(f"[name={name}]").fill(value)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(place.url)
