"""`/v1/responses` at the door: asking, reading, following, cancelling and deleting."""

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.access.tokens import Service, Token
from chat.conversations import Conversation
from chat.doors import asking
from chat.models import Run
from chat.runs.log import RunLog
from chat.runs.replay import EPOCH_SIZE, WINDOW
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request
from tests.doors.calling import Doors
from tests.runs.workers import another_worker, freeze, mark_died, until_epoch
from tests.scripted_model import ScriptedModel

from .rendered import Reader, Told, final, kinds, read

PATH = "/v1/responses"
ANSWER = "The answer is **42**."
QUESTION = "What is the answer?"
STRANGER = {"authorization": "Bearer another-key-that-these-tests-have-made"}
SOMEBODY_ELSES = "resp_" + 32 * "0"


def body(text: Any = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"model": "fleet-light", "input": text, **fields}


def said(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"role": role, "content": [{"type": kind, "text": text} for text in texts]}


def text_of(response: Told) -> str:
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


async def answered(doors: Doors, *args: Any, **fields: Any) -> Told:
    response = await doors.post(PATH, body(*args, **fields))
    assert response.status == 200, response.text
    return dict(response.json)


async def until_ended(response: Told) -> Run:
    async with asyncio.timeout(20):
        while (await Run.objects.aget(pk=response["id"][5:])).ended_at is None:
            await asyncio.sleep(0.02)
    return await Run.objects.aget(pk=response["id"][5:])


async def until_closed(worker: Worker) -> None:
    async with asyncio.timeout(20):
        while worker.runs.live:
            await asyncio.sleep(0.02)


def behind(told: list[Told], after: int) -> list[Told]:
    return [each for each in told if each["sequence_number"] > after]


@pytest.fixture(autouse=True)
def _hold(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.5)
    model.on("hold", tokens=["Alpha", " beta"], hold_after=1)


# --- Asking


async def test_answer_is_one_object(doors: Doors) -> None:
    response = await doors.post(PATH, body(metadata={"team": "a"}, user="ada"))
    told = response.json
    assert text_of(told) == ANSWER
    assert (told["object"], told["status"], told["model"]) == (
        "response",
        "completed",
        "fleet-light",
    )
    assert told["usage"]["total_tokens"] > 0
    assert (told["metadata"], told["user"]) == ({"team": "a"}, "ada")
    run = await Run.objects.aget()
    assert told["id"] == f"resp_{run.pk.hex}"
    assert response.headers["fleet-run"] == str(run.pk)
    assert (run.door, run.end_user) == ("responses", "ada")


async def test_answer_is_streamed(doors: Doors) -> None:
    response = await doors.post(PATH, body(stream=True))
    told = read(response.body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text_of(final(told)) == ANSWER
    assert [each["sequence_number"] for each in told] == list(range(len(told)))


async def test_streamed_and_whole_answer_are_the_same(doors: Doors) -> None:
    told = read((await doors.post(PATH, body(stream=True))).body)
    whole = await doors.get(f"{PATH}/{told[-1]['response']['id']}")
    assert whole.json == told[-1]["response"]


async def test_messages_before_the_last_one_are_told(doors: Doors, model: ScriptedModel) -> None:
    messages = [
        said("developer", "Be brief."),
        said("user", "My name is Ada."),
        said("assistant", "Hello, Ada."),
        {"type": "function_call", "name": "f", "call_id": "1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
        said("user", "What is", "my name?"),
    ]
    await answered(doors, messages, instructions="Answer in English.")
    [call] = model.calls
    read_by_model = str(call.body["messages"])
    assert call.question == "What is\n\nmy name?"
    for text in ("Be brief.", "Answer in English.", "My name is Ada.", "Hello, Ada."):
        assert text in read_by_model


async def test_conversation_is_in_the_list_only_if_store_is_written_out(doors: Doors) -> None:
    await answered(doors)
    await answered(doors, store=True)
    kept = [chat.is_kept async for chat in Conversation.objects.order_by("created_at")]
    assert kept == [False, True]


async def test_what_has_no_meaning_here_is_named(doors: Doors) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    fields = {"temperature": 0.5, "include": [], "tools": tools, "unknown": 1, "store": False}
    response = await doors.post(PATH, body(**fields))
    assert response.headers["fleet-ignored"] == "temperature, tools, store"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"metadata": {"on_disconnect": "stay"}}, "metadata.on_disconnect"),
        ({"metadata": {"a": "\0"}}, "metadata"),
        ({"instructions": "\0"}, "instructions"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": "x" * 32_001}, "input"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [said("user", "x"), said("assistant", "y")]}, "input"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input"),
    ],
)
async def test_request_that_does_not_fit_is_refused(
    doors: Doors, fields: dict[str, Any], param: str
) -> None:
    response = await doors.post(PATH, body() | fields)
    assert (response.status, response.error["param"]) == (400, param)
    assert response.error["type"] == "invalid_request_error"
    assert not await Run.objects.aexists()


