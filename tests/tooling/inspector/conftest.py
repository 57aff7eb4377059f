from collections.abc import Iterator

import pytest
from django.test import Client
from redis import Redis

from .entries import signed_in


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    empty(client)
    yield client
    empty(client)
    client.close()


def empty(redis: Redis) -> None:
    if keys := list(redis.scan_iter("fleet:cache:*", count=1000)):
        redis.unlink(*keys)


@pytest.fixture
def admin() -> Client:
    return signed_in("ada", superuser=True)
