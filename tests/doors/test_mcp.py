"""The fleet's tools for MCP clients, message by message. Clients try them, too."""

import asyncio
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from jsonschema import Draft202012Validator
from pytest_django import Settings

from chat.access.tokens import Token
from chat.conversations import Conversation
from chat.database import in_database
from chat.doors import asking
from chat.doors.mcp import VERSIONS, Answering, RpcMessage
from chat.models import Run
from chat.workflow.agents import ASSISTANT
from tests.pages.conversations import run_of
from tests.scripted_model import Script, ScriptedModel
from tests.workflow.playing import wants

from .calling import Doors, Response
from .openai.reading import entries
from .openai.test_chunks import CONVERSATION, answered, result, run

PATH = "/mcp"
*INITIALIZED, STATELESS = VERSIONS
BOTH = {"accept": "application/json, text/event-stream"}
META = "io.modelcontextprotocol/"
QUESTION = "What is the answer?"
NOTIFICATION = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def message(method: str, params: dict[str, Any] | None = None, id_: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": id_, "params": params or {}}


def call(name: str, *, meta: dict[str, Any] | None = None, id_: Any = 1, **given: Any) -> Any:
    params = {"name": name, "arguments": given, **({"_meta": meta} if meta else {})}
    return message("tools/call", params, id_)


async def stateless(doors: Doors, method: str, params: dict[str, Any] | None = None) -> Response:
    """Send a request as the new generation does."""
    meta = {f"{META}protocolVersion": STATELESS, f"{META}clientCapabilities": {}}
    body = message(method, {"_meta": meta, **(params or {})})
    return await doors.post(PATH, body, headers={"mcp-protocol-version": STATELESS})


def messages_in(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def result_of(response: Response) -> dict[str, Any]:
    """Return the result of a tool, as JSON or at the end of a stream."""
    assert response.status == 200, response.text
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    answer = messages_in(response.text)[-1] if is_stream else response.json
    result: dict[str, Any] = answer["result"]
    assert result["resultType"] == "complete"
    return result


def said_in(result: dict[str, Any]) -> str:
    [content] = result["content"]
    return str(content["text"])


async def token_of(name: str, **options: Any) -> dict[str, str]:
    def make() -> str:
        user, _ = User.objects.get_or_create(username=name)
        return Token.objects.make(user, "of a program", **options).text

    return {"authorization": f"Bearer {await in_database(make)}"}


async def ended(run: Run) -> Run:
    async with asyncio.timeout(20):
        while (found := await Run.objects.aget(pk=run.pk)).status == Run.Status.RUNNING:
            await asyncio.sleep(0.02)
    return found


# --- The server itself


@pytest.mark.parametrize("version", INITIALIZED)
async def test_client_gets_the_version_that_it_wants(doors: Doors, version: str) -> None:
    wanted = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x"}}
    result = (await doors.post(PATH, message("initialize", wanted))).json["result"]
    assert (result["protocolVersion"], result["capabilities"]) == (version, {"tools": {}})
    assert result["serverInfo"]["name"] == "agenticfleet"


async def test_client_of_another_version_is_offered_the_newest(doors: Doors) -> None:
    response = await doors.post(PATH, message("initialize", {"protocolVersion": "2024-11-05"}))
    assert response.json["result"]["protocolVersion"] == INITIALIZED[-1]


async def test_client_that_says_all_in_each_request_discovers_the_server(doors: Doors) -> None:
    result = (await stateless(doors, "server/discover")).json["result"]
    assert STATELESS in result["supportedVersions"]
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")


async def test_tools_are_listed_with_their_schemas(doors: Doors) -> None:
    for response in (
        await doors.post(PATH, message("tools/list")),
        await stateless(doors, "tools/list"),
    ):
        tools = {tool["name"]: tool for tool in response.json["result"]["tools"]}
        assert set(tools) == {"ask", "search"}
        assert tools["ask"]["inputSchema"]["required"] == ["question"]
        assert tools["ask"]["description"].startswith("Answer a question")
        for tool in tools.values():
            Draft202012Validator.check_schema(tool["inputSchema"])


async def test_ping_and_notifications_are_answered_with_nothing(doors: Doors) -> None:
    assert (await doors.post(PATH, message("ping"))).json["result"] == {}
    response = await doors.post(PATH, NOTIFICATION)
    assert (response.status, response.body) == (202, b"")


# --- What is refused


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        [message("ping")],
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]},
    ],
)
async def test_what_is_no_request_is_refused(doors: Doors, body: Any) -> None:
    response = await doors.post(PATH, body)
    assert (response.status, response.error["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/list", {}),
        ("tools/call", {}),
        ("tools/call", {"name": "shell"}),
        ("tools/call", {"name": ["ask"]}),
    ],
)
async def test_unknown_methods_and_tools_are_errors(
    doors: Doors, method: str, params: dict[str, Any]
) -> None:
    response = await doors.post(PATH, message(method, params, "x"))
    assert (response.status, response.error["code"], response.json["id"]) == (200, -32601, "x")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_is_nothing_but_posts(doors: Doors, method: str) -> None:
    response = await doors.call(method, PATH, headers={"accept": "text/event-stream"})
    assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_page_of_another_site_is_refused(doors: Doors) -> None:
    headers = {"origin": "https://evil.example"}
    response = await doors.post(PATH, message("ping"), headers=headers)
    assert (response.status, response.error["code"]) == (403, "forbidden")


