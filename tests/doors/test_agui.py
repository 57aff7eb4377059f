"""POST /agui: threads, runs, what is told with a question, and refusals."""

import json
import uuid
from typing import Any

import pytest
from pytest_django import Settings

from chat.conversations import Conversation
from chat.doors import asking
from chat.doors.agui.rendering import Rendering
from chat.models import Run
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT, PLANNER, WRITER
from tests.runs.workers import another_worker
from tests.scripted_model import Script, ScriptedModel
from tests.workflow.playing import plan

from .agui_client import Client
from .calling import Doors, Exchange

QUESTION = "What is the answer?"


def user(text: Any = QUESTION, id_: str = "m1") -> dict[str, Any]:
    return {"id": id_, "role": "user", "content": text}


def asked(*messages: Any, thread: str = "thread", run: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "threadId": thread,
        "runId": run or str(uuid.uuid4()),
        "protocolVersion": "1.0",
        "messages": list(messages) or [user()],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
        **fields,
    }


def fleet(**chosen: Any) -> dict[str, Any]:
    return {"fleet": chosen}


async def answered(doors: Doors, body: dict[str, Any], **options: Any) -> Client:
    response = await doors.post("/agui", body, **options)
    assert response.status == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return Client(body["messages"]).read(response.text)


async def read_until(exchange: Exchange, text: str, messages: list[dict[str, Any]]) -> Client:
    return Client(messages).read(await exchange.until(text))


async def chats() -> list[Conversation]:
    return [each async for each in Conversation.objects.order_by("created_at")]


