"""The topology of docker-compose.yml as processes: proxy with TLS, two hosts, Valkey, PostgreSQL.

The tests share it, and each leaves it as it was, with other processes perhaps.
"""

import asyncio
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.pages.browsing import (
    CONNECTION_ERRORS,
    MARKS,
    answer,
    ask,
    chromium_running,
    expect_ready_for_the_next,
    pages,
    prose,
)
from tests.postgresql import found

from .stage import HOSTS, Topology, topology
from .streams import Door, Streams, until_true

pytestmark = pytest.mark.processes

WORDS = [f"word{number} " for number in range(20)]
PACE = 0.25  # seconds between two words: an answer takes five
AT_ONCE = 20  # streams during a restart
END = 90.0  # seconds; only an overloaded machine needs so many
SETTINGS = {
    "FLEET_HEARTBEAT": "1",
    "FLEET_LEASE_TTL": "2",
    # Shorter than an answer: some go on at the other host.
    "FLEET_SHUTDOWN_GRACE": "2",
    # A processor that has much to do holds nothing up for so long.
    "FLEET_MAX_RUNTIME": "600",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with topology(tmp_path_factory.mktemp("topology"), **SETTINGS) as place:
        yield place


@pytest.fixture(scope="module")
def password(place: Topology) -> str:
    """Return the password that the first start has told."""
    said = "".join([*place.said, *(fleet.said for fleet in place.hosts.values())])
    [password] = re.findall(r"with the password (\S+)", said)
    return str(password)


@pytest.fixture(scope="module")
def browser(place: Topology, password: str) -> Iterator[httpx.Client]:
    with place.browser() as browser:
        assert place.try_to_sign_in(browser, "admin", password).status_code == 302
        yield browser


def test_two_hosts_begin_on_an_empty_database_with_one_admin(password: str) -> None:
    assert password


def test_site_is_reached_by_tls_alone(place: Topology) -> None:
    redirect = httpx.get(f"http://localhost:{place.http_port}/")
    assert redirect.status_code == 308
    assert redirect.headers["Location"].startswith("https://localhost")
    page = httpx.get(place.url, verify=place.trust)
    assert page.headers["Location"] == "/login/?next=/"
    assert page.headers["Strict-Transport-Security"]


def test_people_elsewhere_are_known_by_their_own_address(place: Topology) -> None:
    """What a client says of itself doesn't count: else limits would be no limits."""
    with place.browser() as stranger:
        stranger.headers["X-Forwarded-For"] = "203.0.113.7"
        response = place.try_to_sign_in(stranger, "somebody", "a wrong password")
    assert response.status_code == 200
    logs = "".join(fleet.complained for fleet in place.hosts.values())
    assert re.findall(r"sign-in failed: name='somebody' address='?([\d.]+)", logs) == ["127.0.0.1"]


async def test_answer_streams_by_sockets_through_the_proxy(
    place: Topology, browser: httpx.Client
) -> None:
    streams = Streams(place, Door(place, browser), WORDS, pace=0)
    for _ in range(4):  # The proxy takes each host in turn.
        streams.begin()
    assert await streams.end(END) == []


async def test_reader_rejoins_on_the_other_host(place: Topology, browser: httpx.Client) -> None:
    here, there = (Door(place, browser, host) for host in HOSTS)
    streams = Streams(place, here, WORDS, pace=PACE)
    run = streams.begin(elsewhere=there)
    assert await streams.end(END) == []
    [html] = run.followers[1].sockets
    kinds = [frame["type"] for frame in html.frames]
    assert kinds[-1] == "done"
    # Live, by the log that both have, not from the database at the end.
    assert kinds.count("response.delta") >= 5


async def test_cancel_on_the_other_host_ends_the_answer(
    place: Topology, browser: httpx.Client
) -> None:
    here, there = (Door(place, browser, host) for host in HOSTS)
    streams = Streams(place, here, [*WORDS, *WORDS, *WORDS], pace=PACE)
    streams.play = type(streams.play)("stream", streams.play.script, frozenset({"cancelled"}))
    run = streams.begin(elsewhere=there)
    other = run.followers[1]
    await until_true(lambda: other.is_joined, "the other reader does not join")
    await other.cancel(1)
    assert await streams.end(END) == []
    assert run.rows[0].kind == "cancelled"


@pytest.mark.parametrize("_browser", [pytest.param(None, marks=MARKS)])
def test_page_chats_through_the_proxy(place: Topology, password: str, _browser: None) -> None:
    place.model.on("Through the proxy?", tokens=["Yes, ", "**encrypted**."])
    with chromium_running() as chromium, pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        page = open_page(place.url, ignore_https_errors=True)
        page.locator("#id_username").fill("admin")
        page.locator("#id_password").fill(password)
        page.locator("#id_password").press("Enter")
        page.wait_for_url(place.url)
        ask(page, "Through the proxy?")
        expect(prose(page)).to_have_text("Yes, encrypted.")
        expect_ready_for_the_next(page)
        page.reload()
        expect(prose(page)).to_have_text("Yes, encrypted.")
        assert answer(page).count() == 1


async def test_hosts_are_replaced_one_by_one_under_load(
    place: Topology, browser: httpx.Client
) -> None:
    streams = Streams(place, Door(place, browser), WORDS, pace=PACE)
    codes: list[int] = []

    async def roll() -> None:
        await asyncio.sleep(2)
        for host in HOSTS:
            codes.append(await asyncio.to_thread(place.replace, host))

    await streams.keep(AT_ONCE, during=roll())
    assert await streams.end(END) == []
    assert codes == [0, 0]
    assert {run.rows[0].kind for run in streams.runs} == {"completed"}
    # Some were in mid-answer, and went on at the other host.
    assert max(run.rows[0].epoch for run in streams.runs) >= 1


async def test_database_may_start_again_while_answers_stream(
    place: Topology, browser: httpx.Client
) -> None:
    streams = Streams(place, Door(place, browser), WORDS, pace=PACE)

    async def restart() -> None:
        await asyncio.sleep(2)
        with streams.journal.noting("database", "restart"):
            await asyncio.to_thread(place.database.stop, "immediate")
            await asyncio.sleep(1)
            await asyncio.to_thread(place.database.start)
        await asyncio.sleep(2)

    await streams.keep(AT_ONCE // 2, during=restart())
    assert await streams.end(END) == []
    assert {run.rows[0].kind for run in streams.runs} == {"completed"}


async def test_database_may_fail_over_while_answers_stream(
    place: Topology, browser: httpx.Client
) -> None:
    streams = Streams(place, Door(place, browser), WORDS, pace=PACE)
    primary, standby = place.database, await asyncio.to_thread(place.database.standby)

    async def fail_over() -> None:
        await asyncio.sleep(2)
        with streams.journal.noting("database", "failover"):
            await asyncio.to_thread(primary.stop, "immediate")
            await asyncio.to_thread(standby.promote)
            place.database_door.target = standby.port
            place.database_door.cut()
            place.database = standby
        await asyncio.sleep(2)

    try:
        await streams.keep(AT_ONCE // 2, during=fail_over())
        assert await streams.end(END) == []
        assert {run.rows[0].kind for run in streams.runs} == {"completed"}
        check = [found("pg_isready"), f"--port={place.database_door.port}", "--host=127.0.0.1"]
        assert subprocess.run(check, stdout=subprocess.DEVNULL).returncode == 0
    finally:
        for fleet in place.hosts.values():
            fleet.stop()
        await asyncio.to_thread(standby.stop)
