"""Fixtures for the tests of pages."""

from collections.abc import AsyncIterator, Iterator

import playwright.async_api
import pytest
import pytest_asyncio
from django.test import Client
from playwright.sync_api import Browser

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .browsing import CONNECTION_ERRORS, Open, chromium_running, pages
from .staging import async_chromium


@pytest.fixture
def stranger() -> Client:
    return Client()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("fleet"), model_server) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
    with pages(chromium, ignored=CONNECTION_ERRORS) as open_page:
        yield open_page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def staging() -> AsyncIterator[playwright.async_api.Browser]:
    """Yield the browser for stages, in the event loop of the module."""
    async with async_chromium() as browser:
        yield browser