# --- Asking


async def test_answer_is_text_and_a_value(doors: Doors) -> None:
    result = result_of(await doors.post(PATH, call("ask", question=QUESTION)))
    run = await Run.objects.select_related("conversation").aget()
    page = f"http://testserver/c/{run.conversation_id}/"
    state = f"This answer is completed. The conversation: {page}"
    assert said_in(result) == f"The answer is **42**.\n{state}"
    assert result["structuredContent"] == {
        "answer": "The answer is **42**.",
        "conversation_id": str(run.conversation_id),
        "run_id": str(run.pk),
        "status": "completed",
    }
    assert not result["isError"]
    assert (run.door, run.conversation.is_kept) == ("mcp", True)


def test_cited_sources_are_below_the_answer() -> None:
    request = RpcMessage("tools/call", 1)
    rendering = Answering(request, run(), "https://fleet.example")
    events = answered("Striped [2, 3], as `[1]`.", result(1, 2, 3))
    [answer] = messages_in(rendering.events(entries(events)).decode())
    assert said_in(answer["result"]).splitlines() == [
        "Striped [2, 3], as `[1]`.",
        "[2] Page 2 https://host/2",
        "[3] Page 3 https://host/3",
        f"This answer is completed. The conversation: https://fleet.example/c/{CONVERSATION}/",
    ]


async def test_conversation_goes_on(doors: Doors, model: ScriptedModel) -> None:
    first = result_of(await doors.post(PATH, call("ask", question="What is Rust?")))
    conversation = first["structuredContent"]["conversation_id"]
    again = await doors.post(
        PATH, call("ask", question=QUESTION, conversation_id=conversation, mode="light")
    )
    assert result_of(again)["structuredContent"]["conversation_id"] == conversation
    assert "What is Rust?" in json.dumps(model.calls[-1].body["messages"])


