"""A fleet below a path of a host, behind a real nginx with TLS that does right, or wrong."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accounts.oidc_server import CLIENT_ID, SECRET, OidcServer
from tests.nginx import SNIPPET, needs_nginx
from tests.scripted_model import ScriptedModel
from tests.serving import until

from .browsing import (
    CONNECTION_ERRORS,
    MARKS,
    Open,
    answer,
    ask,
    chromium_running,
    expect_ready_for_the_next,
    pages,
    prose,
    watch,
)
from .places import HOST, PASS, ROOT, STRIP, Place, place_behind, sign_in_on, without

pytestmark = needs_nginx


def in_browser[T: Callable[..., None]](test: T) -> T:
    for mark in MARKS:
        test = mark(test)
    return test


PASSED, STRIPPED = "passed on", "stripped"
BOTH = [PASSED, pytest.param(STRIPPED, marks=pytest.mark.long)]


# What nginx is told, by what it does with the path, or wrong.
PROXIES = {
    PASSED: PASS + SNIPPET,
    STRIPPED: STRIP + SNIPPET,
    "impatient": PASS + SNIPPET + "proxy_read_timeout 2s;",
    "own host": PASS + without("Host"),
    "no port": PASS + without("Host", "proxy_set_header Host $host;"),
    "no scheme": PASS + without("X-Forwarded-Proto"),
    "wrong scheme": PASS + without("X-Forwarded-Proto", "proxy_set_header X-Forwarded-Proto http;"),
    "no origin": PASS + SNIPPET + "proxy_set_header Origin '';",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Place]:
    sign_in_server = OidcServer()
    environment = {
        "FLEET_OIDC_URL": sign_in_server.url,
        "FLEET_OIDC_CLIENT_ID": CLIENT_ID,
        "FLEET_OIDC_CLIENT_SECRET": SECRET,
    }
    folder = tmp_path_factory.mktemp("place")
    with place_behind(folder, model_server, PROXIES, **environment) as place:
        yield place
    sign_in_server.stop()


@pytest.fixture(params=BOTH)
def style(request: pytest.FixtureRequest, place: Place) -> str:
    found: str = request.param
    place.through(found)
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


def sign_in(client: httpx.Client, place: Place) -> None:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("login/").text)
    assert token
    form = {**place.account, "csrfmiddlewaretoken": token[1]}
    signed_in = client.post("login/", data=form, headers={"Referer": place.url})
    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, ROOT)


@pytest.mark.usefixtures("style")
def test_no_address_of_any_page_leaves_the_path(place: Place) -> None:
    with place.client() as client:
        sign_in(client, place)
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


@pytest.mark.usefixtures("style")
def test_answers_name_the_path_in_cookies_and_redirects(place: Place) -> None:
    with place.client() as client:
        cookies = client.get("").headers.get_list("Set-Cookie")
        assert cookies
        assert all("Path=/fleet;" in each and "Secure" in each for each in cookies)
        assert client.get("admin/").headers["Location"] == f"{ROOT}admin/login/?next={ROOT}admin/"
        # nginx completes /fleet itself if a location ends with a slash.
        host = f"https://127.0.0.1:{place.front.port}"
        assert client.get(f"{host}/fleet").headers["Location"].endswith("/fleet/")
        for path in ("healthz", "readyz"):
            assert client.get(path).status_code == 200
        for path in ("/", "/fleetfoo", "/static/chat/chat.css"):
            assert client.get(f"{host}{path}").status_code in (403, 404)  # by nginx


@pytest.mark.usefixtures("style", "model")
def test_socket_answers_below_the_path(place: Place) -> None:
    with place.client() as client:
        client.get("")
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    with place.socket(cookies) as socket:
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


@pytest.mark.parametrize("proxy", [PASSED, "own host"])
def test_sign_in_elsewhere_leads_back_below_the_path(place: Place, proxy: str) -> None:
    place.through(proxy)
    with place.client() as client:
        sent = client.get("sso/login/").headers["Location"]
    assert parse_qs(urlsplit(sent).query)["redirect_uri"] == [f"{place.url}sso/callback/"]


def test_fleet_itself_answers_with_and_without_the_path(place: Place) -> None:
    base = place.fleet.address.rstrip("/")
    with httpx.Client(base_url=base) as client:
        for path in ("/", "/fleet/", "/%66leet/", "/healthz", "/fleet/healthz", "/metrics"):
            assert client.get(path).status_code == 200, path
        moved = client.get("/fleet")
        assert (moved.status_code, moved.headers["Location"]) == (301, ROOT)
        for path in ("/fleetfoo/", "/fleet/fleet/", "/Fleet/", "/fleet//"):
            assert client.get(path).status_code == 404, path
    assert f" for {place.url}\n" in place.fleet.said


# --- With Chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def open_below(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
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

    with pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        yield opened
    assert strays == []


@in_browser
@pytest.mark.usefixtures("style")
def test_people_ask_share_and_sign_in_below_the_path(place: Place, open_below: Open) -> None:
    home = place.url
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
    assert link.startswith(f"{home}s/")
    expect(open_below(link).locator(".bubble")).to_have_text(["Hello?"])
    # In an account, and in the admin.
    sign_in_on(page, place)
    page.locator("#conversations a").first.click()
    expect(prose(page)).to_have_text(said)
    assert {cookie["path"] for cookie in page.context.cookies()} == {ROOT.rstrip("/")}
    page.goto(f"{home}admin/")
    expect(page.locator("#site-name")).to_be_visible()
    page.locator("a[href*='/chat/run/']").first.click()
    expect(page.locator("#changelist")).to_be_visible()


@in_browser
def test_page_that_is_opened_without_the_path_goes_there(place: Place, open_page: Open) -> None:
    page = open_page(f"{place.fleet.address}login/?next=/fleet/#here")
    page.wait_for_url(f"{place.fleet.address}fleet/login/?next=/fleet/#here")


# --- Proxies that do wrong

# By the proxy, what of its mistake the log tells.
MISTAKES = {
    "impatient": "",  # Heartbeats keep it.
    "own host": "it must pass the Host on as it is",
    "no port": f"asks for '{HOST}', but people for",
    "no scheme": "",  # That of FLEET_PUBLIC_URL counts.
    "wrong scheme": "says http in X-Forwarded-Proto",
    "no origin": "must pass the header Origin on",
}
QUICK = ("own host", "wrong scheme")  # The others are tested elsewhere without a browser.


@in_browser
@pytest.mark.parametrize(
    "proxy",
    [pytest.param(each, marks=[] if each in QUICK else pytest.mark.long) for each in MISTAKES],
)
def test_answers_come_through_a_proxy_that_does_wrong_and_the_log_says_what(
    place: Place, proxy: str, open_below: Open, model: ScriptedModel
) -> None:
    place.through(proxy)
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_below(place.url)
    watch(page)
    ask(page, "long")
    expect(prose(page)).to_have_text("First half.")
    if proxy == "impatient":
        time.sleep(4)  # longer than it waits
    model.release()
    expect_ready_for_the_next(page)
    expect(prose(page)).to_have_text("First half. Second half.")
    assert page.evaluate("said") == []
    page.reload()
    expect(prose(page)).to_have_text("First half. Second half.")
    # A form, too.
    sign_in_on(page, place)
    if told := MISTAKES[proxy]:
        until(lambda: told in place.fleet.complained, 10, f"no {told!r}")
        assert place.fleet.complained.count(told) == 1


# On a busy machine a socket comes back too late. test_browser_connection.py tests the time itself.
@pytest.mark.long
@in_browser
def test_proxy_that_cuts_each_connection_is_not_noticed(
    place: Place, open_below: Open, model: ScriptedModel
) -> None:
    place.through(PASSED)
    model.on("long", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_below(place.url)
    watch(page)
    ask(page, "long")
    expect(prose(page)).to_have_text("First half.")
    for _ in range(3):
        with page.expect_websocket() as opened:
            place.front.cut()
        opened.value.wait_for_event("framereceived")
    model.release()
    expect_ready_for_the_next(page)
    expect(prose(page)).to_have_text("First half. Second half.")
    expect(answer(page).locator(".step.phase")).to_have_count(2)
    assert page.evaluate("said") == []
