"""What MCP servers ask a person in a call: as forms, across restarts, by both protocols."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, chat_request, text_of
from tests.configs import Configure
from tests.runs.pausing import Pause, paused
from tests.scripted_model import Script, ScriptedModel
from tooling.calls import Call, ToolResult
from tooling.forms import Form
from tooling.results import Given, NeedsInput
from tooling.services import Services
from tooling.tables import McpTable
from tooling.toolbox import Toolbox

from .serving import children, playing, served, until

ASKER = Path(__file__).with_name("asker.py")
BY_SDK = McpTable(command=[sys.executable, str(ASKER)])


async def made(
    services: Services, given: Given | None = None, *, name: str = "shop__read", **arguments: Any
) -> ToolResult | Form:
    """Return the result of a call, or the form that it needs first."""
    assert services.mcp
    box = Toolbox(services, allowed=frozenset(services.mcp.tools), max_calls=5)
    call = box.check(name, arguments)
    assert isinstance(call, Call), call
    try:
        return await box.make(call, "key", given)
    except NeedsInput as exc:
        return exc.form


async def asked(*args: Any, **kwargs: Any) -> Form:
    form = await made(*args, **kwargs)
    assert isinstance(form, Form), form
    return form


async def answered(*args: Any, **kwargs: Any) -> ToolResult:
    result = await made(*args, **kwargs)
    assert isinstance(result, ToolResult), result
    return result


# --- The newer protocol: the server ends the call


async def test_server_of_the_sdk_gets_the_replies_of_two_forms() -> None:
    call: dict[str, Any] = {"name": "shop__book", "day": "Monday"}
    async with served(BY_SDK) as services:
        first = await asked(services, **call)
        assert first.message == "For how many?"
        assert first.schema["properties"] == {
            "people": {"type": "integer", "minimum": 1, "maximum": 9, "title": "People"}
        }
        second = await asked(services, Given({"people": 4}, first.state), **call)
        assert second.message == "Inside, or in the garden?"
        result = await answered(services, Given({"in_the_garden": True}, second.state), **call)
        assert "A table for 4 in the garden is booked for Monday." in result.text


async def test_server_of_the_sdk_hears_a_refusal() -> None:
    call: dict[str, Any] = {"name": "shop__book", "day": "Monday"}
    async with served(BY_SDK) as services:
        first = await asked(services, **call)
        result = await answered(services, Given(None, first.state), **call)
    assert not result.ok
    assert "booked" not in result.text


async def test_client_can_show_forms_and_pages_and_nothing_else() -> None:
    async with served(playing("tells capabilities")) as services:
        result = await answered(services)
    assert '{"elicitation": {"form": {}, "url": {}}}' in result.text


# --- The older protocol: the server holds the call


async def test_held_call_is_made_again_with_the_replies() -> None:
    async with served(playing("asks in a call")) as services:
        first = await asked(services)
        assert first.message == "For how many?"
        second = await asked(services, Given({"people": 4}, first.state))
        assert second.message == "How many of 4 are children?"
        result = await answered(services, Given({"children": 2}, second.state))
        assert "booked, children: 2" in result.text
        # The connection has survived the calls that were ended.
        assert (await asked(services)).message == "For how many?"
        for unreadable in ("", "{", "{}", '{"wanted": 7}'):
            again = await asked(services, Given({"people": 4}, unreadable))
            assert again.message == "For how many?"


@pytest.mark.parametrize("key", ["s3cret-key", 's3cret"\\key', "properties"])
async def test_secrets_of_a_server_are_not_in_its_forms(key: str) -> None:
    table = playing("asks for a secret", env={"SHOP_KEY": key})
    async with served(table, secrets=[key]) as services:
        form = await asked(services)
    assert form.message == "Is (hidden) right?"


async def test_held_call_hears_a_refusal() -> None:
    async with served(playing("asks in a call")) as services:
        first = await asked(services)
        result = await answered(services, Given(None, first.state))
    assert "people: decline" in result.text


async def test_question_that_could_belong_to_two_held_calls_is_not_asked() -> None:
    async with served(playing("asks in a call")) as services:
        both = await asyncio.gather(made(services, text="a"), made(services, text="b"))
    assert all(isinstance(each, ToolResult) and "cancel" in each.text for each in both)


async def test_call_that_fails_without_a_page_is_made_again_after_it(tmp_path: Path) -> None:
    paid = tmp_path / "paid"
    async with served(playing("asks for a page", env={"PAID": str(paid)})) as services:
        page = await asked(services)
        assert (page.message, page.url) == ("Pay first.", "https://pay.example/7")
        refused = await answered(services, Given(None, page.state))
        assert refused.message == "The person did not open the page of shop."
        assert (await asked(services, Given({}, page.state))).url == page.url
        paid.touch()
        assert (await answered(services, Given({}, page.state))).ok


async def test_form_that_cannot_be_shown_fails_the_call_in_words() -> None:
    async with served(playing("asks wrongly")) as services:
        result = await answered(services)
    assert result.message.startswith("shop asks for something that cannot be shown as a form.")


# --- A run that waits


@pytest.fixture
def configured(configure: Configure) -> None:
    configure(f"[mcp.shop]\ncommand = {json.dumps(BY_SDK.command)}\nread = ['book']")


@pytest.mark.django_db(transaction=True)
async def test_server_that_was_restarted_meanwhile_asks_once_more(
    configured: None, chat: Chatting, model: ScriptedModel
) -> None:
    book = ("shop__book", json.dumps({"day": "Monday"}))
    model.as_agent(
        ASSISTANT.instructions, Script(tokens=[], calls=[book]), Script(tokens=["Done."])
    )
    servers = Worker.current().tools.mcp
    assert servers
    await servers.tried(20)
    first = await paused(chat, chat_request("Book it.", mode="light"))
    assert message_of(first) == "For how many?"
    second = await paused(chat, first.frame("answer", arguments={"people": 4}))
    assert message_of(second) == "Inside, or in the garden?"
    [program] = children(ASKER)
    program.kill()
    await until(lambda: bool(servers.servers["shop"].closed))
    await until(lambda: not servers.servers["shop"].closed)
    garden = {"in_the_garden": False}
    again = await paused(chat, second.frame("answer", arguments=garden))
    # The key of its state is gone with the process, so it begins anew.
    assert message_of(again) == "For how many?"
    last = await paused(chat, again.frame("answer", arguments={"people": 5}))
    done = await chat.answer(last.frame("answer", arguments=garden))
    assert text_of(done) == "Done."
    assert "A table for 5 inside is booked" in str(model.calls[-1].body["messages"])


@pytest.mark.django_db(transaction=True)
async def test_tool_of_the_documentation_asks_and_acts(
    documented: None, chat: Chatting, model: ScriptedModel
) -> None:
    book = ("book", json.dumps({"day": "Monday"}))
    model.as_agent(
        ASSISTANT.instructions, Script(tokens=[], calls=[book]), Script(tokens=["Done."])
    )
    pause = await paused(chat, chat_request("Book it.", mode="light"))
    await chat.answer(pause.frame("answer", arguments={"people": 4}))
    assert "A table for 4 is booked." in str(model.calls[-1].body["messages"])


@pytest.fixture
def documented(configure: Configure, settings: Settings) -> None:
    text = (settings.BASE_DIR / "chat/config/README.md").read_text()
    [code] = [
        each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Given" in each
    ]
    configure("", code)


def message_of(pause: Pause) -> str:
    [ask] = [event["data"] for event in pause.events if event["type"] == "ask.opened"]
    assert (ask["kind"], ask["tool"]) == ("form", "shop__book")
    return str(ask["message"])
