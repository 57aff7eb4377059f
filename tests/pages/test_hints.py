"""Only the operator of a fleet is told the names of settings."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.scripted_model import ScriptedModel
from tests.serving import running

from .conversations import page

pytestmark = pytest.mark.django_db
NAMES = ("OPENAI_", "TAVILY_", "FLEET_", "DJANGO_")
PROXIED = {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture(autouse=True)
def _first_start(settings: Settings) -> None:
    """Have everything to be hinted at: the built-in model, and no search."""
    settings.FLEET_MODEL_IS_STAND_IN = True
    settings.FLEET_SEARCH = "off"
    settings.FLEET_IS_LOCAL = True
    settings.ALLOWED_HOSTS = ["localhost", "chat.example"]


def is_hinted(client: Client, host: str = "localhost", **headers: str) -> bool:
    html = page(client, "/", Host=host, **headers)
    assert "Web search is off" in html
    named = [name for name in NAMES if name in html]
    assert named in ([], list(NAMES[:3]))
    assert ("fetch_model" in html) == bool(named)
    return bool(named)


def person(*, is_staff: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ann" if is_staff else "bob", is_staff=is_staff))
    return client


def test_everybody_at_a_fleet_of_this_machine_alone_is_its_operator() -> None:
    assert is_hinted(Client())
    assert is_hinted(Client(), "localhost:8000")
    assert is_hinted(person(is_staff=False))
    assert is_hinted(person(is_staff=True))


def test_at_a_fleet_in_a_network_only_staff_are(settings: Settings) -> None:
    settings.FLEET_IS_LOCAL = False
    assert not is_hinted(Client())
    assert not is_hinted(person(is_staff=False))
    assert is_hinted(person(is_staff=True))


def test_behind_a_proxy_only_staff_are() -> None:
    for headers in (PROXIED, {"X-Forwarded-Proto": "https"}, {"Via": "1.1 p"}):
        assert not is_hinted(Client(), **headers)
    assert not is_hinted(Client(), "chat.example")
    assert not is_hinted(person(is_staff=False), **PROXIED)
    assert is_hinted(person(is_staff=True), **PROXIED)


def test_where_people_sign_in_only_staff_are(settings: Settings) -> None:
    settings.FLEET_AUTH = "required"
    assert not is_hinted(person(is_staff=False))
    assert is_hinted(person(is_staff=True))
    assert not any(name in page(Client(), "/login/", Host="localhost") for name in NAMES)


@pytest.mark.parametrize(
    ("host", "environment", "is_told"),
    [
        ("127.0.0.1", {}, True),
        ("0.0.0.0", {}, False),
        ("127.0.0.1", {"FLEET_PUBLIC_URL": "http://chat.example"}, False),
    ],
)
def test_fleet_knows_if_only_this_machine_reaches_it(
    tmp_path: Path,
    model_server: ScriptedModel,
    host: str,
    environment: dict[str, str],
    is_told: bool,
) -> None:
    environment = {"FLEET_ANONYMOUS": "allowed", **environment}
    with running(tmp_path, model_server, "--host", host, **environment) as fleet:
        html = urlopen(f"http://127.0.0.1:{fleet.port}/").read().decode()
    assert ("TAVILY_API_KEY" in html) == is_told
