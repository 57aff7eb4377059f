"""The tool cache while Redis refuses, hangs or recovers."""

import asyncio
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.proxy import Proxy
from tooling import bounded

from .caching import MakeCache, Upstream, found, wanted


@pytest.fixture
def proxy(valkey_url: str, impatience: None) -> Any:
    proxy = Proxy(urlsplit(valkey_url).port or 0)
    yield proxy
    proxy.stop()


def through(proxy: Proxy, valkey_url: str) -> str:
    return valkey_url.replace(f":{urlsplit(valkey_url).port}", f":{proxy.port}")


@pytest.mark.parametrize("mode", ["refuse", "hang"])
async def test_tools_are_called_at_once_while_redis_is_away(
    make_cache: MakeCache,
    upstream: Upstream,
    proxy: Proxy,
    valkey_url: str,
    mode: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache(through(proxy, valkey_url))
    proxy.set(mode)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert not (await cache.get(wanted(), upstream, fresh=False)).cached
        times.append(time.perf_counter() - started)
    assert times[0] < bounded.CALL_TIMEOUT + 1
    assert statistics.median(times[1:]) < 0.05
    assert upstream.calls == 5
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1


async def test_result_is_returned_if_redis_disconnects_during_the_call(
    make_cache: MakeCache, upstream: Upstream, proxy: Proxy, valkey_url: str
) -> None:
    cache = make_cache(through(proxy, valkey_url))
    upstream.gate.clear()
    asking = asyncio.ensure_future(cache.get(wanted(), upstream, fresh=False))
    await upstream.asked.wait()
    proxy.set("refuse")
    upstream.gate.set()
    assert (await asking).output == found("Lima")
    assert upstream.calls == 1


async def test_cache_is_used_again_after_redis_recovers(
    make_cache: MakeCache,
    upstream: Upstream,
    proxy: Proxy,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bounded, "BREAKER", 0.05)
    cache = make_cache(through(proxy, valkey_url))
    proxy.set("refuse")
    await cache.get(wanted(), upstream, fresh=False)
    proxy.set("open")
    await asyncio.sleep(0.06)
    await cache.get(wanted(), upstream, fresh=False)
    assert (await cache.get(wanted(), upstream, fresh=False)).cached
    assert "answers again" in caplog.text
