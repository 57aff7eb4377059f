"""From which pages, and under which names, sockets may be opened."""

import logging

import pytest
from django.test import Client
from pytest_django import Settings

from chat.access import hosts, origins
from chat.access.origins import refusal_of
from chat.logs import Once
from chat.protocol.errors import FOREIGN_ORIGIN, UNKNOWN_HOST, ErrorInfo

HOSTS = ["chat.example", "localhost", "[::1]"]


@pytest.fixture(autouse=True)
def _site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALLOWED_HOSTS = HOSTS
    monkeypatch.setattr(hosts, "_logged", Once(hosts.MAX_LOGGED))
    monkeypatch.setattr(origins, "_logged", Once(origins.MAX_LOGGED))


def refused(origin: str, host: str, scheme: str | None = None) -> ErrorInfo | None:
    headers = [(b"host", host.encode("latin-1"))]
    if origin:
        headers.append((b"origin", origin.encode("latin-1")))
    return refusal_of({"type": "websocket", "headers": headers, "scheme": scheme})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://localhost:8000", "localhost:8000", None),
        ("http://localhost:8000", "localhost:8000", "ws"),
        ("https://chat.example", "chat.example", "wss"),
        ("https://chat.example:8443", "chat.example:8443", "wss"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
    ],
)
def test_page_of_the_same_scheme_host_and_port_is_ours(
    origin: str, host: str, scheme: str | None
) -> None:
    assert refused(origin, host, scheme) is None


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://chat.example", "chat.example", "wss"),
        ("https://chat.example", "chat.example", "ws"),
        ("http://chat.example:8001", "chat.example:8000", "ws"),
        ("http://chat.example.evil.example", "chat.example", "ws"),
        ("http://evil.example", "chat.example", "ws"),
        ("null", "chat.example", "ws"),
        ("http://[", "chat.example", "ws"),
        ("chat.example", "chat.example", "ws"),
        ("http://chat.example/", "chat.example", "ws"),
        ("http://chat.example@evil.example", "chat.example", "ws"),
    ],
)
def test_page_of_another_scheme_host_or_port_is_refused(
    origin: str, host: str, scheme: str
) -> None:
    assert refused(origin, host, scheme) == FOREIGN_ORIGIN


def test_page_that_the_operator_names_is_ours(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example:8443", "https://*.proxy.example"]
    assert refused("https://chat.example:8443", "chat.example") is None
    assert refused("https://a.proxy.example", "chat.example") is None
    assert refused("https://chat.example", "chat.example") == FOREIGN_ORIGIN
    assert refused("http://a.proxy.example", "chat.example") == FOREIGN_ORIGIN
    assert refused("https://a.proxy.example:8443", "chat.example") == FOREIGN_ORIGIN


@pytest.mark.parametrize("origin", ["", "http://rebound.example", "http://chat.example"])
@pytest.mark.parametrize("host", ["rebound.example", "", "a b", "chat.example,evil.example", "é"])
def test_socket_under_another_name_is_refused_also_to_programs(
    settings: Settings, origin: str, host: str
) -> None:
    assert refused(origin, host) == UNKNOWN_HOST
    settings.CSRF_TRUSTED_ORIGINS = ["http://rebound.example"]
    assert refused(origin, host) == UNKNOWN_HOST


def test_program_needs_no_origin() -> None:
    assert refused("", "localhost:8000") is None


def test_operator_is_told_once_what_allows_a_page_behind_a_proxy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The proxy listens on port 8443 and passes `Host $host`.
    for _ in range(3):
        assert refused("https://chat.example:8443", "chat.example") == FOREIGN_ORIGIN
    [line] = lines(caplog)
    for told in ("'https://chat.example:8443'", "'chat.example'", "FLEET_PUBLIC_URL"):
        assert told in line


def test_log_names_few_origins_and_hosts_of_a_scanner(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(origins.MAX_LOGGED + 20):
        refused(f"http://o{number}.example\n\x1b[31m{'x' * 500}", "localhost")
        refused("", f"h{number}.example")
    assert len(lines(caplog)) == origins.MAX_LOGGED + hosts.MAX_LOGGED
    assert all(line.isprintable() and len(line) < 500 for line in lines(caplog))


# --- A proxy that drops the Origin


def without_origin(**headers: str) -> ErrorInfo | None:
    sent = {"host": "localhost", "user_agent": "Mozilla/5.0", "cookie": "a=b", **headers}
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    return refusal_of({"type": "websocket", "headers": pairs, "scheme": "ws"})


def test_operator_is_told_once_of_a_proxy_that_drops_the_origin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        assert without_origin() is None
        assert without_origin(sec_fetch_site="same-origin") is None
    [line] = lines(caplog)
    assert "Origin" in line
    assert "'localhost'" in line


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_page_that_the_browser_calls_foreign_is_refused_without_an_origin(site: str) -> None:
    assert without_origin(sec_fetch_site=site) == FOREIGN_ORIGIN


def test_programs_without_origin_are_no_browsers(caplog: pytest.LogCaptureFixture) -> None:
    assert without_origin(user_agent="python-websockets") is None
    assert without_origin(cookie="") is None
    assert lines(caplog) == []


# --- Forms


@pytest.mark.django_db
def test_form_of_a_page_that_a_proxy_hides_gets_a_page_and_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Host": "chat.example"})
    for origin in ("https://chat.example:8443", "https://chat.example:8443", "http://chat.example"):
        response = client.post("/language/", {"language": "de"}, headers={"Origin": origin})
        assert response.status_code == 403
        assert "Not accepted" in response.content.decode()
        assert "FLEET_" not in response.content.decode()
    [line] = [line for line in lines(caplog) if line.startswith("refused a form")]
    for told in ("'https://chat.example:8443'", "'chat.example'", "FLEET_PUBLIC_URL", "$http_host"):
        assert told in line
