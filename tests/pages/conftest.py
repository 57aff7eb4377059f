"""Fixtures for the tests of pages."""

from collections.abc import Iterator

import pytest
from django.test import Client
from playwright.sync_api import Browser

from .browsing import chromium_running


@pytest.fixture
def stranger() -> Client:
    return Client()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser
