"""The stream as a client of the socket sees it: order, envelope, cancel, and refused requests."""

import asyncio
import time
import uuid

import pytest

from chat.conversations import Message
from chat.database import AT_ONCE
from chat.models import Run
from chat.runs import local
from tests.chatting import Chatting, chat_request, is_terminal, kinds, shape, text_of
from tests.scripted_model import ScriptedModel
from tests.timing import CANCEL_TIME, quickest

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = [
    "connected",
    "phase.start",
    "routing.decided",
    "phase.complete",
    "phase.start",
    "agent.start",
    "response.delta",
    "agent.complete",
    "phase.complete",
    "response.completed",
    "done",
]


async def test_events_of_an_answer_are_in_the_documented_order(chat: Chatting) -> None:
    events = await chat.answer()
    assert shape(events) == SUCCESS
    assert text_of(events) == "The answer is **42**."
    assert events[-2]["message"] == "The answer is **42**."
    assert events[-1]["data"]["status"] == "completed"


async def test_every_event_carries_the_envelope(chat: Chatting) -> None:
    events = await chat.answer()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["workflow_id"] for event in events}) == 1
    for event in events:
        assert event["timestamp"].endswith("Z")
        assert event["category"]
        assert event["ui_hint"]["component"]
        assert f"seq={event['seq']} {event['type']}" in event["log_line"]


async def test_each_delta_is_its_own_event(chat: Chatting) -> None:
    events = await chat.answer()
    assert [event["delta"] for event in events if event["type"] == "response.delta"] == [
        "The ",
        "answer ",
        "is ",
        "**42**",
        ".",
    ]


