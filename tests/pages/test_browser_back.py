"""Back, sign-out and two installations on one host, in a real Chromium."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, Fleet, running

from .browsing import CONNECTION_ERRORS, MARKS, Open, answer, ask, expect_ready_for_the_next, pages

pytestmark = MARKS

# Chromium reports pages that aren't found, which some tests open.
NOT_FOUND = "status of 404"


@pytest.fixture(scope="module")
def fleets(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel
) -> Iterator[list[Fleet]]:
    model_server.reset()
    with ExitStack() as stack:
        folders: list[Path] = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
        yield [stack.enter_context(running(folder, model_server)) for folder in folders]


@pytest.fixture(scope="module")
def fleet(fleets: list[Fleet]) -> Fleet:
    """Return a fleet with the user ann."""
    add_user(fleets[0])
    return fleets[0]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    with pages(chromium, ignored=(*CONNECTION_ERRORS, NOT_FOUND)) as opening:
        yield opening


def add_user(fleet: Fleet) -> None:
    environment = {
        **os.environ,
        "FLEET_STATE_DIR": str(fleet.folder / "state"),
        "DJANGO_SUPERUSER_PASSWORD": "a good password",
    }
    person = ("--username", "ann", "--email", "a@b.example")
    command = [sys.executable, MANAGE, "createsuperuser", "--noinput", *person]
    subprocess.run(command, check=True, env=environment)


def ask_and_wait(page: Page, question: str) -> None:
    ask(page, question)
    expect_ready_for_the_next(page)
    expect(answer(page)).to_be_visible()


def back(page: Page) -> None:
    # Playwright's go_back() waits for a load, and a page that the browser has kept has none.
    page.evaluate("history.back()")


def delete_chat(page: Page) -> None:
    page.get_by_label("This chat", exact=True).click()
    page.locator(".room-title [data-chat-action=delete]").click()
    page.locator("#delete").get_by_role("button", name="Delete").click()
    expect(page.locator("#empty")).to_be_visible()


def sign_in(page: Page) -> None:
    page.locator("#account > summary").click()
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("a good password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#account .who")).not_to_have_text("This browser")


def test_chats_and_settings_of_two_fleets_on_one_host_stay_apart(
    fleets: list[Fleet], open_page: Open
) -> None:
    one, two = (fleet.address for fleet in fleets)
    page = open_page(one)
    ask_and_wait(page, "Which one?")
    chat = page.url
    page.goto(two)
    page.context.add_cookies([{"name": "sessionid", "value": "k" * 32, "url": one}])
    ask_and_wait(page, "Which two?")
    page.goto(chat)
    expect(page.locator(".bubble")).to_have_text("Which one?")
    expect(page.locator(".chats a")).to_have_count(1)
    ask_and_wait(page, "And then?")
    page.goto(two)
    expect(page.locator(".chats a")).to_have_text(["Which two?"])


def test_storage_of_another_site_at_the_same_address_is_left_alone(
    fleet: Fleet, open_page: Open
) -> None:
    page = open_page(fleet.address, color_scheme="light")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.evaluate("localStorage.setItem('fleet:mode', 'full')")
    page.reload()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")
    expect(page.locator("#how [data-chosen]")).to_have_text("Auto")
    page.locator("#account > summary").click()
    page.get_by_role("button", name="Light", exact=True).click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert page.evaluate("localStorage.getItem('theme')") == "dark"


def test_deleted_chat_does_not_come_back(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask_and_wait(page, "Which one is deleted?")
    delete_chat(page)
    back(page)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def test_list_after_back_has_no_deleted_chat(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask_and_wait(page, "The first one?")
    page.get_by_role("link", name="New", exact=True).click()
    ask_and_wait(page, "The second one?")
    page.get_by_role("link", name="The first one?").click()
    expect(page.locator(".bubble")).to_have_text("The first one?")
    page.get_by_role("link", name="The second one?").click()
    expect(page.locator(".bubble")).to_have_text("The second one?")
    delete_chat(page)
    back(page)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    back(page)
    expect(page.locator(".bubble")).to_have_text("The first one?")
    expect(page.locator(".chats a")).to_have_text(["The first one?"])


def test_back_shows_what_was_asked_elsewhere(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask_and_wait(page, "Which one?")
    chat = page.url
    page.goto(fleet.address)
    other = page.context.new_page()
    other.goto(chat)
    ask_and_wait(other, "And in the other tab?")
    back(page)
    expect(page.locator(".bubble")).to_have_text(["Which one?", "And in the other tab?"])


def test_draft_is_there_after_back(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask_and_wait(page, "Which one?")
    page.locator("#composer-text").fill("a draft of this chat")
    page.goto(fleet.address)
    expect(page.locator("#composer-text")).to_have_value("")
    back(page)
    expect(page.locator("#composer-text")).to_have_value("a draft of this chat")


def test_account_takes_chats_along_and_leaves_none_behind(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    ask_and_wait(page, "Asked before signing in?")
    chat = page.url
    page.goto(fleet.address)
    page.locator("#composer-text").fill("typed before signing in")
    sign_in(page)
    expect(page.get_by_text("1 chat of this browser is now in your account.")).to_be_visible()
    expect(page.locator("#composer-text")).to_have_value("typed before signing in")
    page.goto(chat)
    expect(page.locator(".bubble")).to_have_text("Asked before signing in?")
    page.locator("#account > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#account .who")).to_have_text("This browser")
    expect(page.locator(".chats a")).to_have_count(0)
    expect(page.locator("#composer-text")).to_have_value("")
    back(page)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    back(page)
    expect(page.locator("#account .who")).to_have_text("This browser")
    expect(page.locator(".chats a")).to_have_count(0)


def test_private_chat_is_not_shown_after_sign_out(fleet: Fleet, open_page: Open) -> None:
    page = open_page(fleet.address)
    sign_in(page)
    ask_and_wait(page, "Is this private?")
    page.locator("#account > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#account .who")).to_have_text("This browser")
    back(page)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert "Is this private?" not in page.content()


def test_answer_goes_on_after_back(
    fleet: Fleet, open_page: Open, model_server: ScriptedModel
) -> None:
    model_server.on("hold", tokens=["One ", "two ", "three."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "hold")
    expect(answer(page).locator(".prose").first).to_contain_text("One")
    page.goto(fleet.address)
    back(page)
    model_server.release()
    expect(answer(page).locator(".prose").first).to_have_text("One two three.")
    expect_ready_for_the_next(page)
    expect(page.locator("html")).not_to_have_attribute("data-unconfirmed", "")