async def test_image_is_refused_by_its_place(doors: Doors) -> None:
    parts = [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "u"}]
    response = await doors.post(PATH, body([{"role": "user", "content": parts}]))
    assert (response.status, response.error["param"]) == (400, "input[0].content[1]")
    assert "input_image" in response.error["message"]


async def test_unknown_model_is_not_found(doors: Doors) -> None:
    response = await doors.post(PATH, body(model="gpt-nothing"))
    assert (response.status, response.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("streams", [True, False])
async def test_failure_before_the_first_word_is_a_status(
    doors: Doors, model: ScriptedModel, streams: bool
) -> None:
    model.on(QUESTION, status=400)
    response = await doors.post(PATH, body(stream=streams))
    assert (response.status, response.error["type"]) == (502, "api_error")


async def test_failure_in_mid_stream_ends_it_with_failed(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on("cut", tokens=["Alpha", " beta"], cut_after=1)
    told = read((await doors.post(PATH, body("cut", stream=True))).body)
    assert told[-1]["type"] == "response.failed"
    response = final(told)
    assert response["error"]["code"] in ("model_error", "model_unavailable")
    assert text_of(response) == "Alpha"
    assert (await doors.get(f"{PATH}/{response['id']}")).json == response


async def test_failure_is_a_status_with_the_words_so_far_kept(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on("cut", tokens=["Alpha", " beta"], cut_after=1)
    response = await doors.post(PATH, body("cut"))
    assert response.status == 502
    assert response.headers["x-should-retry"] == "false"


# --- Going on


async def test_response_goes_on_behind_another(doors: Doors, model: ScriptedModel) -> None:
    first = await answered(doors, "My name is Ada.")
    second = await answered(doors, "And?", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    third = await answered(doors, "What is my name?", previous_response_id=second["id"])
    before = str(model.calls[-1].body["messages"])
    assert "My name is Ada." in before
    assert "And?" in before
    assert third["status"] == "completed"
    assert await Conversation.objects.acount() == 1


async def test_exchanges_that_are_left_out_of_a_chain_are_counted(doors: Doors) -> None:
    exchanges = [said("user", "Q"), said("assistant", "A")]
    first = await answered(doors, [*exchanges * 40, said("user", "Now?")])
    second = await answered(
        doors, [*exchanges * 20, said("user", "And now?")], previous_response_id=first["id"]
    )
    run = await until_ended(second)
    # Of 61: those of the first request, its own one, and those of the second.
    assert (len(run.told["exchanges"]), run.told["unloaded"]) == (36, 25)
    third = await answered(
        doors, [*exchanges * 80, said("user", "And now?")], previous_response_id=second["id"]
    )
    run = await until_ended(third)
    assert (len(run.told["exchanges"]), run.told["unloaded"]) == (42, 100)


async def test_response_goes_on_behind_an_older_one(doors: Doors, model: ScriptedModel) -> None:
    told_before = [said("user", "I am a pilot."), said("assistant", "Noted.")]
    first = await answered(doors, [*told_before, said("user", "My name is Ada.")])
    await answered(doors, "My name is Bob.", previous_response_id=first["id"])
    third = await answered(doors, "Are you sure?", previous_response_id=first["id"])
    await answered(doors, "What is my name?", previous_response_id=third["id"])
    before = str(model.calls[-1].body["messages"])
    assert "Bob" not in before
    for text in ("I am a pilot.", "Noted.", "My name is Ada.", "Are you sure?"):
        assert text in before


async def test_items_are_referred_to_by_id(doors: Doors, model: ScriptedModel) -> None:
    first = await answered(doors)
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    await answered(doors, [said("user", QUESTION), *references, said("user", "Why?")])
    assert ANSWER in str(model.calls[-1].body["messages"])


async def test_busy_conversation_is_a_conflict(doors: Doors, model: ScriptedModel) -> None:
    held = await answered(doors, "hold", background=True)
    response = await doors.post(PATH, body("And?", previous_response_id=held["id"]))
    assert (response.status, response.error["code"]) == (409, "conversation_busy")
    model.release()
    await until_ended(held)


# --- Background, and reading later


async def test_background_answers_at_once(doors: Doors, model: ScriptedModel) -> None:
    told = await answered(doors, "hold", background=True, metadata={"team": "a"})
    assert (told["status"], told["background"], told["output"]) == ("in_progress", True, [])
    assert (await doors.get(f"{PATH}/{told['id']}")).json == told
    model.release()
    await until_ended(told)
    later = (await doors.get(f"{PATH}/{told['id']}")).json
    assert (later["status"], text_of(later)) == ("completed", "Alpha beta")
    assert later["metadata"] == {"team": "a"}


async def test_background_is_told_only_what_other_workers_would_find(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_memory(*_: Any, **__: Any) -> None:
        raise AssertionError("what is in this process alone dies with it")

    monkeypatch.setattr(RunLog, "follow", in_memory)
    told = read((await doors.post(PATH, body(stream=True, background=True))).body)
    assert text_of(final(told)) == ANSWER


async def test_background_goes_on_when_its_reader_leaves(
    doors: Doors, model: ScriptedModel
) -> None:
    async with doors.stream("POST", PATH, body("hold", background=True, stream=True)) as exchange:
        await exchange.until("Alpha")
    await asyncio.sleep(0.7)  # The time after which it would be cancelled.
    model.release()
    run = await Run.objects.aget()
    assert (await until_ended({"id": f"resp_{run.pk.hex}"})).status == "completed"


async def test_head_of_a_stream_waits_for_nothing(doors: Doors) -> None:
    response = await answered(doors, "hold", background=True)
    head = await doors.call("HEAD", f"/v1/responses/{response['id']}?stream=true")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_reader_that_leaves_cancels(doors: Doors) -> None:
    async with doors.stream("POST", PATH, body("hold", stream=True)) as exchange:
        await exchange.until("Alpha")
    run = await Run.objects.aget()
    assert (await until_ended({"id": f"resp_{run.pk.hex}"})).status == "cancelled"


async def test_client_that_waits_for_the_whole_answer_and_leaves_cancels(
    doors: Doors, model: ScriptedModel
) -> None:
    async with doors.stream("POST", PATH, body("hold")):
        async with asyncio.timeout(20):
            while not model.calls:
                await asyncio.sleep(0.02)
    run = await Run.objects.aget()
    assert (await until_ended({"id": f"resp_{run.pk.hex}"})).status == "cancelled"


async def test_reader_that_comes_back_saves_the_run_and_cancels_it_when_it_leaves(
    doors: Doors,
) -> None:
    async with doors.stream("POST", PATH, body("hold", stream=True)) as exchange:
        await exchange.until("Alpha")
    run = await Run.objects.aget()
    path = f"{PATH}/resp_{run.pk.hex}?stream=true&starting_after=3"
    async with doors.stream("GET", path) as exchange:
        await asyncio.sleep(0.7)  # The time after which it would be cancelled.
        assert (await Run.objects.aget()).status == "running"
    assert (await until_ended({"id": f"resp_{run.pk.hex}"})).status == "cancelled"


async def test_reader_of_a_run_of_another_door_does_not_cancel_it(
    doors: Doors, chat: Chatting, model: ScriptedModel
) -> None:
    socket = await chat.ask(chat_request("hold"))
    await socket.until("response.delta")
    run = await Run.objects.aget()
    async with doors.stream("GET", f"{PATH}/resp_{run.pk.hex}?stream=true") as exchange:
        await exchange.until("Alpha")
    await asyncio.sleep(0.7)
    model.release()
    assert (await socket.rest())[-1]["data"]["status"] == "completed"


async def test_reader_of_a_response_that_another_door_runs_again_does_not_cancel_it(
    doors: Doors, model: ScriptedModel
) -> None:
    async with doors.stream("POST", PATH, body("hold", stream=True)) as exchange:
        await exchange.until("Alpha")
    first = await Run.objects.aget()
    await until_ended({"id": f"resp_{first.pk.hex}"})
    again = {"message": "hold", "rerun_of": str(first.pk)}
    run_id = uuid.UUID((await doors.post("/api/v1/runs", again)).json["run"])
    async with doors.stream("GET", f"{PATH}/resp_{run_id.hex}?stream=true") as exchange:
        await exchange.until("Alpha")
    await asyncio.sleep(0.7)  # The time after which it would be cancelled.
    model.release()
    assert (await until_ended({"id": f"resp_{run_id.hex}"})).status == "completed"


async def test_failed_background_response_says_why(doors: Doors, model: ScriptedModel) -> None:
    model.on("bad", status=400)
    told = await answered(doors, "bad", background=True)
    await until_ended(told)
    later = await doors.get(f"{PATH}/{told['id']}")
    assert (later.status, later.json["status"]) == (200, "failed")
    assert later.json["error"]["code"] == "model_error"


async def resumed(doors: Doors, response: Told, after: int) -> list[Told]:
    path = f"{PATH}/{response['id']}?stream=true&starting_after={after}"
    return read((await doors.get(path)).body)


async def test_cut_stream_goes_on_behind_any_number(doors: Doors) -> None:
    told = read((await doors.post(PATH, body(stream=True))).body)
    response = told[-1]["response"]
    for after in range(len(told) - 1):
        assert await resumed(doors, response, after) == behind(told, after)
    path = f"{PATH}/{response['id']}?stream=true"
    assert read((await doors.get(path)).body) == told


async def test_live_stream_goes_on_behind_its_numbers_on_another_worker(
    doors: Doors, model: ScriptedModel, worker: Worker
) -> None:
    async with another_worker(has_jobs=False) as other:
        request = body("hold", stream=True, background=True)
        async with doors.stream("POST", PATH, request) as exchange:
            await exchange.until("Alpha")
            told = read(exchange.response.body)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "current", lambda: other)
            path = f"{PATH}/{told[0]['response']['id']}"
            number = told[-1]["sequence_number"]
            exchange = doors.begin("GET", f"{path}?stream=true&starting_after={number}")
            await asyncio.sleep(0.1)
            model.release()
            rest = read((await exchange.rest()).body)
    numbers = [each["sequence_number"] for each in told + rest]
    assert numbers == list(range(len(numbers)))
    assert Reader().read(told + rest).text == "Alpha beta"


async def test_stream_goes_on_after_a_takeover(
    doors: Doors, model: ScriptedModel, worker: Worker
) -> None:
    async with another_worker() as other:
        request = body("hold", stream=True, background=True)
        async with doors.stream("POST", PATH, request) as exchange:
            await exchange.until("Alpha")
            told = read(exchange.response.body)
            run = await Run.objects.aget()
            await freeze(worker)
            await mark_died(run.pk)
            await until_epoch(run.pk, 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "current", lambda: other)
            after = told[-1]["sequence_number"]
            path = f"{PATH}/resp_{run.pk.hex}?stream=true&starting_after={after}"
            exchange = doors.begin("GET", path)
            await exchange.until("Another worker goes on")
            model.release()
            rest = read((await exchange.rest()).body)
    assert rest[0]["sequence_number"] >= EPOCH_SIZE
    assert Reader().read(told + rest).text == "Alpha beta"


async def test_long_answer_that_is_joined_late_has_all_numbers(
    doors: Doors, model: ScriptedModel
) -> None:
    words = [f"{number} " for number in range(2 * WINDOW)]
    model.on("long", tokens=words, hold_after=len(words) - 1)
    async with doors.stream("POST", PATH, body("long", stream=True)) as exchange:
        await exchange.until(f'"{words[-2]}"')
        [run] = Worker.current().runs.live
        late = doors.begin("GET", f"{PATH}/resp_{run.hex}?stream=true")
        await late.until(f'"{words[-2]}"')
        model.release()
        told, later = await exchange.rest(), await late.rest()
    assert read(told.body) == read(later.body)


async def test_response_whose_log_is_gone_comes_whole_at_the_end(
    doors: Doors, worker: Worker
) -> None:
    told = read((await doors.post(PATH, body(stream=True))).body)
    response = told[-1]["response"]
    run = await until_ended(response)
    await until_closed(worker)
    await worker.store.drop(run.pk)
    rest = await resumed(doors, response, 3)
    assert kinds(rest) == ["completed"]
    assert text_of(rest[0]["response"]) == ANSWER
    whole = (await doors.get(f"{PATH}/{response['id']}")).json
    assert text_of(whole) == ANSWER
    assert [item["id"] for item in whole["output"]] == [item["id"] for item in response["output"]]
    anew = read((await doors.get(f"{PATH}/{response['id']}?stream=true")).body)
    assert final(anew) == whole


async def test_input_is_listed(doors: Doors) -> None:
    first = await answered(doors, "My name is Ada.")
    second = await answered(doors, "What is it?", previous_response_id=first["id"])
    items = (await doors.get(f"{PATH}/{second['id']}/input_items?order=asc")).json
    texts = [item["content"][0]["text"] for item in items["data"]]
    assert texts == ["My name is Ada.", ANSWER, "What is it?"]
    newest = (await doors.get(f"{PATH}/{second['id']}/input_items")).json
    assert newest["data"] == items["data"][::-1]
    assert (newest["first_id"], newest["has_more"]) == (items["last_id"], False)


# --- Cancelling and deleting


async def test_cancelled_response_is_returned_with_what_came(
    doors: Doors, model: ScriptedModel
) -> None:
    async with doors.stream("POST", PATH, body("hold", stream=True)) as exchange:
        await exchange.until("Alpha")
        [run] = Worker.current().runs.live
        cancelled = await doors.post(f"{PATH}/resp_{run.hex}/cancel")
        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        assert cancelled.json["incomplete_details"] == {"reason": "cancelled"}
        assert text_of(cancelled.json) == "Alpha"
        told = read((await exchange.rest()).body)
    assert told[-1]["type"] == "response.incomplete"
    assert final(told) == cancelled.json
    again = await doors.post(f"{PATH}/resp_{run.hex}/cancel")
    assert again.json == cancelled.json


async def test_response_that_is_over_is_not_cancelled(doors: Doors) -> None:
    told = await answered(doors)
    assert (await doors.post(f"{PATH}/{told['id']}/cancel")).json == told


async def test_cancel_that_takes_long_returns_what_is_known(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await answered(doors, "hold", background=True)
    monkeypatch.setattr("chat.doors.responses.responses.CANCEL_TIMEOUT", 0)
    cancelled = await doors.post(f"{PATH}/{held['id']}/cancel")
    assert (cancelled.status, cancelled.json["status"]) == (200, "in_progress")
    assert (await until_ended(held)).status == "cancelled"


async def test_deleted_response_is_gone(doors: Doors) -> None:
    told = await answered(doors)
    path = f"{PATH}/{told['id']}"
    deleted = await doors.call("DELETE", path)
    assert deleted.json == {"id": told["id"], "object": "response", "deleted": True}
    assert (await doors.get(path)).status == 404
    assert not await Conversation.objects.aexists()


async def test_response_of_a_longer_conversation_is_not_deleted(doors: Doors) -> None:
    first = await answered(doors)
    await doors.post(PATH, body(previous_response_id=first["id"]))
    refused = await doors.call("DELETE", f"{PATH}/{first['id']}")
    assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")
    assert await Run.objects.acount() == 2


async def test_running_response_is_not_deleted(doors: Doors, model: ScriptedModel) -> None:
    held = await answered(doors, "hold", background=True)
    refused = await doors.call("DELETE", f"{PATH}/{held['id']}")
    assert (refused.status, refused.error["code"]) == (409, "conversation_busy")
    model.release()
    await until_ended(held)


# --- Whose


@pytest.mark.parametrize("response_id", [SOMEBODY_ELSES, "resp_x", "x", "resp_" + 32 * "F"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("POST", "/cancel"),
        ("DELETE", ""),
        ("GET", "/input_items"),
    ],
)
async def test_unknown_ids_are_not_found(
    doors: Doors, method: str, path: str, response_id: str
) -> None:
    response = await doors.call(method, f"{PATH}/{response_id}{path}")
    assert (response.status, response.error["code"]) == (404, "not_found")
    assert response.error["param"] == "response_id"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("POST", "/cancel"),
        ("DELETE", ""),
        ("GET", "/input_items"),
    ],
)
async def test_responses_of_others_are_not_found(doors: Doors, method: str, path: str) -> None:
    told = await answered(doors)
    response = await doors.call(method, f"{PATH}/{told['id']}{path}", headers=STRANGER)
    unknown = await doors.call(method, f"{PATH}/{SOMEBODY_ELSES}{path}", headers=STRANGER)
    assert response.status == 404
    assert response.text.replace(told["id"], SOMEBODY_ELSES) == unknown.text
    assert await Run.objects.acount() == 1


async def test_nobody_goes_on_behind_a_response_of_others(doors: Doors) -> None:
    told = await answered(doors)
    request = body(previous_response_id=told["id"])
    response = await doors.post(PATH, request, headers=STRANGER)
    assert (response.status, response.error["param"]) == (404, "previous_response_id")
    items = [{"type": "item_reference", "id": told["output"][-1]["id"]}, said("user", "x")]
    response = await doors.post(PATH, body(items), headers=STRANGER)
    assert (response.status, response.error["param"]) == (404, "input[0].id")


def made(name: str, **fields: Any) -> dict[str, str]:
    owner, _ = Service.objects.get_or_create(slug=name)
    return {"authorization": f"Bearer {Token.objects.make(owner, name, **fields).text}"}


async def test_tokens_reach_the_responses_of_their_owner(doors: Doors) -> None:
    ci = await sync_to_async(made)("ci")
    other = await sync_to_async(made)("other")
    asks = await sync_to_async(made)("ci", scopes=["ask"])
    told = (await doors.post(PATH, body(), headers=ci)).json
    path = f"{PATH}/{told['id']}"
    assert (await doors.get(path, headers=asks)).json == told
    assert (await doors.get(path, headers=other)).status == 404
    refused = await doors.call("DELETE", path, headers=asks)
    assert (refused.status, refused.error["code"]) == (403, "insufficient_scope")
    assert (await doors.call("DELETE", path, headers=other)).status == 404
    assert (await doors.call("DELETE", path, headers=ci)).status == 200


async def test_token_that_ends_meanwhile_ends_the_stream_with_an_error(
    doors: Doors, model: ScriptedModel
) -> None:
    async with doors.stream("POST", PATH, body("hold", stream=True, background=True)) as exchange:
        await exchange.until("Alpha")
        [socket] = Worker.current().sockets
        socket.end()
        told = read((await exchange.rest()).body)
    assert told[-1]["type"] == "error"
    assert told[-1]["sequence_number"] == len(told) - 1
    model.release()


async def test_retry_is_the_same_response(doors: Doors) -> None:
    first = await doors.post(PATH, body())
    again = await doors.post(PATH, body(), headers={"x-stainless-retry-count": "1"})
    assert again.json == first.json
    assert await Run.objects.acount() == 1


async def test_beats_are_comments(doors: Doors, model: ScriptedModel, settings: Settings) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    async with doors.stream("POST", PATH, body("hold", stream=True)) as exchange:
        await exchange.until(": ping\n: ping\n")
        model.release()
        told = read((await exchange.rest()).body)
    assert text_of(final(told)) == "Alpha beta"
