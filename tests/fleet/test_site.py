"""A site below a path of a host: what FLEET_PUBLIC_URL may be, and what Django is set to for it."""

from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.request import Request

import pytest
from django.urls import get_script_prefix
from pytest_django import Settings

from agenticfleet.access import MACHINES
from agenticfleet.health import PROBES
from agenticfleet.proxies import RealClient, below_root
from agenticfleet.site import OWN_NAMES, Site, site_at
from chat.urls import websocket_urlpatterns
from tests.fuzz.addresses import pattern_of, routes


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://chat.example", Site("https://chat.example", "/")),
        ("https://chat.example/", Site("https://chat.example", "/")),
        ("https://chat.example/fleet", Site("https://chat.example", "/fleet/")),
        ("HTTPS://Chat.Example:443/Fleet/", Site("https://chat.example", "/Fleet/")),
        (
            "https://chat.example:8443/a/b-c/d_e.f~1/",
            Site("https://chat.example:8443", "/a/b-c/d_e.f~1/"),
        ),
        ("http://[::1]:80/fleet/", Site("http://[::1]", "/fleet/")),
    ],
)
def test_site_has_an_origin_and_a_root(url: str, site: Site) -> None:
    assert site_at(url) == site
    assert site_at(site.url) == site


@pytest.mark.parametrize(
    "path",
    [
        *("/flöte/", "/fl%65et/", "/a b/", "/a//b/", "//", "/../fleet/", "/a/./b", "/.hidden/"),
        *("/fleet/?x=1", "/fleet/?", "/fleet/#top", "/a;b/", "/a\\b/", "/a,b", "/a'b", "/a:b"),
        *("/admin/", "/ws", "/static/x/", "/c", "/healthz"),
    ],
)
def test_path_that_is_not_plain_is_refused_with_what_it_must_be(path: str) -> None:
    with pytest.raises(ValueError, match=r"^must (be|have) .*\.$"):
        site_at(f"https://chat.example{path}")


def test_own_names_are_those_of_all_addresses() -> None:
    sockets = (pattern_of(each) for each in websocket_urlpatterns)
    own = [*routes(), *sockets, *PROBES, *MACHINES, "static", "sso"]
    names = {each.strip("/").split("/")[0] for each in own}
    assert names - {""} == set(OWN_NAMES)


def test_cookies_and_policies_of_a_site_below_a_path_are_no_other_sites() -> None:
    whole, part = site_at("https://chat.example").settings, site_at("https://a.example/b").settings
    assert {value for name, value in part.items() if name.endswith("_COOKIE_PATH")} == {"/b"}
    assert part["SECURE_SSL_HOST"] == "a.example"
    assert "SECURE_HSTS_SECONDS" in whole
    # It would count for the whole host.
    assert "SECURE_HSTS_SECONDS" not in part


def test_cookies_come_back_below_the_path_with_and_without_its_slash() -> None:
    path = site_at("https://a.example/b").settings["SESSION_COOKIE_PATH"]
    policy = DefaultCookiePolicy()
    asked = [Request(f"https://a.example{each}") for each in ("/b", "/b/", "/b/c/1/", "/", "/bc/")]
    sent = [policy.path_return_ok(path, each) for each in asked]
    assert sent == [True, True, True, False, False]


async def seen(path: str, **scope: Any) -> dict[str, Any]:
    got: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        got.append({**scope, "prefix": get_script_prefix()})

    outer = {"type": "http", "scheme": "http", "headers": [], "client": None, **scope}
    await RealClient(inner)({**outer, "path": path}, None, None)
    return got[0]


@pytest.mark.parametrize(
    ("asked", "path", "below"),
    [
        ("/fleet/", "/fleet/", "/"),
        ("/", "/fleet/", "/"),
        ("/fleet/c/1/", "/fleet/c/1/", "/c/1/"),
        ("/c/1/", "/fleet/c/1/", "/c/1/"),
        ("/fleet", "/fleet", ""),
        ("/fleetfoo", "/fleet/fleetfoo", "/fleetfoo"),
        ("/Fleet/", "/fleet/Fleet/", "/Fleet/"),
        ("//fleet/", "/fleet//fleet/", "//fleet/"),
        ("/fleet//x", "/fleet//x", "//x"),
        ("/fleet/fleet/", "/fleet/fleet/", "/fleet/"),
        ("/static/chat/x.js", "/fleet/static/chat/x.js", "/static/chat/x.js"),
    ],
)
async def test_path_counts_with_and_without_the_root(
    settings: Settings, asked: str, path: str, below: str
) -> None:
    settings.FORCE_SCRIPT_NAME = "/fleet"
    for kind in ("http", "websocket"):
        scope = await seen(asked, type=kind)
        assert (scope["path"], scope["root_path"], below_root(scope)) == (path, "/fleet", below)
        # Of addresses in markup, which sockets get, too.
        assert scope["prefix"] == "/fleet/"


@pytest.mark.parametrize("path", ["/", "/fleet/", "//x", "/c/1/"])
async def test_site_at_the_root_leaves_paths_as_they_are(path: str) -> None:
    scope = await seen(path)
    assert (scope["path"], scope["root_path"], below_root(scope)) == (path, "", path)
