"""The dashboard in a real browser: it fits its window, and the browser reports nothing."""

from collections.abc import Iterator
from http.cookies import Morsel
from itertools import product
from typing import Literal

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from tests.pages.browsing import MARKS, Open, chromium_running, pages
from tests.telemetry.ended import failing, stored

# Playwright's own event loop runs in this thread, which makes Django refuse to use the database.
pytestmark = [*MARKS, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module", autouse=True)
def _database_beside_playwright() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def session(transactional_db: None) -> Morsel[str]:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", password="x"))
    return client.cookies[settings.SESSION_COOKIE_NAME]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    with pages(chromium) as opening:
        yield opening


def test_page_fits_its_window(
    open_page: Open, live_server: LiveServer, session: Morsel[str]
) -> None:
    stored(**failing("model_error", "averylongwordwithoutanyspace" * 7), model="m" * 150)
    for path in ("light", "full"):
        stored(path=path, worker="w" * 100)
    stored(status="running", ended_at=None, worker="w" * 100)
    page = open_page(f"{live_server.url}/login/")
    page.context.add_cookies(
        [{"name": session.key, "value": session.value, "url": live_server.url}]
    )
    page.goto(f"{live_server.url}/admin/?range=hour")
    expect(page.get_by_role("img", name="First token, light")).to_be_visible()
    for details in page.locator(".dash details").all():
        details.locator("summary").click()
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for theme, width in product(themes, (390, 1440)):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