async def test_steps_are_told_at_once(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    body = call("ask", question=QUESTION, meta={"progressToken": "p"})
    async with doors.stream("POST", PATH, body, headers=BOTH) as exchange:
        await exchange.until("notifications/progress")
        assert '"result"' not in exchange.response.text
        model.release()
        response = await exchange.rest()
    *notes, answer = messages_in(response.text)
    assert [note["params"]["progressToken"] for note in notes] == ["p"] * len(notes)
    steps = [note["params"]["progress"] for note in notes]
    assert steps == sorted(set(steps))
    assert notes[0]["params"]["message"].startswith("One agent")
    assert (answer["id"], answer["result"]["structuredContent"]["answer"]) == (1, "Forty-two")


async def test_answer_without_a_progress_token_has_only_beats(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    async with doors.stream("POST", PATH, call("ask", question=QUESTION), headers=BOTH) as exchange:
        await exchange.until(": ping")
        model.release()
        response = await exchange.rest()
    [answer] = messages_in(response.text)
    assert answer["result"]["structuredContent"]["answer"] == "Forty-two"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "`question`"),
        ({"question": " "}, "the message is empty"),
        ({"question": 7}, "question"),
        ({"question": "x", "mode": "fast"}, "mode"),
        ({"question": "x", "conversation_id": "mine"}, "conversation_id"),
        ({"question": "x", "model": "gpt"}, "unknown field"),
        ({"question": "x" * 40_000}, "40,000 characters"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_to_the_model(
    doors: Doors, given: dict[str, Any], words: str
) -> None:
    result = result_of(await doors.post(PATH, call("ask", **given)))
    assert result["isError"]
    assert words in said_in(result)


async def test_failed_run_is_an_error_in_our_words(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, status=400)
    result = result_of(await doors.post(PATH, call("ask", question=QUESTION)))
    assert result["isError"]
    assert "model server" in said_in(result)


async def test_both_generations_ask(doors: Doors) -> None:
    asked = {"name": "ask", "arguments": {"question": QUESTION}}
    result = result_of(await stateless(doors, "tools/call", asked))
    assert result["structuredContent"]["answer"] == "The answer is **42**."


async def test_paused_run_says_what_is_asked_and_where_that_is_decided(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset({"clock"})
    model.as_agent(ASSISTANT.instructions, wants(("clock", {"place": "Tokyo"})), Script())
    result = result_of(await doors.post(PATH, call("ask", question="Look up")))
    given = result["structuredContent"]
    assert given["status"] == "paused"
    assert "A person must decide" in said_in(result)
    assert said_in(result).endswith(f"http://testserver/c/{given['conversation_id']}/")


async def test_client_that_leaves_ends_its_run(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.2)
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    body = call("ask", question=QUESTION, meta={"progressToken": 1})
    async with doors.stream("POST", PATH, body, headers=BOTH) as exchange:
        await exchange.until("notifications/progress")
    assert (await ended(await Run.objects.aget())).status == "cancelled"


# --- Who may


async def test_each_tool_needs_its_scope(doors: Doors) -> None:
    for tool, scope, needs, given in (
        ("ask", "read", "ask", {"question": QUESTION}),
        ("search", "ask", "read", {"q": "x"}),
    ):
        headers = await token_of("ada", scopes=[scope])
        assert (await doors.post(PATH, message("tools/list"), headers=headers)).status == 200
        result = result_of(await doors.post(PATH, call(tool, **given), headers=headers))
        assert result["isError"]
        assert said_in(result) == f'This token has no scope "{needs}".'
    assert not await Run.objects.aexists()


async def test_token_that_is_unknown_is_told_how_to_come_in(doors: Doors) -> None:
    headers = {"authorization": "Bearer fleet_00000000_wrong"}
    response = await doors.post(PATH, message("tools/list"), headers=headers)
    assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.error["message"] == "This token is not known here. Check that it is complete."


async def test_limit_is_told_in_words(doors: Doors) -> None:
    headers = await token_of("ada", limits={"questions": 1})
    first = result_of(await doors.post(PATH, call("ask", question="1"), headers=headers))
    assert not first["isError"]
    second = result_of(await doors.post(PATH, call("ask", question="2"), headers=headers))
    assert second["isError"]
    assert "question" in said_in(second)
    assert await Run.objects.acount() == 1


async def test_conversation_of_another_is_as_an_unknown_one(doors: Doors) -> None:
    def make() -> str:
        chat = Conversation.objects.create(owner="user:0", title="Secret zebras")
        run_of(chat, "Secret question", "Secret answer")
        return str(chat.pk)

    foreign = await in_database(make)
    headers = await token_of("bob")
    for conversation in (foreign, "00000000-0000-4000-8000-000000000000"):
        body = call("ask", question=QUESTION, conversation_id=conversation)
        result = result_of(await doors.post(PATH, body, headers=headers))
        assert said_in(result) == "This conversation does not exist, or it is not yours."
    found = result_of(await doors.post(PATH, call("search", q="secret"), headers=headers))
    assert said_in(found) == "[]"


async def test_search_finds_what_its_owner_has_asked(doors: Doors) -> None:
    headers = await token_of("ada")

    def make() -> str:
        user = User.objects.get(username="ada")
        chat = Conversation.objects.create(owner=f"user:{user.pk}", title="Animals")
        run_of(chat, "How many stripes has a zebra?", "Between 25 and 80.")
        run_of(Conversation.objects.create(owner=f"user:{user.pk}", title="Other"), "Hm?", "Hm.")
        return str(chat.pk)

    pk = await in_database(make)
    result = result_of(await doors.post(PATH, call("search", q="ZEBRA"), headers=headers))
    [chat] = json.loads(said_in(result))
    assert (chat["id"], chat["title"]) == (pk, "Animals")
    assert chat["places"] == [{"place": "question", "snippet": "How many stripes has a zebra?"}]
    every = result_of(await doors.post(PATH, call("search"), headers=headers))
    assert len(json.loads(said_in(every))) == 2


async def test_search_needs_a_token(doors: Doors) -> None:
    result = result_of(await doors.post(PATH, call("search", q="x")))
    assert result["isError"]
    assert said_in(result).startswith("Programs without a token have no lists.")
