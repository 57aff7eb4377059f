"""A fleet below a path of a host, behind an nginx with TLS that passes the path on or strips it."""

import json
import re
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect
from websockets.sync.client import connect

from tests.nginx import SNIPPET, free_port, needs_nginx, nginx, server
from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, Fleet, clean_environment, running

from .browsing import Open, ask, expect_ready_for_the_next, prose

pytestmark = [needs_nginx]

ROOT = "/fleet/"
PASSWORD = "a-long-enough-word"
# A sub-path with nginx is one location; the slash behind the port is what strips the path.
STYLES = {"passed on": "http://127.0.0.1:{port};", "stripped": "http://127.0.0.1:{port}/;"}
type Style = Literal["passed on", "stripped"]


@dataclass(frozen=True, slots=True)
class Place:
    """A fleet below ROOT of two hosts, one for each style of proxy."""

    fleet: Fleet
    folder: Path  # of nginx
    ports: dict[str, int]

    def url(self, style: Style) -> str:
        return f"https://127.0.0.1:{self.ports[style]}{ROOT}"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "authority.pem"))

    def client(self, style: Style) -> httpx.Client:
        return httpx.Client(base_url=self.url(style), verify=self.trust, follow_redirects=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Place]:
    ports = {style: free_port() for style in STYLES}
    folder = tmp_path_factory.mktemp("nginx")
    environment = {
        "FLEET_PUBLIC_URL": f"https://127.0.0.1:{ports['passed on']}/fleet",
        "DJANGO_CSRF_TRUSTED_ORIGINS": f"https://127.0.0.1:{ports['stripped']}",
        "FLEET_TRUSTED_PROXIES": "127.0.0.1",
        "FLEET_ANONYMOUS": "allowed",
    }
    with running(tmp_path_factory.mktemp("fleet"), model_server, **environment) as fleet:
        subprocess.run(
            [sys.executable, MANAGE, "createsuperuser", "--noinput", "--email", "a@b.example"],
            env={
                **clean_environment(),
                **environment,
                "FLEET_STATE_DIR": str(fleet.folder / "state"),
                "PYTHON_DOTENV_DISABLED": "1",
                "DJANGO_SUPERUSER_USERNAME": "ann",
                "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            },
            check=True,
        )
        servers = (
            server(
                ports[style],
                f"location {ROOT} {{ proxy_pass {passed.format(port=fleet.port)} {SNIPPET} }}",
            )
            for style, passed in STYLES.items()
        )
        with nginx(folder, *servers):
            yield Place(fleet, folder, ports)


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> Style:
    found: Style = request.param
    return found


# --- Without a browser


class Addresses(HTMLParser):
    """Collects all addresses of a page."""

    NAMES = re.compile(r"(href|src|action|formaction|poster|hx-(get|post|put|delete)|data-.*url)")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if value and self.NAMES.fullmatch(name)]


def addresses_in(response: httpx.Response) -> list[str]:
    kind, text = response.headers.get("Content-Type", ""), response.text
    if kind.startswith("text/html"):
        parser = Addresses()
        parser.feed(text)
        return parser.found
    if kind.startswith("application/manifest"):
        found = json.loads(text)
        own = [found[name] for name in ("id", "start_url", "scope")]
        return own + [icon["src"] for icon in found["icons"]]
    if kind.startswith("text/css"):
        return re.findall(r"""url\(["']?([^"')]+)""", text)
    if kind.startswith(("text/javascript", "application/javascript")):
        return re.findall(r"""\b(?:from|import) "(\.[^"]+)";""", text)
    return []


def sign_in(client: httpx.Client) -> None:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("login/").text)
    assert token
    form = {"username": "ann", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    signed_in = client.post("login/", data=form, headers={"Referer": str(client.base_url)})
    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, ROOT)


def test_no_address_of_any_page_leaves_the_path(place: Place, style: Style) -> None:
    with place.client(style) as client:
        sign_in(client)
        home = str(client.base_url)
        todo = [home, *(urljoin(home, each) for each in ("admin/", "account/", "shares/"))]
        seen, kinds = set(todo), set()
        while todo:
            address = todo.pop()
            response = client.get(address)
            assert response.status_code < 400 or response.status_code == 405, address
            kinds.add(response.headers.get("Content-Type", "").partition(";")[0])
            found = addresses_in(response)
            if "Location" in response.headers:
                found.append(response.headers["Location"])
            for each in found:
                target = urljoin(address, each).partition("#")[0]
                parts = urlsplit(target)
                if parts.scheme not in ("http", "https") or target in seen:
                    continue
                seen.add(target)
                if parts.netloc == urlsplit(home).netloc:
                    assert parts.path.startswith(ROOT), (address, each)
                    # Each list of the admin can be sorted and filtered in many ways.
                    if not parts.query and not parts.path.endswith("/logout/"):
                        todo.append(target)
    assert len(seen) > 100
    assert {"text/html", "text/css", "text/javascript", "image/svg+xml"} <= kinds
    assert "application/manifest+json" in kinds
    assert any("woff2" in each for each in seen)


