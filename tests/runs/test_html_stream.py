"""The html subprotocol: the same events, with markup that is ready to swap."""

import time
import uuid
from contextlib import aclosing

import pytest

from chat.frames import FRAME_TIME
from chat.protocol.events import ResponseDelta
from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from chat.runs.log import RunLog
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)


async def test_every_event_has_html_in_the_html_stream_only(chat: Chatting) -> None:
    html = await chat.answer(subprotocol=SUBPROTOCOL_HTML)
    plain = await chat.answer(subprotocol=SUBPROTOCOL_JSON)
    assert all(isinstance(event["html"], str) for event in html)
    assert not any("html" in event for event in plain)
    assert text_of(html) == text_of(plain) == "The answer is **42**."


async def test_answer_is_rendered_with_ids_of_its_run(chat: Chatting) -> None:
    events = await chat.answer(subprotocol=SUBPROTOCOL_HTML)
    blocks = [event["html"] for event in events if event["type"] == "response.delta"]
    assert f'id="run-{events[0]["workflow_id"]}-b0"' in blocks[0]
    assert "<strong>42</strong>" in "".join(
        event["html"] for event in events if event["type"].startswith("response.")
    )


async def test_page_that_joins_gets_the_steps_and_one_snapshot(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", tokens=[f"{number} " for number in range(50)], hold_after=40)
    request = chat_request("hold")
    first = await chat.ask(request)
    while len(first.events) < 46:
        await first.event()
    joined = await chat.ask(request, subprotocol=SUBPROTOCOL_HTML)
    await joined.until("response.snapshot")
    assert "response.delta" not in kinds(joined.events)
    model.release()
    events = await joined.rest()
    assert kinds(events).count("response.snapshot") == 1
    assert (
        text_of(events)
        == text_of(await first.rest())
        == "".join(f"{number} " for number in range(50))
    )


@pytest.mark.parametrize("after", [0, 8, 5000])
async def test_page_that_joins_an_ended_run_gets_the_whole_text(
    chat: Chatting, worker, after: int
) -> None:
    request = chat_request()
    await chat.answer(request)
    events = await chat.answer({**request, "after": after}, subprotocol=SUBPROTOCOL_HTML)
    assert text_of(events) == "The answer is **42**."
    assert events[-1]["type"] == "done"


async def test_flood_of_deltas_is_merged_into_few_frames_without_losing_text(
    chat: Chatting, model: ScriptedModel
) -> None:
    tokens = [f"word{number} " for number in range(2000)]
    model.on("flood", tokens=tokens, at_once=True)
    started = time.monotonic()
    events = await chat.answer("flood", subprotocol=SUBPROTOCOL_HTML)
    assert text_of(events) == "".join(tokens)
    assert sum(kind.startswith("response.") for kind in kinds(events)) < 200
    assert time.monotonic() - started < 10


async def test_events_that_arrive_while_a_follower_rests_are_one_batch() -> None:
    log = RunLog(uuid.uuid4(), on_change=lambda _: None)

    async def rest() -> None:
        log.append(ResponseDelta(delta="three"))

    log.append(ResponseDelta(delta="one "))
    async with aclosing(log.follow(0, compact=False, rest=rest)) as batches:
        assert [entry.seq for entry in await anext(batches)] == [1]
        log.append(ResponseDelta(delta="two "))
        assert [entry.seq for entry in await anext(batches)] == [2, 3]


async def test_deltas_are_sent_at_most_once_per_screen_refresh(
    chat: Chatting, model: ScriptedModel
) -> None:
    tokens = [f"word{number} " for number in range(100)]
    model.on("fast", tokens=tokens, pace=0.002)
    socket = await chat.ask("fast", subprotocol=SUBPROTOCOL_HTML)
    first = await socket.until("response.delta")
    began = time.monotonic()
    events = await socket.rest()
    assert first["delta"].startswith(tokens[0])  # and what came with it
    assert text_of(events) == "".join(tokens)
    assert kinds(events).count("response.delta") <= 2 + (time.monotonic() - began) / FRAME_TIME


async def test_first_delta_is_sent_without_waiting_for_the_next(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold", subprotocol=SUBPROTOCOL_HTML)
    assert (await socket.until("response.delta"))["delta"] == "The "
    model.release()
    await socket.rest()


async def test_refusal_has_html(chat: Chatting) -> None:
    socket = await chat.socket(subprotocol=SUBPROTOCOL_HTML)
    await socket.send("nonsense")
    event = await socket.event()
    assert event["error"]["code"] == "bad_request"
    assert "Invalid frame" in event["html"]
