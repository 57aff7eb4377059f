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
from chat.doors.mcp.messages import INITIALIZED, STATELESS
from chat.doors.mcp.tools import TOOLS
from chat.models import Run
from chat.workflow.agents import ASSISTANT
from tests.pages.conversations import run_of
from tests.scripted_model import Script, ScriptedModel
from tests.workflow.playing import wants

from .calling import Doors, Response

PATH = "/mcp"
BOTH = {"accept": "application/json, text/event-stream"}
META = "io.modelcontextprotocol/"
QUESTION = "What is the answer?"


def message(method: str, params: dict[str, Any] | None = None, id_: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": id_, "params": params or {}}


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def call(name: str, *, meta: dict[str, Any] | None = None, id_: Any = 1, **given: Any) -> Any:
    params = {"name": name, "arguments": given, **({"_meta": meta} if meta else {})}
    return message("tools/call", params, id_)


async def stateless(
    doors: Doors, method: str, params: dict[str, Any] | None = None, **headers: str
) -> Response:
    """Send a request as the new generation does."""
    meta = {f"{META}protocolVersion": STATELESS, f"{META}clientCapabilities": {}}
    said = {"mcp-protocol-version": STATELESS, "mcp-method": method}
    if params and "name" in params:
        said["mcp-name"] = params["name"]
    body = message(method, {"_meta": meta, **(params or {})})
    return await doors.post(PATH, body, headers=said | headers)


def messages_in(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def result_of(response: Response) -> dict[str, Any]:
    """Return the result of a tool, which must be as its definition says."""
    assert response.status == 200, response.text
    result: dict[str, Any] = response.json["result"]
    if not result.get("isError"):
        given = result["structuredContent"]
        name = "search" if "conversations" in given else "ask"
        [schema] = [tool["outputSchema"] for tool in TOOLS if tool["name"] == name]
        Draft202012Validator(schema).validate(given)
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
    assert result["_meta"][f"{META}serverInfo"]["name"] == "agenticfleet"


async def test_tools_are_listed_with_their_schemas(doors: Doors) -> None:
    for response in (
        await doors.post(PATH, message("tools/list")),
        await stateless(doors, "tools/list"),
    ):
        tools = {tool["name"]: tool for tool in response.json["result"]["tools"]}
        assert set(tools) == {"ask", "search"}
        assert tools["ask"]["inputSchema"]["required"] == ["question"]
        assert tools["search"]["annotations"]["readOnlyHint"] is True


async def test_ping_and_notifications_are_answered_with_nothing(doors: Doors) -> None:
    assert (await doors.post(PATH, message("ping"))).json["result"] == {}
    response = await doors.post(PATH, notification("notifications/initialized", {}))
    assert (response.status, response.body) == (202, b"")


# --- What is refused


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        ([message("ping")], -32600),
        ({"id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, -32600),
    ],
)
async def test_what_is_no_request_is_refused(doors: Doors, body: Any, code: int) -> None:
    response = await doors.post(PATH, body)
    assert (response.status, response.error["code"]) == (400, code)
    is_readable = isinstance(body, dict)
    assert response.json["id"] == (body.get("id") if is_readable else None)


async def test_unknown_methods_and_tools_are_errors(doors: Doors) -> None:
    for method, params, code, status in (
        ("tools/list/all", {}, -32601, 404),
        ("tools/call", {"name": "shell"}, -32602, 400),
    ):
        response = await doors.post(PATH, message(method, params, "x"))
        # Clients of this generation read no errors of other statuses.
        assert (response.status, response.error["code"], response.json["id"]) == (200, code, "x")
        response = await stateless(doors, method, params)
        assert (response.status, response.error["code"]) == (status, code)


@pytest.mark.parametrize("method", ["initialize", "ping"])
async def test_each_generation_has_its_own_methods(doors: Doors, method: str) -> None:
    assert (await stateless(doors, method)).error["code"] == -32601
    assert (await doors.post(PATH, message("server/discover"))).error["code"] == -32601


async def test_unknown_version_is_told_those_that_are_known(doors: Doors) -> None:
    headers = {"mcp-protocol-version": "2030-01-01"}
    response = await doors.post(PATH, message("tools/list"), headers=headers)
    assert (response.status, response.error["code"]) == (400, -32022)
    assert response.error["data"]["supported"] == [*INITIALIZED, STATELESS]


@pytest.mark.parametrize(
    "headers", [{"mcp-method": "ping"}, {"mcp-name": "search"}, {"mcp-name": ""}]
)
async def test_headers_must_say_what_the_body_says(doors: Doors, headers: dict[str, str]) -> None:
    asked = {"name": "ask", "arguments": {"question": QUESTION}}
    response = await stateless(doors, "tools/call", asked, **headers)
    assert (response.status, response.error["code"]) == (400, -32020)
    assert not await Run.objects.aexists()


@pytest.mark.parametrize("missing", ["protocolVersion", "clientCapabilities"])
async def test_request_without_its_envelope_is_refused(doors: Doors, missing: str) -> None:
    meta = {f"{META}protocolVersion": STATELESS, f"{META}clientCapabilities": {}}
    del meta[META + missing]
    response = await stateless(doors, "tools/list", {"_meta": meta})
    assert (response.status, response.error["code"]) == (400, -32602)
    assert missing in response.error["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_is_nothing_but_posts(doors: Doors, method: str) -> None:
    response = await doors.call(method, PATH, headers={"accept": "text/event-stream"})
    assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_client_must_take_json(doors: Doors) -> None:
    response = await doors.post(PATH, message("ping"), headers={"accept": "text/html"})
    assert (response.status, response.refusal["code"]) == (406, "not_acceptable")


async def test_page_of_another_site_is_refused(doors: Doors) -> None:
    headers = {"origin": "https://evil.example"}
    response = await doors.post(PATH, message("ping"), headers=headers)
    assert (response.status, response.refusal["code"]) == (403, "forbidden")


# --- Asking


async def test_answer_is_text_and_a_value(doors: Doors) -> None:
    response = await doors.post(PATH, call("ask", question=QUESTION))
    result = result_of(response)
    run = await Run.objects.select_related("conversation").aget()
    assert said_in(result) == "The answer is **42**."
    assert result["structuredContent"] | {"cost": None} == {
        "answer": "The answer is **42**.",
        "conversation_id": str(run.conversation_id),
        "run_id": str(run.pk),
        "status": "completed",
        "path": "light",
        "sources": [],
        "cost": None,
    }
    assert (run.door, run.conversation.is_kept) == ("mcp", True)
    assert response.headers["fleet-run"] == str(run.pk)


async def test_conversation_goes_on(doors: Doors, model: ScriptedModel) -> None:
    first = result_of(await doors.post(PATH, call("ask", question="What is Rust?")))
    conversation = first["structuredContent"]["conversation_id"]
    again = await doors.post(
        PATH, call("ask", question=QUESTION, conversation=conversation, mode="light")
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
    assert (answer["id"], said_in(answer["result"])) == (1, "Forty-two")


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
    assert said_in(answer["result"]) == "Forty-two"


async def test_new_generation_gets_the_kind_of_a_result(doors: Doors) -> None:
    asked = {"name": "ask", "arguments": {"question": QUESTION, "mode": None}}
    for headers in ({}, BOTH):
        response = await stateless(doors, "tools/call", asked, **headers)
        [answer] = messages_in(response.text) if headers else [response.json]
        assert answer["result"]["resultType"] == "complete"
        assert answer["result"]["_meta"][f"{META}serverInfo"]["name"] == "agenticfleet"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "`question`"),
        ({"question": " "}, "the message is empty"),
        ({"question": 7}, "question"),
        ({"question": "x", "mode": "fast"}, "mode"),
        ({"question": "x", "conversation": "mine"}, "conversation"),
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
    for headers in ({}, BOTH):
        response = await doors.post(PATH, call("ask", question=QUESTION), headers=headers)
        [answer] = messages_in(response.text) if headers else [response.json]
        assert answer["result"]["isError"]
        assert "model server" in said_in(answer["result"])


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


def meta_with_forms() -> dict[str, Any]:
    return {
        f"{META}protocolVersion": STATELESS,
        f"{META}clientCapabilities": {"elicitation": {"form": {}}},
    }


async def replied(doors: Doors, model: ScriptedModel, reply: dict[str, Any]) -> list[Any]:
    """Ask, reply so to what the run asks, and return what was asked with both results."""
    look = wants(("clock", {"place": "Tokyo"}))
    look.tokens = ["One moment. "]
    model.as_agent(ASSISTANT.instructions, look, Script(tokens=["It is late."]))
    asked = {"name": "ask", "arguments": {"question": "Look up"}, "_meta": meta_with_forms()}
    first = (await stateless(doors, "tools/call", asked)).json["result"]
    assert first["resultType"] == "input_required"
    [(key, form)] = first["inputRequests"].items()
    again = {**asked, "requestState": first["requestState"], "inputResponses": {key: reply}}
    second = (await stateless(doors, "tools/call", again)).json["result"]
    third = (await stateless(doors, "tools/call", again)).json["result"]
    return [form, second, third]


async def test_client_with_forms_asks_its_person(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset({"clock"})
    reply = {"action": "accept", "content": {"approved": True}}
    form, second, third = await replied(doors, model, reply)
    assert form["method"] == "elicitation/create"
    assert "Tokyo" in form["params"]["message"]
    fields = form["params"]["requestedSchema"]["properties"]
    assert fields["approved"] == {"type": "boolean"}
    assert "editedArgs" not in fields
    assert second["structuredContent"]["answer"] == "One moment. \n\nIt is late."
    assert said_in(third) == "This was answered elsewhere."


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_person_says_no_or_takes_the_question_back(
    doors: Doors, model: ScriptedModel, settings: Settings, action: str
) -> None:
    settings.FLEET_APPROVE = frozenset({"clock"})
    _, second, _ = await replied(doors, model, {"action": action})
    if action == "cancel":
        assert said_in(second) == "This answer was cancelled."
    else:
        assert second["structuredContent"]["status"] == "completed"
        assert "refused" in json.dumps(model.calls[-1].body["messages"])


async def test_forms_of_another_are_unknown(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset({"clock"})
    model.as_agent(ASSISTANT.instructions, wants(("clock", {"place": "Tokyo"})), Script())
    asked = {"name": "ask", "arguments": {"question": "Look up"}, "_meta": meta_with_forms()}
    first = (await stateless(doors, "tools/call", asked)).json["result"]
    [key] = first["inputRequests"]
    accept = {key: {"action": "accept", "content": {"approved": True}}}
    again = {**asked, "requestState": first["requestState"], "inputResponses": accept}
    stranger = await token_of("eve")
    result = (await stateless(doors, "tools/call", again, **stranger)).json["result"]
    # As one that nobody has ever asked.
    assert said_in(result) == f"There is no interrupt {key} on this thread."
    for state in ("mine", first["requestState"]):
        wrong = {**again, "requestState": state, "inputResponses": {}}
        assert (await stateless(doors, "tools/call", wrong)).json["result"]["isError"]
    assert await Run.objects.acount() == 1


async def test_client_that_leaves_ends_its_run(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.2)
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    body = call("ask", question=QUESTION, meta={"progressToken": 1})
    async with doors.stream("POST", PATH, body, headers=BOTH) as exchange:
        await exchange.until("notifications/progress")
    assert (await ended(await Run.objects.aget())).status == "cancelled"


async def test_request_is_cancelled_in_its_session_alone(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"], hold_after=1)
    begun = await doors.post(PATH, message("initialize", {}))
    session = {"mcp-session-id": begun.headers["mcp-session-id"]}
    other = {"mcp-session-id": "of another client with this token"}
    body = call("ask", question=QUESTION, meta={"progressToken": 1}, id_=7)
    async with doors.stream("POST", PATH, body, headers=BOTH | session) as exchange:
        await exchange.until("notifications/progress")
        for request_id, headers in ((7, other), (8, session), ("7", session), (7, {})):
            note = notification("notifications/cancelled", {"requestId": request_id})
            assert (await doors.post(PATH, note, headers=headers)).status == 202
        assert (await Run.objects.aget()).cancel_requested_at is None
        note = notification("notifications/cancelled", {"requestId": 7})
        assert (await doors.post(PATH, note, headers=session)).status == 202
        response = await exchange.rest()
    assert said_in(messages_in(response.text)[-1]["result"]) == "This answer was cancelled."
    assert (await Run.objects.aget()).status == "cancelled"


async def test_request_of_a_session_that_is_sent_again_joins_its_run(doors: Doors) -> None:
    session = {"mcp-session-id": "mine"}
    first, again = [
        result_of(await doors.post(PATH, call("ask", question=QUESTION), headers=session))
        for _ in range(2)
    ]
    assert first == again
    result = result_of(await doors.post(PATH, call("ask", question="Another?"), headers=session))
    assert result["isError"]
    assert await Run.objects.acount() == 1


async def test_key_of_a_request_counts_in_both_generations(doors: Doors) -> None:
    key = {"idempotency-key": "of this question"}
    asked = {"name": "ask", "arguments": {"question": QUESTION}}
    for _ in range(2):
        await doors.post(PATH, call("ask", question=QUESTION), headers=key)
        await stateless(doors, "tools/call", asked, **key)
    assert await Run.objects.acount() == 1


# --- Who may


async def test_each_tool_needs_its_scope(doors: Doors) -> None:
    for tool, scope, given in (
        ("ask", "read", {"question": QUESTION}),
        ("search", "ask", {"query": "x"}),
    ):
        headers = await token_of("ada", scopes=[scope])
        assert (await doors.post(PATH, message("tools/list"), headers=headers)).status == 200
        response = await doors.post(PATH, call(tool, **given), headers=headers)
        assert (response.status, response.refusal["code"]) == (403, "insufficient_scope")
        assert response.json["id"] == 1
    assert not await Run.objects.aexists()


async def test_token_that_is_unknown_is_told_how_to_come_in(doors: Doors) -> None:
    headers = {"authorization": "Bearer fleet_00000000_wrong"}
    response = await doors.post(PATH, message("tools/list"), headers=headers)
    assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.error["message"] == "This token is not known here. Check that it is complete."


async def test_limit_is_told_in_words(doors: Doors) -> None:
    headers = await token_of("ada", limits={"questions": 1})
    first = await doors.post(PATH, call("ask", question="1"), headers=headers)
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    response = await doors.post(PATH, call("ask", question="2"), headers=headers)
    assert (response.status, response.json["id"]) == (429, 1)
    assert int(response.headers["retry-after"]) > 0
    assert "question" in response.error["message"]


async def test_conversation_of_another_is_as_an_unknown_one(doors: Doors) -> None:
    def make() -> str:
        chat = Conversation.objects.create(owner="user:0", title="Secret zebras")
        run_of(chat, "Secret question", "Secret answer")
        return str(chat.pk)

    foreign = await in_database(make)
    headers = await token_of("bob")
    for conversation in (foreign, "00000000-0000-4000-8000-000000000000"):
        body = call("ask", question=QUESTION, conversation=conversation)
        result = result_of(await doors.post(PATH, body, headers=headers))
        assert said_in(result) == "This conversation does not exist, or it is not yours."
    found = result_of(await doors.post(PATH, call("search", query="secret"), headers=headers))
    assert found["structuredContent"] == {"conversations": []}


async def test_search_finds_what_its_owner_has_asked(doors: Doors) -> None:
    headers = await token_of("ada")

    def make() -> str:
        user = User.objects.get(username="ada")
        chat = Conversation.objects.create(owner=f"user:{user.pk}", title="Animals")
        run_of(chat, "How many stripes has a zebra?", "Between 25 and 80.")
        run_of(Conversation.objects.create(owner=f"user:{user.pk}", title="Other"), "Hm?", "Hm.")
        return str(chat.pk)

    pk = await in_database(make)
    result = result_of(await doors.post(PATH, call("search", query="ZEBRA"), headers=headers))
    [chat] = result["structuredContent"]["conversations"]
    assert (chat["conversation_id"], chat["title"]) == (pk, "Animals")
    assert chat["url"] == f"http://testserver/c/{pk}/"
    assert chat["places"] == [{"place": "question", "snippet": "How many stripes has a zebra?"}]
    assert "How many stripes" in said_in(result)
    every = result_of(await doors.post(PATH, call("search", query=""), headers=headers))
    assert len(every["structuredContent"]["conversations"]) == 2


async def test_search_needs_a_token(doors: Doors) -> None:
    response = await doors.post(PATH, call("search", query="x"))
    assert (response.status, response.refusal["code"]) == (403, "token_needed")