def test_answers_name_the_path_in_cookies_and_redirects(place: Place, style: Style) -> None:
    with place.client(style) as client:
        cookies = client.get("").headers.get_list("Set-Cookie")
        assert cookies
        assert all("Path=/fleet/;" in each and "Secure" in each for each in cookies)
        assert client.get("admin/").headers["Location"] == f"{ROOT}admin/login/?next={ROOT}admin/"
        # nginx completes /fleet itself if a location ends with a slash.
        host = place.url(style).removesuffix(ROOT)
        assert client.get(f"{host}/fleet").headers["Location"].endswith("/fleet/")
        for path in ("healthz", "readyz"):
            assert client.get(path).status_code == 200
        for path in ("/", "/fleetfoo", "/static/chat/chat.css"):
            assert client.get(f"{host}{path}").status_code in (403, 404)  # by nginx


def test_socket_answers_below_the_path(place: Place, style: Style, model: ScriptedModel) -> None:
    url = place.url(style)
    address = url.replace("https", "wss") + "ws/chat/"
    origin = url.removesuffix(ROOT)
    with place.client(style) as client:
        client.get("")
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    options = {"origin": origin, "subprotocols": ["fleet.html.v1"], "ssl": place.trust}
    with connect(address, additional_headers={"Cookie": cookies}, **options) as socket:
        socket.send(json.dumps({"message": "Hello?", "message_id": str(uuid.uuid4())}))
        markup = []
        while True:
            frame = json.loads(socket.recv(20))
            markup.append(frame.get("html", ""))
            if frame["type"] in ("done", "error"):
                break
    assert frame["type"] == "done", frame
    parser = Addresses()
    parser.feed("".join(markup))
    own = [each for each in parser.found if each.startswith("/")]
    assert own
    assert all(each.startswith(ROOT) for each in own)


def test_fleet_itself_answers_with_and_without_the_path(place: Place) -> None:
    base = place.fleet.address.rstrip("/")
    with httpx.Client(base_url=base) as client:
        for path in ("/", "/fleet/", "/%66leet/", "/healthz", "/fleet/healthz", "/metrics"):
            assert client.get(path).status_code == 200, path
        moved = client.get("/fleet")
        assert (moved.status_code, moved.headers["Location"]) == (301, ROOT)
        for path in ("/fleetfoo/", "/fleet/fleet/", "/Fleet/", "/fleet//"):
            assert client.get(path).status_code == 404, path
    assert f" for {place.url('passed on')}\n" in place.fleet.said


# --- With Chromium


@pytest.fixture
def open_below(place: Place, open_page: Open, model: ScriptedModel) -> Iterator[Open]:
    """Yield a function that opens a page, all of whose requests must stay below the path."""
    strays: list[str] = []

    def note(address: str) -> None:
        if not urlsplit(address).path.startswith(ROOT) and address.startswith(("http", "ws")):
            strays.append(address)

    def opened(address: str) -> Page:
        page = open_page("about:blank", ignore_https_errors=True)
        page.on("request", lambda request: note(request.url))
        page.on("websocket", lambda socket: note(socket.url))
        page.goto(address)
        return page

    yield opened
    assert strays == []


@pytest.mark.browser
def test_people_ask_share_and_sign_in_below_the_path(
    place: Place, style: Style, open_below: Open, model: ScriptedModel
) -> None:
    home = place.url(style)
    page = open_below(home)
    ask(page, "Hello?")
    expect_ready_for_the_next(page)
    assert re.fullmatch(r"/fleet/c/[\w-]+/", urlsplit(page.url).path)
    said = prose(page).inner_text()
    page.reload()
    expect(prose(page)).to_have_text(said)
    # What the page's script asks for.
    page.get_by_role("button", name="Edit this question").press("Enter")
    page.locator(".edit textarea").fill("Hello again?")
    page.locator(".edit textarea").press("Enter")
    expect_ready_for_the_next(page)
    page.locator("[data-action=earlier-version]").click()
    expect(page.locator(".bubble")).to_have_text(["Hello?"])
    page.get_by_label("Menu of “Hello?”").press("Enter")
    page.locator("#chat-menu").get_by_role("button", name="Pin", exact=True).press("Enter")
    expect(page.locator("#conversations .group")).to_have_text(["Pinned"])
    page.locator(".room-title summary").click()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    assert link.startswith(f"{place.url('passed on')}s/")
    expect(open_below(link).locator(".bubble")).to_have_text(["Hello?"])
    # In an account, and in the admin.
    page.goto(f"{home}login/")
    page.locator("[name=username]").fill("ann")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(home)
    page.locator("#conversations a").first.click()
    expect(prose(page)).to_have_text(said)
    assert {cookie["path"] for cookie in page.context.cookies()} == {ROOT}
    page.goto(f"{home}admin/")
    expect(page.locator("#site-name")).to_be_visible()
    page.locator("a[href*='/chat/run/']").first.click()
    expect(page.locator("#changelist")).to_be_visible()


@pytest.mark.browser
def test_page_that_is_opened_without_the_path_goes_there(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.fleet.address}login/?next=/fleet/#here")
    page.wait_for_url(f"{place.fleet.address}fleet/login/?next=/fleet/#here")
