"""Runs over HTTP: asking, following, reading and cancelling."""

import json
import uuid
from typing import Any

import pytest
from pytest_django import Settings

from chat.models import Run
from chat.protocol.requests import MAX_SEQ
from chat.runs.worker import Worker
from tests.chatting import Chatting, Event, chat_request, kinds, text_of
from tests.scripted_model import ScriptedModel

from .calling import Doors, Exchange, Response

QUESTION = "What is the answer?"
AS_STREAM = {"accept": "text/event-stream"}
STRANGER = {"authorization": "Bearer another-key-that-these-tests-have-made"}


def messages(text: str) -> list[dict[str, str]]:
    """Return the messages of an event stream, each as its fields; comments aren't among them."""
    found: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" in fields:
            found.append(fields)
    return found


def events_of(text: str) -> list[Event]:
    return [json.loads(each["data"]) for each in messages(text)]


def places(text: str) -> list[tuple[str, str]]:
    """Return the id and the type of each event."""
    return [(each["id"], json.loads(each["data"])["type"]) for each in messages(text)]


async def asked(doors: Doors, question: str = QUESTION, **fields: Any) -> dict[str, str]:
    """Ask a question; return where its run is."""
    response = await doors.post("/api/v1/runs", {"message": question, **fields})
    assert response.status == 201, response.text
    return response.json


async def read_up_to(exchange: Exchange, kind: str) -> list[dict[str, str]]:
    return messages(await exchange.until(f'"type":"{kind}"'))


async def behind(doors: Doors, started: dict[str, str], seq: int, **options: Any) -> Response:
    return await doors.get(f"{started['events']}?after={seq}", **options)


# --- Asking


async def test_question_gets_the_address_of_its_run(doors: Doors) -> None:
    response = await doors.post("/api/v1/runs", {"message": QUESTION})
    run = await Run.objects.aget()
    place = f"/api/v1/runs/{run.pk}"
    assert response.status == 201
    assert response.headers["location"] == place
    assert response.headers["fleet-run"] == str(run.pk)
    assert response.json == {
        "run": str(run.pk),
        "conversation": str(run.conversation_id),
        "events": f"{place}/events",
    }
    assert run.door == "events"
    await doors.get(f"{place}/events?wait=done")


