"""Host names that the server doesn't answer to."""

import pytest
from django.test import Client
from pytest_django import Settings

from chat.access import hosts
from chat.logs import Once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _allowed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    monkeypatch.setattr(hosts, "_logged", Once(hosts.MAX_LOGGED))


def naming_hosts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == hosts.__name__]


@pytest.mark.parametrize("host", ["192.168.1.5:8000", "evil.example", "a b", "<script>"])
def test_unknown_host_gets_a_page_and_one_line_of_the_log(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/", "/", "/c/"):
        response = Client().get(path, headers={"Host": host})
        assert response.status_code == 400
    html = response.content.decode()
    assert "its log has that name" in html
    assert host not in html
    assert not any(name in html for name in ("DJANGO_", "FLEET_"))
    [line] = naming_hosts(caplog)
    assert f"asked for as {host!r}" in line
    assert "DJANGO_ALLOWED_HOSTS" in line
    assert [record.name for record in caplog.records] == [hosts.__name__]


def test_log_names_few_hosts_of_a_scanner(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(hosts.MAX_LOGGED + 50):
        Client().get("/", headers={"Host": f"h{number}.example"})
    assert len(naming_hosts(caplog)) == hosts.MAX_LOGGED


def test_operator_of_a_proxy_that_loses_the_host_is_told_what_it_must_pass(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FLEET_PUBLIC_URL = "https://chat.example/fleet/"
    Client().get("/", headers={"Host": "upstream:8000"})
    [line] = naming_hosts(caplog)
    for told in ("'upstream:8000'", "https://chat.example/fleet/", "$http_host"):
        assert told in line
