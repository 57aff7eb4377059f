"""What a person or a browser has apart from chats: instructions, the account menu, the app."""

import json
import re

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django import Settings

from chat.access.owners import Owner
from chat.accounts.trying import INSTRUCTIONS_OF_ADDRESS
from chat.instructions import MAX_INSTRUCTIONS, Instructions
from chat.protocol.terms import Preference

from .conversations import HTMX, owner_of, page

pytestmark = pytest.mark.django_db

CREDENTIALS = {"username": "ann", "password": "a good password"}


def keep(client: Client, text: str, *, is_on: bool = True) -> tuple[int, str]:
    """Send the form; return the status and the form that comes back."""
    sent = {"text": text, "is_on": "on"} if is_on else {"text": text}
    response = client.post("/instructions/", sent, headers=HTMX)
    return response.status_code, response.content.decode()


def text_of(owner: str) -> str:
    kind, _, pk = owner.partition(":")
    return Instructions.objects.of(Owner(kind, pk)).in_force  # type: ignore[arg-type]


def test_each_person_has_instructions_of_their_own(client: Client, stranger: Client) -> None:
    bob = User.objects.create_user("bob")
    teammate = Client()
    teammate.force_login(bob)
    assert keep(client, " Use metric units.\r\nBe short. ")[0] == 200
    assert keep(teammate, "Pirate!")[0] == 200
    assert text_of(owner_of(client)) == "Use metric units.\nBe short."
    assert text_of(f"user:{bob.pk}") == "Pirate!"
    assert "Be short" in page(client, "/instructions/")
    for other in (stranger, teammate):
        assert "Be short" not in page(other, "/instructions/")


def test_instructions_of_new_browsers_at_an_address_have_a_limit() -> None:
    statuses = [keep(Client(), "Be short.")[0] for _ in range(INSTRUCTIONS_OF_ADDRESS.count + 2)]
    assert statuses[-3:] == [200, 429, 429]
    assert Instructions.objects.count() == INSTRUCTIONS_OF_ADDRESS.count
    ann = Client()
    ann.force_login(User.objects.create_user("ann"))
    assert keep(ann, "Be short.")[0] == 200


def test_instructions_can_be_switched_off_and_are_kept(client: Client) -> None:
    keep(client, "Use metric units.", is_on=False)
    assert text_of(owner_of(client)) == ""
    html = page(client, "/instructions/")
    assert "Use metric units." in html
    assert " checked" not in html


def test_instructions_that_are_too_long_are_refused_and_stay_in_the_form(client: Client) -> None:
    keep(client, "These are fine.")
    too_long = "é" * (MAX_INSTRUCTIONS + 1)
    status, html = keep(client, too_long)
    assert status == 422
    assert "2,001 of at most 2,000 characters" in html
    assert too_long in html
    assert text_of(owner_of(client)) == "These are fine."
    # A line end of a form counts once.
    assert keep(client, "x" * (MAX_INSTRUCTIONS - 2) + "\r\nx")[0] == 200


@pytest.mark.parametrize(("own", "kept"), [("", "of the browser"), ("my own", "my own")])
def test_signing_in_moves_instructions_unless_the_account_has_its_own(
    client: Client, own: str, kept: str
) -> None:
    ann = Owner("user", str(User.objects.create_user(**CREDENTIALS).pk))
    Instructions.objects.keep(ann, own, is_on=True)
    browser = owner_of(client)
    keep(client, "of the browser")
    client.post("/login/", CREDENTIALS)
    assert text_of(str(ann)) == kept
    client.post("/logout/")
    assert owner_of(client) == browser
    assert "of the browser" not in page(client, "/instructions/")


def preference_of(owner: str) -> str:
    kind, _, pk = owner.partition(":")
    return Instructions.objects.of(Owner(kind, pk)).preference  # type: ignore[arg-type]


def prefer(client: Client, preference: str) -> int:
    return client.post("/account/preference/", {"preference": preference}, headers=HTMX).status_code


@pytest.fixture
def _open_to_choice(settings: Settings) -> None:
    settings.FLEET_LIGHT_THRESHOLD = None


