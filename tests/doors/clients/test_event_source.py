"""Chromium's EventSource: it goes on after a cut, and doesn't come back behind the ending."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.chatting import text_of
from tests.pages.browsing import MARKS, chromium_running, pages
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

pytestmark = MARKS
QUESTION = "What does a browser do?"
TOKENS = [f"{number} " for number in range(12)]
FOLLOW = """
async (question) => {
  const response = await fetch("/api/v1/runs", {
    method: "POST",
    headers: {"content-type": "application/json"},
    body: JSON.stringify({message: question}),
  });
  const {events} = await response.json();
  window.seen = [];
  window.opened = 0;
  window.isOver = false;
  const source = new EventSource(events);
  source.onopen = () => { window.opened += 1; };
  source.onmessage = (message) => {
    window.seen.push({id: message.lastEventId, ...JSON.parse(message.data)});
  };
  source.onerror = () => { window.isOver = source.readyState === EventSource.CLOSED; };
}
"""
HAS_WORD = "(word) => window.seen.some((event) => event.delta === word)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


def test_event_source_goes_on_after_a_cut_and_stops_behind_the_ending(
    fleet: Fleet, model: ScriptedModel, chromium: Browser
) -> None:
    model.on(QUESTION, tokens=TOKENS, hold_after=6)
    proxy = Proxy(fleet.port)
    asked = fleet.complained.count("/events ")
    try:
        with pages(chromium, ignored=["net::ERR_"]) as open_page:
            page = open_page(f"http://127.0.0.1:{proxy.port}/")
            page.evaluate(FOLLOW, QUESTION)
            page.wait_for_function(HAS_WORD, arg="5 ")
            proxy.cut()
            page.wait_for_function("() => window.opened === 2")
            model.release()
            page.wait_for_function("() => window.isOver")
            seen, opened = page.evaluate("[window.seen, window.opened]")
    finally:
        proxy.stop()
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert [event["id"] for event in seen] == [str(event["seq"]) for event in seen]
    assert text_of(seen) == "".join(TOKENS)
    assert seen[-1]["data"]["status"] == "completed"
    # The first connection, the one after the cut, and the one that gets 204.
    assert opened == 2
    assert fleet.complained.count("/events ") - asked == 3