async def test_delta_is_sent_before_the_model_sends_the_next(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("slow", tokens=["one", "two"], hold_after=1)
    socket = await chat.ask("slow")
    assert (await socket.until("response.delta"))["delta"] == "one"
    model.release()
    assert text_of(await socket.rest()) == "onetwo"


async def test_answer_and_telemetry_are_stored(chat: Chatting) -> None:
    events = await chat.answer()
    run = await Run.objects.select_related("answer", "question").aget(pk=events[0]["workflow_id"])
    assert (run.status, run.answer.text, run.question.text) == (
        "completed",
        "The answer is **42**.",
        "What is the answer?",
    )
    assert run.last_seq == events[-1]["seq"]
    assert (run.input_tokens, run.output_tokens, run.model_calls) == (7, 5, 1)
    assert 0 < run.first_event_ms <= run.first_token_ms <= run.total_ms
    assert set(run.recorded_ending.timings.phases) == {"routing", "answer"}


async def test_timings_are_in_the_data_of_phases_and_done(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("slow", tokens=["a"], first_after=0.2)
    events = await chat.answer("slow")
    phases = {
        event["data"]["phase"]: event["data"]["duration_ms"]
        for event in events
        if event["type"] == "phase.complete"
    }
    timings = events[-1]["data"]["timings"]
    assert phases["answer"] >= 200
    assert sum(phases.values()) <= timings["total_ms"] + 1  # no phase includes another's time
    assert timings["phases"] == pytest.approx(phases, abs=1)
    assert (
        timings["first_event_ms"] + 199 <= timings["first_token_ms"] <= timings["total_ms"]
    )  # each rounded


async def test_reasoning_is_not_part_of_the_answer(chat: Chatting, model: ScriptedModel) -> None:
    model.on("think", reasoning=["hm", "so"], tokens=["done"])
    events = await chat.answer("think")
    assert shape(events)[5:9] == [
        "agent.start",
        "reasoning.delta",
        "reasoning.completed",
        "response.delta",
    ]
    assert text_of(events) == "done"


async def test_model_gets_the_earlier_exchanges(chat: Chatting, model: ScriptedModel) -> None:
    first = await chat.answer("First?")
    await chat.answer(chat_request("Second?", conversation_id=first[0]["data"]["conversation_id"]))
    assert [(m["role"], m["content"]) for m in model.calls[-1].body["messages"]][1:] == [
        ("user", "First?"),
        ("assistant", "The answer is **42**."),
        ("user", "Second?"),
    ]


class TestCancel:
    async def test_cancel_ends_the_run_with_one_done_and_keeps_the_partial_answer(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("long", tokens=["kept ", "never"], hold_after=1)

        async def time_to_cancel() -> float:
            socket = await chat.ask("long")
            await socket.until("response.delta")
            asked = time.monotonic()
            await socket.send({"type": "cancel"})
            events = await socket.rest()
            took = time.monotonic() - asked
            assert kinds(events)[-2:] == ["cancelled", "done"]
            assert events[-1]["data"]["status"] == "cancelled"
            assert (await Message.objects.aget(run=events[0]["workflow_id"])).text == "kept "
            return took

        assert await quickest(time_to_cancel, enough=CANCEL_TIME) < CANCEL_TIME

    async def test_cancel_closes_the_model_call(self, chat: Chatting, model: ScriptedModel) -> None:
        model.on("long", tokens=["kept ", "never"], hold_after=1)

        async def time_to_close() -> float:
            socket = await chat.ask("long")
            await socket.until("response.delta")
            asked = time.monotonic()
            await socket.send({"type": "cancel"})
            await socket.rest()
            call = model.calls[-1]
            assert await asyncio.to_thread(call.ended.wait, 5)
            assert call.hung_up
            assert call.ended_at is not None
            return call.ended_at - asked

        assert await quickest(time_to_close, enough=CANCEL_TIME) < CANCEL_TIME

    async def test_cancel_before_the_first_token(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hang", hang_after=0)

        async def time_to_cancel() -> float:
            socket = await chat.ask("hang")
            await socket.until("agent.start")
            asked = time.monotonic()
            await socket.send({"type": "cancel"})
            assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]
            return time.monotonic() - asked

        assert await quickest(time_to_cancel, enough=CANCEL_TIME) < CANCEL_TIME

    async def test_cancel_right_after_the_request(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hang", hang_after=0)
        socket = await chat.ask("hang")
        await socket.send({"type": "cancel"})
        assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]

    @pytest.mark.parametrize("behind", ["connected", None])
    async def test_cancel_takes_effect_if_its_socket_disconnects(
        self, chat: Chatting, model: ScriptedModel, behind: str | None
    ) -> None:
        model.on("hang", hang_after=0)
        request = chat_request("hang")
        socket = await chat.ask(request)
        if behind:
            await socket.until(behind)
        await socket.send({"type": "cancel"})
        await socket.close()
        assert kinds(await chat.answer(request))[-2:] == ["cancelled", "done"]

    async def test_repeated_cancel_ends_the_run_once(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hang", hang_after=0)
        socket = await chat.ask("hang")
        await socket.until("agent.start")
        for _ in range(3):
            await socket.send({"type": "cancel"})
        events = await socket.rest()
        assert sum(map(is_terminal, events)) == 1
        assert await socket.communicator.receive_nothing(timeout=0.2)

    async def test_cancel_during_the_natural_end_leaves_one_ending_as_in_the_row(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.default.tokens = ["a", "b", "c"]
        seen = set()
        for number in range(200):
            socket = await chat.ask(f"race {number}")
            # Aim the cancel at different moments of the run, its natural end among them.
            for _ in range(number % 14):
                if is_terminal(await socket.event()):
                    break
            await socket.send({"type": "cancel"})
            events = await socket.rest()
            status = events[-1]["data"]["status"]
            seen.add(status)
            row = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
            assert sum(map(is_terminal, events)) == 1
            assert (kinds(events)[-2], row.status) == (
                "response.completed" if status == "completed" else "cancelled",
                status,
            )
            assert row.answer.text == text_of(events)
            assert row.last_seq == events[-1]["seq"]
            await socket.close()
        assert seen == {"completed", "cancelled"}


async def test_heartbeat_reports_how_long_the_run_has_been_silent(
    chat: Chatting, model: ScriptedModel, settings
) -> None:
    settings.FLEET_HEARTBEAT = 0.1
    model.on("hold", hold_after=0)
    socket = await chat.ask("hold")
    # The last event before the silence: on a busy machine a heartbeat may come sooner.
    await socket.until("agent.start")
    first = await socket.until("heartbeat")
    second = await socket.until("heartbeat")
    assert second["data"]["silent_ms"] >= first["data"]["silent_ms"] + 90
    assert second["seq"] == max(event["seq"] for event in socket.events)
    assert second["workflow_id"]
    model.release()
    assert [event["seq"] for event in await socket.rest() if event["type"] != "heartbeat"] == list(
        range(1, second["seq"] + 10)
    )


async def test_socket_without_a_request_is_refused_after_the_timeout(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.consumers.REQUEST_TIMEOUT", 0.1)
    socket = await chat.socket()
    event = await socket.event()
    assert (event["type"], event["error"]["code"], event["seq"]) == (
        "error",
        "handshake_timeout",
        0,
    )
    assert await socket.close_code() == 4408


async def test_server_closes_the_socket_after_its_linger(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.consumers.LINGER", 0.3)
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    before_the_end = time.monotonic()
    model.release()
    await socket.rest()
    assert await socket.close_code() == 1000
    assert time.monotonic() - before_the_end >= 0.3


async def test_rerun_answers_again_without_a_second_question(chat: Chatting) -> None:
    first = await chat.answer("Again?")
    again = await chat.answer(chat_request("Again?", rerun_of=first[0]["workflow_id"]))
    assert again[-1]["data"]["status"] == "completed"
    assert again[0]["data"]["conversation_id"] == first[0]["data"]["conversation_id"]
    assert [m.role async for m in Message.objects.order_by("pk")] == [
        "user",
        "assistant",
        "assistant",
    ]


async def test_second_question_is_refused_while_the_first_is_answered(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=0)
    socket = await chat.ask("hold")
    connected = await socket.until("connected")
    events = await chat.answer(
        chat_request("more", conversation_id=connected["data"]["conversation_id"])
    )
    assert kinds(events) == ["error"]
    assert (events[0]["error"]["code"], events[0]["error"]["retryable"]) == (
        "conversation_busy",
        True,
    )
    model.release()
    await socket.rest()
    assert await Message.objects.filter(text="more").acount() == 0


async def test_same_request_on_many_sockets_starts_one_run(
    chat: Chatting, model: ScriptedModel
) -> None:
    request = chat_request(conversation_id=None)
    answers = await asyncio.gather(*(chat.answer(request) for _ in range(8)))
    assert len({events[0]["workflow_id"] for events in answers}) == 1
    assert len(model.calls) == 1
    assert await Run.objects.acount() == 1


async def test_unknown_message_id_with_a_cursor_is_refused(chat: Chatting) -> None:
    events = await chat.answer(chat_request(after=3))
    assert events[0]["error"]["code"] == "bad_request"
    assert await Run.objects.acount() == 0


async def test_message_id_of_another_text_is_refused(chat: Chatting) -> None:
    message_id = str(uuid.uuid4())
    await chat.answer(chat_request("one", message_id=message_id))
    assert (await chat.answer(chat_request("two", message_id=message_id)))[0]["error"][
        "code"
    ] == "bad_request"


async def test_simultaneous_requests_are_answered_or_refused_independently(chat: Chatting) -> None:
    known = chat_request("known")
    requests = [
        known,
        chat_request("new"),
        {**known, "message": "other"},
        chat_request(after=3),
        known,
        chat_request("newer"),
    ]
    answers = await asyncio.gather(*(chat.answer(request) for request in requests))
    first, new, other, unknown, again, newer = (kinds(events)[-1] for events in answers)
    # Of two texts with one message_id, the one that is stored first counts.
    assert (first, other, again) in (("done", "error", "done"), ("error", "done", "error"))
    assert (new, unknown, newer) == ("done", "error", "done")
    assert await Run.objects.acount() == 3


async def test_simultaneous_requests_are_all_connected_before_work_begins(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_WAIT_FOR_STARTS", 10)
    sockets = [await chat.socket() for _ in range(3 * AT_ONCE)]
    for socket in sockets:
        await socket.send(chat_request())
    answers = [await socket.rest() for socket in sockets]
    taken, worked_on = (
        [event["timestamp"] for events in answers for event in events if event["seq"] == seq]
        for seq in (1, 2)
    )
    assert max(taken) <= min(worked_on)
