"""Fixtures for the tests of pages."""

import pytest
from django.test import Client


@pytest.fixture
def stranger() -> Client:
    return Client()
