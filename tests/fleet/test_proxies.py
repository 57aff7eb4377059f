"""Clients behind proxies: whose address counts, and by which scheme people come."""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler
from pytest_django import Settings

from agenticfleet import proxies
from agenticfleet.asgi import PROBES, application
from agenticfleet.proxies import RealClient
from chat.logs import Once

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "10.1.2.3", "203.0.113.7"


@pytest.fixture(autouse=True)
def _trusting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLEET_TRUSTED_PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    monkeypatch.setattr(proxies, "_hinted", Once(20))


async def seen(
    peer: str | None = PROXY,
    *forwarded_for: str,
    proto: Iterable[str] = (),
    host: str = "chat.example",
    more: Iterable[tuple[bytes, bytes]] = (),
    **scope: Any,
) -> dict[str, Any]:
    """Return the scope that an application gets behind the wrapper."""
    got: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        got.append(scope)

    headers = [(b"host", host.encode()), *more]
    headers += [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded_for]
    headers += [(b"x-forwarded-proto", value.encode()) for value in proto]
    client = (peer, 1234) if peer else None
    outer = {"type": "http", "scheme": "http", "headers": headers, "client": client}
    outer = {"path": "/", **outer, **scope}
    await RealClient(inner)(outer, None, None)
    return got[0]


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ((CLIENT,), CLIENT),
        ((f"{CLIENT}, {OTHER_PROXY}",), CLIENT),
        ((CLIENT, OTHER_PROXY), CLIENT),
        # What a client has sent itself stands before.
        ((f"127.0.0.1, 10.9.9.9, {CLIENT}",), CLIENT),
        (("127.0.0.1", CLIENT), CLIENT),
        # With a port, as some proxies write it.
        ((f"{CLIENT}:4711",), CLIENT),
        (("[2001:db8::7]:4711",), "2001:db8::7"),
        (("2001:db8::7",), "2001:db8::7"),
        ((f"::ffff:{CLIENT}",), CLIENT),
        # Nonsense is nobody's address: the last proxy that is known counts.
        (("unknown",), PROXY),
        ((f"{CLIENT}, unknown",), PROXY),
        ((f"{CLIENT}, nonsense, {OTHER_PROXY}",), OTHER_PROXY),
        (("",), PROXY),
        ((",,",), PROXY),
        (("[", "1.2.3.4.5", "é", "::1::2", "0x7f.1", "10.0.0.999"), PROXY),
        ((), PROXY),
        # All of them are proxies: the first one is where it begins.
        ((f"10.7.7.7, {OTHER_PROXY}",), "10.7.7.7"),
    ],
)
async def test_client_is_the_last_one_that_no_trusted_proxy_is(
    forwarded_for: tuple[str, ...], client: str
) -> None:
    assert (await seen(PROXY, *forwarded_for))["client"][0] == client
    assert (await seen(f"::ffff:{PROXY}", *forwarded_for))["client"][0].endswith(client)


@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.1", "::1", "2001:db8::1", "not an address"])
async def test_others_than_trusted_proxies_name_no_client(peer: str) -> None:
    found = await seen(peer, "198.51.100.1", proto=["https"])
    assert found["client"] == (peer, 1234)
    assert found["scheme"] == "http"


async def test_connection_without_an_address_has_no_client() -> None:
    assert (await seen(None, CLIENT))["client"] is None


async def test_long_list_of_addresses_costs_little() -> None:
    assert (await seen(PROXY, ", ".join([OTHER_PROXY] * 5000)))["client"][0] == OTHER_PROXY


async def test_operator_of_a_proxy_that_is_not_trusted_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        await seen("192.168.0.1", CLIENT)
        await seen("8.8.8.8", "198.51.100.1")
        await seen(PROXY, CLIENT)
    [record] = caplog.records
    assert "FLEET_TRUSTED_PROXIES=192.168.0.1" in record.getMessage()


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ((), "http"),
        (("http",), "http"),
        (("https",), "https"),
        (("HTTPS",), "https"),
        (("wss",), "https"),
        (("https, http",), "http"),
        (("http", "https"), "https"),
        (("gopher",), "http"),
    ],
)
async def test_trusted_proxy_tells_the_scheme(proto: tuple[str, ...], scheme: str) -> None:
    assert (await seen(proto=proto))["scheme"] == scheme
    socket = scheme.replace("http", "ws")
    for told in ("ws", None):
        assert (await seen(proto=proto, type="websocket", scheme=told))["scheme"] == socket


@pytest.mark.parametrize("peer", [PROXY, CLIENT])
async def test_site_with_https_is_asked_for_so_if_no_proxy_says_otherwise(
    settings: Settings, peer: str
) -> None:
    settings.FLEET_PUBLIC_URL = "https://chat.example"
    assert (await seen(peer, host="127.0.0.1:8000"))["scheme"] == "https"
    assert (await seen(peer, type="websocket", scheme="ws"))["scheme"] == "wss"
    told = (await seen(peer, proto=["http"]))["scheme"]
    assert told == ("http" if peer == PROXY else "https")


async def test_browsers_that_came_by_https_are_believed_before_a_proxy_that_says_http(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FLEET_PUBLIC_URL = "https://chat.example"
    browser = [(b"sec-fetch-mode", b"navigate")]
    for _ in range(2):
        assert (await seen(proto=["http"], more=browser))["scheme"] == "https"
    [record] = caplog.records
    assert f"the proxy {PROXY} says http in X-Forwarded-Proto" in record.getMessage()
    # A browser says it to its own machine by http, too.
    assert (await seen(proto=["http"], more=browser, host="localhost"))["scheme"] == "http"
    assert (await seen(proto=["http"]))["scheme"] == "http"
    settings.FLEET_PUBLIC_URL = "http://chat.example"
    assert (await seen(proto=["http"], more=browser))["scheme"] == "http"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "chat.example"])
async def test_operator_of_a_proxy_that_changes_the_host_is_told_once(
    settings: Settings, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    settings.FLEET_PUBLIC_URL = "https://chat.example:8443/fleet/"
    settings.FORCE_SCRIPT_NAME = "/fleet"
    for path in ("/", "/fleet/", "/healthz", "/fleet/readyz"):
        await seen(host=host, path=path)
        await seen(CLIENT, host=host, path=path)
        await seen(host="chat.example:8443", path=path)
        await seen(host="other.example", path=path)
    [record] = caplog.records
    for told in (PROXY, f"{host!r}", "chat.example:8443", "$http_host"):
        assert told in record.getMessage()


async def test_health_checks_of_a_proxy_change_no_host(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FLEET_PUBLIC_URL = "https://chat.example"
    for path in ("/healthz", "/readyz", "/metrics"):
        await seen(host="127.0.0.1:8000", path=path)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("chat.example", "https"),
        ("a.team.example", "https"),
        ("chat.example:8000", "http"),
        ("plain.example", "http"),
        ("localhost", "http"),
    ],
)
async def test_host_that_is_trusted_with_https_is_asked_for_so(
    settings: Settings, host: str, scheme: str
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [
        "https://chat.example",
        "https://*.team.example",
        "http://plain.example",
    ]
    assert (await seen(CLIENT, host=host))["scheme"] == scheme


# --- Through the application


def browser(address: str, **headers: str) -> httpx.AsyncClient:
    # A handler of its own, because Django's middleware reads these settings once.
    transport = httpx.ASGITransport(RealClient(ASGIHandler()), client=(address, 1234))
    headers = {"host": "testserver", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


@pytest.fixture
def _https(settings: Settings) -> None:
    """Set what settings.py makes of FLEET_PUBLIC_URL=https://chat.example."""
    settings.FLEET_PUBLIC_URL = "https://chat.example"
    settings.SECURE_SSL_REDIRECT, settings.SECURE_SSL_HOST = True, "chat.example"
    settings.SECURE_HSTS_SECONDS = 1


@pytest.mark.usefixtures("_https")
@pytest.mark.django_db(transaction=True)
async def test_people_who_come_by_http_are_sent_to_https_and_never_in_a_circle() -> None:
    async with browser(PROXY, x_forwarded_proto="http") as client:
        response = await client.get("/login/?next=/")
        assert response.status_code == 301
        assert response.headers["location"] == "https://chat.example/login/?next=/"
    for told in ({"x_forwarded_proto": "https"}, {}):
        async with browser(PROXY, **told) as client:
            response = await client.get("/login/")
            assert response.status_code == 200
            assert response.headers["strict-transport-security"]
            assert all("Secure" in each for each in response.headers.get_list("set-cookie"))
            assert "camera=()" in response.headers["permissions-policy"]
            assert response.headers["referrer-policy"] == "same-origin"
            assert response.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.usefixtures("_https", "worker")
@pytest.mark.parametrize("path", PROBES)
async def test_probes_need_no_https(path: str) -> None:
    transport = httpx.ASGITransport(application, client=(PROXY, 1234))
    headers = {"host": "10.0.0.9:8000", "x-forwarded-proto": "http"}
    async with httpx.AsyncClient(transport=transport, base_url="http://any") as client:
        assert "status" in (await client.get(path, headers=headers)).json()