async def test_question_may_be_followed_at_once(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"])
    response = await doors.post("/api/v1/runs", {"message": QUESTION}, headers=AS_STREAM)
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.startswith("retry: 1000\n\n")
    events = events_of(response.text)
    assert text_of(events) == "Forty-two"
    assert [int(each["id"]) for each in messages(response.text)] == list(range(1, len(events) + 1))
    assert all(
        int(each["id"]) == json.loads(each["data"])["seq"] for each in messages(response.text)
    )


async def test_same_message_id_joins_its_run(doors: Doors) -> None:
    request = chat_request(QUESTION)
    first = await doors.post("/api/v1/runs", request)
    again = await doors.post("/api/v1/runs", request)
    assert again.json == first.json
    assert await Run.objects.acount() == 1
    other = await doors.post("/api/v1/runs", {**request, "message": "Another one?"})
    assert (other.status, other.error["code"]) == (400, "bad_request")
    await behind(doors, first.json, 0)


async def test_question_goes_on_with_a_conversation(doors: Doors, model: ScriptedModel) -> None:
    first = await asked(doors)
    await behind(doors, first, 0)
    second = await asked(doors, "And then?", conversation_id=first["conversation"])
    assert second["conversation"] == first["conversation"]
    await behind(doors, second, 0)


async def test_events_are_those_of_the_socket(doors: Doors, chat: Chatting) -> None:
    request = chat_request(QUESTION)
    there = await chat.answer(request)
    response = await doors.post("/api/v1/runs", request, headers=AS_STREAM)
    assert events_of(response.text) == [event for event in there if event["type"] != "heartbeat"]


# --- Following


async def test_reader_resumes_behind_each_event(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=list("abcdef"))
    started = await asked(doors)
    whole = places((await behind(doors, started, 0)).text)
    for seq in range(1, len(whole)):
        assert places((await behind(doors, started, seq)).text) == whole[seq:]


async def test_header_counts_before_the_address(doors: Doors) -> None:
    started = await asked(doors)
    whole = places((await behind(doors, started, 0)).text)
    response = await behind(doors, started, 1, headers={"last-event-id": whole[-2][0]})
    assert places(response.text) == whole[-1:]


async def test_reader_that_has_seen_the_end_gets_204(doors: Doors) -> None:
    started = await asked(doors)
    last = int(messages((await behind(doors, started, 0)).text)[-1]["id"])
    for seq in (last, last + 1, MAX_SEQ):
        for headers in ({}, {"last-event-id": str(seq)}):
            response = await behind(doors, started, seq, headers=headers)
            assert (response.status, response.body) == (204, b"")
    assert (await behind(doors, started, last - 1)).status == 200


async def test_reader_that_has_seen_the_end_of_a_lost_run_gets_204(doors: Doors) -> None:
    started = await asked(doors)
    await behind(doors, started, 0)
    # As another worker writes it for one that has died.
    lost = {"status": "failed", "lost": True, "error": {"code": "worker_lost", "message": "Lost."}}
    await Run.objects.aupdate(ending=lost, status="failed", last_seq=2)
    await Worker.current().store._redis.client.flushdb()
    found = messages((await behind(doors, started, 7)).text)
    assert [json.loads(each["data"])["seq"] for each in found] == [8, 9]
    assert [each["id"] for each in found] == ["8", str(MAX_SEQ)]
    assert (await behind(doors, started, 8)).status == 200
    assert (await behind(doors, started, MAX_SEQ)).status == 204


async def test_late_reader_gets_snapshots_as_on_the_socket(
    doors: Doors, chat: Chatting, model: ScriptedModel
) -> None:
    request = chat_request(QUESTION)
    model.on(QUESTION, tokens=[f"{number} " for number in range(600)], hold_after=599)
    started = (await doors.post("/api/v1/runs", request)).json
    async with doors.stream("GET", started["events"]) as first:
        await first.until("598 ")  # as a delta, or in a snapshot if this reader was late, too
        async with doors.stream("GET", started["events"]) as late:
            socket = await chat.ask(request)
            assert "response.snapshot" in kinds(
                [json.loads(each["data"]) for each in await read_up_to(late, "response.snapshot")]
            )
            model.release()
            there = [event for event in await socket.rest() if event["type"] != "heartbeat"]
            here = events_of((await late.rest()).text)
        await first.rest()
    assert text_of(here) == text_of(there)
    assert kinds(here)[:5] == kinds(there)[:5]


async def test_reader_that_leaves_cancels_nothing(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    started = await asked(doors)
    async with doors.stream("GET", started["events"]) as exchange:
        seen = await read_up_to(exchange, "response.delta")
    # Meanwhile a cancel would have arrived, and the answer would go no further.
    assert (await doors.get(f"/api/v1/runs/{started['run']}")).json["status"] == "running"
    model.release()
    rest = await behind(doors, started, int(seen[-1]["id"]))
    assert text_of(events_of(rest.text)) == " two"
    assert events_of(rest.text)[-1]["data"]["status"] == "completed"


async def test_head_of_a_stream_waits_for_nothing(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One"], hold_after=0)
    started = await asked(doors)
    response = await doors.call("HEAD", started["events"])
    assert (response.status, response.body) == (200, b"")
    assert response.headers["content-type"].startswith("text/event-stream")
    model.release()
    await doors.get(f"{started['events']}?wait=done")


async def test_silence_has_comments(doors: Doors, model: ScriptedModel, settings: Settings) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    model.on(QUESTION, tokens=["One"], hold_after=0)
    started = await asked(doors)
    async with doors.stream("GET", started["events"]) as exchange:
        await exchange.until(": ping\n: ping\n")
        model.release()
        events = events_of((await exchange.rest()).text)
    assert "heartbeat" not in kinds(events)
    assert text_of(events) == "One"


async def test_notice_and_refusal_have_no_id(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One"], hold_after=0)
    started = await asked(doors)
    async with doors.stream("GET", started["events"]) as exchange:
        await read_up_to(exchange, "connected")
        [socket] = Worker.current().sockets
        socket.tell("redis_lost", "Something happened.")
        [notice] = (await read_up_to(exchange, "notice"))[-1:]
        socket.end()
        refusal = messages((await exchange.rest()).text)[-1]
    assert "id" not in notice
    assert "id" not in refusal
    assert json.loads(refusal["data"])["error"]["code"] == "forbidden"
    model.release()
    await doors.get(f"{started['events']}?wait=done")


async def test_wait_answers_once_with_the_whole_run(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    started = await asked(doors)
    exchange = doors.begin("GET", f"{started['events']}?wait=done")
    async with doors.stream("GET", started["events"]) as reader:
        await read_up_to(reader, "response.delta")
        assert exchange.response.status == 0
        model.release()
        await reader.rest()
    found = (await exchange.rest()).json
    assert (found["status"], found["text"]) == ("completed", "Forty-two")
    assert found["question"] == QUESTION
    assert found["summary"]["usage"]["model_calls"] == 1
    assert (await doors.get(f"/api/v1/runs/{started['run']}")).json == found
    assert (await doors.get(f"{started['events']}?wait=done")).json == found


async def test_steps_have_their_envelope(doors: Doors) -> None:
    started = await asked(doors)
    whole = events_of((await behind(doors, started, 0)).text)
    steps = (await doors.get(f"/api/v1/runs/{started['run']}")).json["steps"]
    assert steps
    for step in steps:
        assert step in whole


async def test_failed_run_says_why(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, status=400)
    started = await asked(doors)
    found = (await doors.get(f"{started['events']}?wait=done")).json
    assert (found["status"], found["error"]["code"]) == ("failed", "model_error")


# --- Cancelling


async def test_cancel_ends_a_run_and_may_be_repeated(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    started = await asked(doors)
    async with doors.stream("GET", started["events"]) as exchange:
        await read_up_to(exchange, "response.delta")
        response = await doors.post(f"/api/v1/runs/{started['run']}/cancel")
        assert (response.status, response.json["status"]) == (202, "running")
        events = events_of((await exchange.rest()).text)
    assert kinds(events)[-2:] == ["cancelled", "done"]
    again = await doors.post(f"/api/v1/runs/{started['run']}/cancel")
    assert (again.status, again.json["status"]) == (202, "cancelled")


# --- What others get


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
async def test_foreign_run_is_like_an_unknown_one(
    doors: Doors, model: ScriptedModel, method: str, rest: str
) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    started = await asked(doors)
    foreign = await doors.call(method, f"/api/v1/runs/{started['run']}{rest}", headers=STRANGER)
    unknown = await doors.call(method, f"/api/v1/runs/{uuid.uuid4()}{rest}", headers=STRANGER)
    assert (foreign.status, foreign.json) == (404, unknown.json)
    model.release()
    found = (await doors.get(f"{started['events']}?wait=done")).json
    assert found["status"] == "completed"


async def test_program_without_a_token_has_no_list(doors: Doors) -> None:
    response = await doors.get("/api/v1/runs")
    assert (response.status, response.error["code"]) == (403, "token_needed")
    assert "/account/tokens/" in response.error["message"]


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/api/v1/runs/not-an-id", "run"),
        ("/api/v1/runs/{72b4a2f0-0000-4000-8000-000000000000}", "run"),
        ("/api/v1/runs/%00/events", "run"),
        ("/api/v1/runs/RUN/events?after=-1", "after"),
        ("/api/v1/runs/RUN/events?after=99999999999999999999", "after"),
        ("/api/v1/runs/RUN/events?after=x", "after"),
        ("/api/v1/runs/RUN/events?wait=no", "wait"),
        ("/api/v1/runs?status=none", "status"),
        ("/api/v1/runs?conversation=x", "conversation"),
        ("/api/v1/runs?before=yesterday", "before"),
        ("/api/v1/runs?before=0001-01-01T00:00:00%2B14:00", "before"),
    ],
)
async def test_bad_address_is_refused(
    doors: Doors, token: dict[str, str], path: str, param: str
) -> None:
    started = (await doors.post("/api/v1/runs", {"message": QUESTION}, headers=token)).json
    await doors.get(f"{started['events']}?wait=done", headers=token)
    response = await doors.get(path.replace("RUN", started["run"]), headers=token)
    assert (response.status, response.error["param"]) == (400, param)


@pytest.mark.parametrize("cursor", ["x", "-1", "99999999999", "٣", "1.0", str(MAX_SEQ + 1)])
async def test_bad_cursor_in_the_header_is_refused(doors: Doors, cursor: str) -> None:
    started = await asked(doors)
    headers = {"last-event-id": cursor.encode().decode("latin-1")}
    response = await doors.get(started["events"], headers=headers)
    assert (response.status, response.error["param"]) == (400, "Last-Event-ID")
    await doors.get(f"{started['events']}?wait=done")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": ""},
        {"message": "a\0b"},
        {"message": "x", "message_id": "no"},
        {"message": "x", "after": 2**40},
        {"message": "x", "other": 1},
        {"type": "reply", "message_id": str(uuid.uuid4())},
        {"type": "cancel"},
        [],
        "text",
        None,
        b"{",
        b"[" * 100_000,
        b'{"message": "\\ud800"}',
    ],
)
async def test_bad_body_is_refused(doors: Doors, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await doors.post("/api/v1/runs", content)
    assert (response.status, response.error["code"]) == (400, "bad_request")
    assert await Run.objects.acount() == 0
