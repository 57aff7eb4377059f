"""How many sockets are open, and how many are opened a minute, before anything is done for them."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from chat.access.claims import LocalClaims, Place
from chat.access.limits import Bound, Limit
from chat.runs.worker import Worker
from tests.chatting import Chatting
from tests.proxy import Proxy
from tests.runs.limiting import ADDRESS, empty, limit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["redis", "this process"])
def _counting(transactional_db: None, valkey_url: str, settings, request) -> Iterator[None]:
    """Count by Redis, or without it."""
    port = urlsplit(valkey_url).port
    assert port
    empty(valkey_url)
    proxy = Proxy(port)
    settings.REDIS_URL = valkey_url.replace(f":{port}", f":{proxy.port}")
    request.getfixturevalue("worker")
    if request.param == "this process":
        proxy.set("refuse")
    yield
    proxy.stop()


async def is_open(chat: Chatting, address: str) -> bool:
    """Open a socket; return True if it is served."""
    socket = await chat.socket(address=address)
    return await socket.communicator.receive_nothing(timeout=0.05)


@pytest.mark.usefixtures("_counting")
async def test_as_many_sockets_are_open_as_an_address_may_have(chat: Chatting, settings) -> None:
    limit(settings, sockets=Limit(None, 2, None))
    assert await is_open(chat, ADDRESS)
    assert await is_open(chat, ADDRESS)
    refusal = await (await chat.socket(address=ADDRESS)).refusal()
    assert (refusal["code"], refusal["close"]) == ("too_many_requests", 4429)
    assert refusal["retry_after_s"] == 5
    assert "your network address, 2 connections at once," in refusal["message"]
    assert await is_open(chat, "203.0.113.8")
    await chat.sockets[0].close()
    await Worker.current().runs.idle(within=10)
    assert await is_open(chat, ADDRESS)


@pytest.mark.usefixtures("_counting")
async def test_sockets_that_are_opened_at_once_are_counted_one_by_one(
    chat: Chatting, settings
) -> None:
    limit(settings, handshakes=Limit(None, None, 5))
    addresses = [f"203.0.113.{number}" for number in range(20)]
    opened = await asyncio.gather(*(is_open(chat, address) for address in addresses))
    assert opened.count(True) == 5
    refusal = await (await chat.socket(address=ADDRESS)).refusal()
    assert refusal["code"] == "too_many_requests"
    assert 0 < refusal["retry_after_s"] <= 60
    assert refusal["message"].endswith(f"Try again in {refusal['retry_after_s']} s.")


async def test_sockets_of_all_workers_count(
    worker: Worker, valkey_url: str, chat: Chatting, settings
) -> None:
    empty(valkey_url)
    limit(settings, sockets=Limit(None, 1, None))
    await worker.admission.admit_socket("one of another worker", ADDRESS)
    worker.admission._here = LocalClaims()
    refusal = await (await chat.socket(address=ADDRESS)).refusal()
    assert refusal["code"] == "too_many_requests"


def test_sets_that_nobody_asks_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("chat.access.claims.time.monotonic", lambda: now)
    claims = LocalClaims()
    places = [
        Place(Bound("handshakes", "address", f"address:203.0.113.{n}", 1), life=60)
        for n in range(100)
    ]
    for number, place in enumerate(places):
        assert not claims.claim(str(number), [place])
    [full] = claims.claim("again", places[:1])
    assert full.wait == 60
    now = 61
    assert not claims.claim("later", places[:1])
    assert list(claims._ends) == [places[0].key]


@pytest.mark.parametrize("most", [0, 0.5])
def test_limit_of_none_lets_none_in(most: float) -> None:
    place = Place(Bound("sockets", "site", "site", most), life=60)
    assert LocalClaims().claim("a", [place])
