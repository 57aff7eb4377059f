"""Fixtures of the matrices."""

from collections.abc import Iterator

import pytest
from redis import Redis

from chat.refusals import KEY as REFUSALS
from tests.tooling.inspector.conftest import empty


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    """Yield the store of cached results and refused parts; empty it afterwards."""
    client = Redis.from_url(valkey_url, protocol=2)
    yield client
    empty(client)
    client.delete(REFUSALS)
    client.close()
