"""Opening long chats does not hold up the event loop that serves everybody."""

import asyncio
import re
from threading import Lock
from typing import Any

import pytest

from chat.rendering.markdown.blocks import Blocks
from tests.benchmarks.history import as_in_a_worker, earlier, fill, longest_hold, opened

pytestmark = pytest.mark.django_db(transaction=True)

READERS = 6
# Seconds. Quiet cores need 0.03 (tests/benchmarks/history.py); a busy machine is late by itself.
MAX_HOLD = 0.5


@pytest.fixture
def long_chat() -> tuple[str, str]:
    """Store a chat of 36 answers with formulas and code; return its path and its cookie."""
    return fill(36)


async def test_long_answers_are_rendered_one_at_a_time(
    long_chat: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Blocks.feed
    counting, at_once, most = Lock(), 0, 0

    def counted(blocks: Blocks, text: str) -> Any:
        nonlocal at_once, most
        with counting:
            at_once += 1
            most = max(most, at_once)
        try:
            return feed(blocks, text)
        finally:
            with counting:
                at_once -= 1

    path, cookie = long_chat
    first = await opened(path, cookie)
    assert len(re.findall(r'<span class="k">def</span>', first)) == 30 * 5
    addresses = [path, earlier(first)] * (READERS // 2)
    monkeypatch.setattr(Blocks, "feed", counted)
    with as_in_a_worker():
        hold = await longest_hold(
            asyncio.gather(*(opened(address, cookie) for address in addresses))
        )
    assert most == 1
    assert hold < MAX_HOLD