@pytest.mark.usefixtures("_open_to_choice")
def test_each_person_has_a_preference_which_both_menus_show(
    client: Client, stranger: Client
) -> None:
    assert preference_of(owner_of(client)) == "balanced"
    keep(client, "Be short.")
    assert prefer(client, "quality") == 204
    assert preference_of(owner_of(client)) == "quality"
    assert text_of(owner_of(client)) == "Be short."
    keep(client, "Be long.")
    assert preference_of(owner_of(client)) == "quality"
    assert preference_of(owner_of(stranger)) == "balanced"
    assert pressed(page(client, "/")) == ["quality", "quality"]
    assert pressed(page(stranger, "/")) == ["balanced", "balanced"]
    assert prefer(client, "luxury") == 400


def pressed(html: str) -> list[str]:
    """Return which preferences a page shows as chosen, in the order of its menus."""
    buttons = re.findall(r"<button[^>]* hx-post=\"/account/preference/\"[^>]*>", html)
    assert len(buttons) == 6
    return [
        found[1]
        for button in buttons
        if 'aria-pressed="true"' in button and (found := re.search('data-value="([^"]+)"', button))
    ]


def test_nothing_is_offered_that_would_change_nothing(client: Client, settings: Settings) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 0.5
    assert "/account/preference/" not in page(client, "/")
    settings.FLEET_LIGHT_THRESHOLD = None
    settings.FLEET_LIGHT_MODE = False
    html = page(client, "/")
    assert "/account/preference/" not in html
    assert 'id="ahead"' not in html
    settings.FLEET_LIGHT_MODE = True
    assert "/account/preference/" in page(client, "/")
    settings.FLEET_MODEL_IS_STAND_IN = True
    html = page(client, "/")
    assert "/account/preference/" not in html
    assert 'id="ahead"' not in html


@pytest.mark.parametrize(("own", "kept"), [("balanced", "economy"), ("quality", "quality")])
def test_signing_in_moves_the_preference_unless_the_account_has_its_own(
    client: Client, own: Preference, kept: str
) -> None:
    ann = Owner("user", str(User.objects.create_user(**CREDENTIALS).pk))
    Instructions.objects.keep(ann, "my own", is_on=False)
    Instructions.objects.prefer(ann, own)
    keep(client, "of the browser")
    prefer(client, "economy")
    browser = owner_of(client)
    client.post("/login/", CREDENTIALS)
    assert preference_of(str(ann)) == kept
    assert Instructions.objects.of(ann).text == "my own"
    assert not Instructions.objects.of(ann).is_on
    assert not Instructions.objects.has_any(Owner("browser", browser.removeprefix("browser:")))


def test_preferences_of_new_browsers_at_an_address_have_a_limit() -> None:
    statuses = [prefer(Client(), "economy") for _ in range(INSTRUCTIONS_OF_ADDRESS.count + 1)]
    assert statuses[-2:] == [204, 429]
    assert Instructions.objects.count() == INSTRUCTIONS_OF_ADDRESS.count


def test_menu_says_who_is_signed_in_and_what_they_may_do(client: Client) -> None:
    html = page(client, "/")
    assert "This browser" in html
    assert 'href="/login/"' in html
    assert 'action="/logout/"' not in html
    ann = User.objects.create_user(**CREDENTIALS)
    client.force_login(ann)
    html = page(client, "/")
    assert 'dir="auto">ann</span>' in html
    assert 'action="/logout/"' in html
    assert 'href="/admin/"' not in html
    User.objects.filter(pk=ann.pk).update(is_staff=True)
    assert 'href="/admin/"' in page(client, "/")


def test_page_can_be_installed(client: Client) -> None:
    assert 'rel="manifest" href="/manifest.webmanifest"' in page(client, "/")
    response = client.get("/manifest.webmanifest")
    assert response.headers["Content-Type"] == "application/manifest+json"
    assert not response.cookies
    manifest = json.loads(response.content)
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    sizes = {(icon["sizes"], icon.get("purpose", "any")) for icon in manifest["icons"]}
    assert sizes >= {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")}
    for icon in manifest["icons"]:
        assert finders.find(icon["src"].removeprefix("/static/")), icon
