"""A person's first visit, account, sign-out and deletion in a real Chromium, and what axe finds."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.pages.browsing import (
    CONNECTION_ERRORS,
    MARKS,
    Open,
    ask,
    chromium_running,
    expect_ready_for_the_next,
    pages,
    prose,
)
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .people import PASSWORD

pytestmark = MARKS

REFUSED = "responded with a status of"
NARROW = {"width": 360, "height": 740, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    with pages(chromium, ignored=(*CONNECTION_ERRORS, REFUSED)) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with running(folder, model_server, "--workers", "1", FLEET_AUTH="signup") as fleet:
        yield fleet


def check(page: Page) -> None:
    """Fail if axe finds a fault, or if the page scrolls sideways."""
    found = Axe().run(page).response["violations"]
    assert [f"{page.url} {fault['id']}" for fault in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"#id_{name}").fill(value)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("view", [{}, NARROW], ids=["wide light", "narrow dark"])
def test_person_comes_stays_and_goes(
    fleet: Fleet, open_page: Open, model: ScriptedModel, view: dict[str, str]
) -> None:
    name = "ann" if view else "bob"
    page = open_page(fleet.address, **view)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    check(page)
    page.get_by_role("link", name="Make an account").click()
    fill(page, username=name, password1="1234567890", password2="1234567890")
    press(page, "Make an account")
    expect(page.get_by_role("alert")).to_contain_text("entirely numeric")
    check(page)
    fill(page, password1=PASSWORD, password2=PASSWORD)
    press(page, "Make an account")
    page.wait_for_url(fleet.address)
    ask(page, "Which one?")
    expect(prose(page)).to_contain_text("42")
    expect_ready_for_the_next(page)

    page.goto(f"{fleet.address}account/")
    expect(page.get_by_text("1 chat is stored here")).to_be_visible()
    expect(page.get_by_text("Chrome on Linux")).to_be_visible()
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export all chats").click()
    assert download.value.suggested_filename.endswith(".zip")
    fill(page, old_password="wrong", new_password1="x", new_password2="y")
    press(page, "Change the password")
    expect(page.get_by_text("That is not your password.")).to_be_visible()
    check(page)

    page.goto(fleet.address)
    if view:
        page.locator("#drawer-button").click()
    page.locator("#account > summary").click()
    press(page, "Sign out")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    fill(page, username=name, password="wrong")
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    fill(page, password=PASSWORD)
    press(page, "Sign in")
    expect(page.locator("#composer-text")).to_be_visible()

    page.goto(f"{fleet.address}account/delete/")
    expect(page.get_by_text("1 chat with its questions")).to_be_visible()
    check(page)
    fill(page, password=PASSWORD)
    press(page, "Delete everything")
    expect(page.get_by_role("heading", name="The account is deleted")).to_be_visible()
    check(page)
    page.get_by_role("link", name="To the first page").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("link", name="Forgot your password?").click()
    check(page)
    fill(page, email=f"{name}@chat.example")
    press(page, "Ask for a link")
    expect(page.get_by_text("This server sends no e-mail.")).to_be_visible()
    check(page)