async def test_question_is_answered(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"])
    client = await answered(doors, asked())
    assert client.texts == ["Forty-two"]
    assert client.outcome == {"type": "success"}
    assert client.types[0] == "RUN_STARTED"
    assert client.of_type("CUSTOM")[0]["name"] == "fleet.routing"
    run = await Run.objects.select_related("conversation").aget()
    assert (run.door, run.conversation.is_kept) == ("agui", True)
    assert client.got[0]["metadata"]["fleet"]["run"] == str(run.pk)


async def test_thread_is_one_conversation(doors: Doors, model: ScriptedModel) -> None:
    model.on("First", tokens=["One."])
    model.on("Second", tokens=["Two."])
    first = await answered(doors, asked(user("First")))
    second = await answered(doors, asked(*first.messages, user("Second", "m2")))
    other = await answered(doors, asked(user("First"), thread="other"))
    assert second.texts == ["One.", "Two."]
    assert [other.ended, second.ended] == ["RUN_FINISHED"] * 2
    assert [await chat.runs.acount() for chat in await chats()] == [2, 1]


async def test_what_the_client_tells_counts_and_not_what_is_stored(
    doors: Doors, model: ScriptedModel
) -> None:
    await answered(doors, asked(user("Stored")))
    told = [
        {"id": "s", "role": "system", "content": "Be brief."},
        user("Told", "t1"),
        {"id": "t2", "role": "assistant", "content": "Heard."},
        {"id": "t3", "role": "tool", "content": "{}", "toolCallId": "c"},
        {"id": "t4", "role": "reasoning", "content": "Hm."},
        user(QUESTION, "t5"),
    ]
    context = [{"description": "The page", "value": "Prices"}]
    await answered(doors, asked(*told, context=context))
    run = await Run.objects.aget(question__text=QUESTION)
    assert run.told
    exchanges = [(each["question"], each["answer"]) for each in run.told["exchanges"]]
    assert exchanges == [("Told", "Heard.")]
    assert run.told["instructions"] == "Be brief.\n\nThe page:\nPrices"
    said = json.dumps(model.calls[-1].body["messages"])
    assert "Heard." in said
    assert "Stored" not in said


async def test_id_of_an_own_conversation_is_its_thread(doors: Doors, model: ScriptedModel) -> None:
    await answered(doors, asked())
    [chat] = await chats()
    await answered(doors, asked(user("Again"), thread=str(chat.pk)))
    assert [each.pk for each in await chats()] == [chat.pk]


async def test_foreign_conversation_is_not_reached(doors: Doors) -> None:
    await answered(doors, asked())
    [chat] = await chats()
    stranger = {"authorization": "Bearer another-key-that-another-program-made-itself"}
    await answered(doors, asked(user("Mine"), thread=str(chat.pk)), headers=stranger)
    own, foreign = await chats()
    assert own.pk == chat.pk
    assert await own.runs.acount() == await foreign.runs.acount() == 1
    assert own.owner != foreign.owner


async def test_same_thread_of_another_owner_is_another_conversation(doors: Doors) -> None:
    await answered(doors, asked(run="r"))
    stranger = {"authorization": "Bearer another-key-that-another-program-made-itself"}
    await answered(doors, asked(run="r"), headers=stranger)
    assert [await chat.runs.acount() for chat in await chats()] == [1, 1]


async def test_same_run_joins(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    body = asked(run="r1")
    async with (
        doors.stream("POST", "/agui", body) as first,
        doors.stream("POST", "/agui", body) as second,
    ):
        await first.until('"One"')
        await second.until('"One"')
        model.release()
        bodies = [(await first.rest()).text, (await second.rest()).text]
    assert [Client([user()]).read(each).texts for each in bodies] == [["One two"]] * 2
    assert await Run.objects.acount() == 1


async def test_same_run_with_another_question_is_refused(doors: Doors) -> None:
    await answered(doors, asked(run="r1"))
    response = await doors.post("/agui", asked(user("Else"), run="r1"))
    assert (response.status, response.error["code"]) == (400, "bad_request")


async def test_same_run_id_on_another_thread_is_another_run(doors: Doors) -> None:
    await answered(doors, asked(run="r1"))
    await answered(doors, asked(user("Else"), thread="other", run="r1"))
    assert await Run.objects.acount() == 2


async def test_client_that_was_cut_goes_on_behind_its_last_message(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, tokens=["One", " two", " three"], hold_after=2)
    body = asked(run="r1", forwardedProps=fleet(on_disconnect="continue"))
    async with doors.stream("POST", "/agui", body) as exchange:
        client = await read_until(exchange, '" two"', [user()])
    behind = {"last-event-id": client.last_id}
    async with doors.stream("POST", "/agui", body, headers=behind) as exchange:
        model.release()
        client.read((await exchange.rest()).text)
    assert client.texts == ["One two three"]
    assert client.outcome == {"type": "success"}
    assert client.types.count("RUN_STARTED") == 1
    assert await Run.objects.acount() == 1


async def test_cursor_is_taken_by_another_worker(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    body = asked(run="r1", forwardedProps=fleet(on_disconnect="continue"))
    async with doors.stream("POST", "/agui", body) as exchange:
        client = await read_until(exchange, '"One"', [user()])
        async with another_worker():
            behind = {"last-event-id": client.last_id}
            async with doors.stream("POST", "/agui", body, headers=behind) as second:
                model.release()
                client.read((await second.rest()).text)
        await exchange.rest()
    assert client.texts == ["One two"]


async def test_client_that_has_the_ending_gets_nothing_more(doors: Doors) -> None:
    body = asked(run="r1")
    client = await answered(doors, body)
    response = await doors.post("/agui", body, headers={"last-event-id": client.last_id})
    assert (response.status, response.body) == (204, b"")


async def test_cursor_of_an_unknown_run_is_refused(doors: Doors) -> None:
    client = await answered(doors, asked(run="r1"))
    at = client.last_id.replace(',"e":true', "")
    response = await doors.post("/agui", asked(run="r2"), headers={"last-event-id": at})
    assert (response.status, response.error["code"]) == (400, "bad_request")
    assert await Run.objects.acount() == 1


async def test_client_that_joins_without_its_cursor_gets_all_of_it(doors: Doors) -> None:
    """A client that keeps its messages but no cursor, such as HttpAgent."""
    body = asked(run="r1")
    client = await answered(doors, body)
    again = await answered(doors, {**body, "messages": client.messages})
    assert again.texts == client.texts
    assert again.types[1] == "MESSAGES_SNAPSHOT"


async def test_what_is_chosen_reaches_the_run(doors: Doors) -> None:
    chosen = fleet(mode="light", fresh=True, effort="minimal", preference="quality")
    await answered(doors, asked(forwardedProps={**chosen, "other": 1}))
    run = await Run.objects.aget()
    assert (run.mode, run.fresh, run.reasoning_effort) == ("light", True, "minimal")
    assert run.preference == "quality"


async def test_failure_after_the_start_is_a_run_error(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, status=400)
    client = await answered(doors, asked())
    assert client.ended == "RUN_ERROR"
    assert client.got[-1]["code"] == "model_error"
    assert not any(client.open.values())


async def test_run_without_readers_is_cancelled(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.05)
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    body = asked(run="r1")
    async with doors.stream("POST", "/agui", body) as exchange:
        await exchange.until('"One"')
    await Worker.current().runs.idle(within=20)
    client = await answered(doors, body)
    assert client.outcome == {"type": "cancelled"}
    assert client.texts == ["One"]


async def test_run_that_may_go_on_is_not_cancelled(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0)
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    body = asked(run="r1", forwardedProps=fleet(on_disconnect="continue"))
    async with doors.stream("POST", "/agui", body) as exchange:
        await exchange.until('"One"')
    model.release()
    client = await answered(doors, body)
    assert client.outcome == {"type": "success"}


async def test_escalated_answer_takes_the_light_one_back(
    doors: Doors, model: ScriptedModel
) -> None:
    model.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    model.as_agent(PLANNER.instructions, plan("researcher", "analyst"))
    model.as_agent(WRITER.instructions, Script(tokens=["Forty", "-two."]))
    client = await answered(doors, asked())
    assert [each["value"]["path"] for each in client.of_type("CUSTOM")] == ["light", "full"]
    assert client.of_type("MESSAGES_SNAPSHOT") == [
        {"type": "MESSAGES_SNAPSHOT", "messages": [user()]}
    ]
    assert len(client.texts) == 1
    assert "know" not in client.texts[0]
    names = {each["name"] for each in client.of_type("SUBAGENT_STARTED")}
    assert {"Planner", "Researcher", "Writer"} <= names


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"messages": [{"id": "a", "role": "assistant", "content": "Hi"}]}, "messages"),
    "nothing": ({"messages": []}, "messages"),
    "blank": ({"messages": [user(" ")]}, "messages"),
    "too long": ({"messages": [user("x" * 40_000)]}, "messages"),
    "an image": (
        {"messages": [user([{"type": "image", "source": {}}])]},
        "messages[0].content[0]",
    ),
    "a number": ({"messages": [user(5)]}, "messages"),
    "no thread": ({"threadId": ""}, "threadId"),
    "unknown mode": ({"forwardedProps": fleet(mode="best")}, "forwardedProps.fleet.mode"),
    "unknown choice": ({"forwardedProps": fleet(modus="light")}, "forwardedProps.fleet.modus"),
    "unknown model": ({"forwardedProps": fleet(model="none-such")}, ""),
    "unknown status": (
        {"resume": [{"interruptId": "a", "status": "done"}]},
        "resume[0].status",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_request_that_does_not_fit_is_refused(doors: Doors, what: str) -> None:
    fields, param = REFUSED[what]
    response = await doors.post("/agui", asked() | fields)
    assert response.status == 400, response.text
    assert (response.error["param"] or "").startswith(param), response.error
    assert await Run.objects.acount() == 0


async def test_messages_that_cannot_be_sent_back_are_refused_before_they_cost(
    doors: Doors, model: ScriptedModel
) -> None:
    answer = {"id": "m3", "role": "assistant", "content": "Forty-two"}
    deep = asked({"id": "m1", "role": "activity", "x": "deep"}, user(id_="m2"), answer)
    body = json.dumps(deep).replace('"deep"', "[" * 3000 + "]" * 3000)
    response = await doors.post("/agui", body.encode())
    assert (response.status, response.error["param"]) == (400, "messages")
    assert not model.calls


async def test_token_that_may_not_ask_is_refused(doors: Doors, settings: Settings) -> None:
    settings.FLEET_API = "tokens"
    response = await doors.post("/agui", asked())
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")


async def test_bug_cuts_the_stream_and_ends_nothing(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client would take a stream that ends without an ending for a success."""
    monkeypatch.setattr(Rendering, "finish", lambda self, summary: 1 / 0)
    async with doors.stream("POST", "/agui", asked()) as exchange:
        with pytest.raises(ZeroDivisionError):
            await exchange.rest()
    assert not exchange.response.is_complete
    assert not Client([user()]).read(exchange.response.text).ended
    assert Worker.current().sockets == set()
