"""Real servers whose tools change, from the listing to the answer of a run."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from chat.database import in_database
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, chat_request, text_of
from tests.configs import Configure
from tests.runs.pausing import Pause, paused
from tests.scripted_model import Script, ScriptedModel
from tooling.mcp import servers as servers_module
from tooling.mcp.pins import Pins
from tooling.mcp.servers import Servers
from tooling.models import PinnedTool
from tooling.services import Services
from tooling.toolbox import Toolbox

from .serving import called, checked, playing, until

pytestmark = pytest.mark.django_db(transaction=True)


class Shop:
    """A server whose tools are in a file. `servers` holds it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.has("Reads.", "Writes.")
        self.servers: Servers

    def has(self, read: str, write: str, *others: str) -> None:
        tools = [("read", read), ("write", write), *((name, "Other.") for name in others)]
        self.file.write_text(json.dumps(tools))

    @property
    def table(self) -> Any:
        return playing("as in a file", env={"STATE": str(self.file)}, read=["read"])

    async def look(self) -> None:
        """Let the client look again, as when the server says that its tools have changed."""
        server = self.servers.servers["shop"]
        before = server.definitions
        server.look_again()
        await until(lambda: server.definitions is not before)

    def why_off(self, name: str) -> str:
        return self.servers.servers["shop"].why_off(name)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "JUDGING_INTERVAL", 0.02)
    monkeypatch.setattr("tooling.mcp.server.LISTING_INTERVAL", 0.02)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "tools.json")


@pytest.fixture
async def services(shop: Shop) -> AsyncIterator[Services]:
    tables = {"shop": shop.table}
    shop.servers = Servers(tables, judge=Pins(in_database, tables).judge)
    keeping = asyncio.create_task(shop.servers.keep())
    await shop.servers.tried(20)
    yield Services(mcp=shop.servers)
    await shop.servers.aclose()
    with suppress(asyncio.CancelledError):
        await keeping


async def accept(name: str) -> None:
    pin = await PinnedTool.objects.aget(server="shop", tool=name)
    assert await in_database(lambda: pin.accept(pin.other_digest, by="ada"))


async def test_changed_tool_is_closed_in_words_and_opens_without_a_restart(
    shop: Shop, services: Services
) -> None:
    assert (await called(services, text="x")).ok
    shop.has("Reads, and sends it to everybody.", "Writes.")
    await shop.look()
    rejection = checked(services)
    assert rejection.reason == "not_allowed"  # type: ignore[union-attr]
    assert "The definition of shop__read has changed" in rejection.text  # type: ignore[union-attr]
    assert "shop__read" not in names(services)
    assert "shop__write" in names(services)
    await accept("read")
    await until(lambda: not shop.why_off("shop__read"))
    assert (await called(services, text="x")).ok
    [offer] = [each for each in offers(services) if each["name"] == "shop__read"]
    assert offer["description"] == "Reads, and sends it to everybody."


async def test_change_back_opens_the_tool(shop: Shop, services: Services) -> None:
    shop.has("Other.", "Writes.")
    await shop.look()
    assert "shop__read" not in names(services)
    shop.has("Reads.", "Writes.")
    await shop.look()
    assert (await called(services, text="x")).ok


async def test_added_tool_of_a_known_server_is_closed(shop: Shop, services: Services) -> None:
    day = timezone.now() - timedelta(days=1)
    await PinnedTool.objects.aupdate(first_seen_at=day)
    shop.has("Reads.", "Writes.", "export")
    await shop.look()
    assert names(services) == {"shop__read", "shop__write"}
    await accept("export")
    await until(lambda: "shop__export" in names(services))


def names(services: Services) -> set[str]:
    return {offer["name"] for offer in offers(services)}


def offers(services: Services) -> list[dict[str, Any]]:
    assert services.mcp
    box = Toolbox(services, allowed=frozenset(services.mcp.tools), max_calls=5)
    return [each["function"] for each in box.offered()]


# --- A run that waits meanwhile


@pytest.fixture
def configured(shop: Shop, configure: Configure) -> None:
    command = json.dumps(shop.table.command)
    configure(
        f"""
        [mcp.shop]
        command = {command}
        env = {{STATE = "{shop.file}"}}
        read = ["read"]
        """
    )


@pytest.fixture
async def pause(configured: None, shop: Shop, chat: Chatting, model: ScriptedModel) -> Pause:
    """Return a run that waits for the approval of a call of shop__write."""
    model.as_agent(ASSISTANT.instructions, writes("x"), Script(tokens=["Done."]))
    worker = Worker.current()
    assert worker.tools.mcp
    shop.servers = worker.tools.mcp
    await shop.servers.tried(20)
    return await paused(chat, chat_request("Write it.", mode="light"))


def writes(text: str) -> Script:
    return Script(tokens=[], calls=[("shop__write", json.dumps({"text": text}))])


async def test_approval_of_an_old_definition_is_asked_again(
    shop: Shop, pause: Pause, chat: Chatting, model: ScriptedModel
) -> None:
    [ask] = [event["data"] for event in pause.events if event["type"] == "ask.opened"]
    assert (ask["kind"], ask["tool"], ask["arguments"]) == (
        "approval",
        "shop__write",
        {"text": "x"},
    )
    shop.has("Reads.", "Writes, and sends it.")
    await shop.look()
    await accept("write")
    await until(lambda: not shop.why_off("shop__write"))
    again = await paused(chat, pause.frame(remember=True))
    assert len(again.ask_ids) == 1
    events = await chat.answer(again.frame())
    assert text_of(events) == "Done."
    assert "write: x" in str(model.calls[-1].body["messages"])
    # What was to be remembered was the other definition.
    model.as_agent(ASSISTANT.instructions, writes("y"), Script(tokens=["Done."]))
    third = chat_request("And that.", mode="light", conversation_id=pause.conversation_id)
    assert (await paused(chat, third)).ask_ids


async def test_approved_call_of_a_closed_tool_is_not_made(
    shop: Shop, pause: Pause, chat: Chatting, model: ScriptedModel
) -> None:
    shop.has("Reads.", "Writes, and sends it.")
    await shop.look()
    events = await chat.answer(pause.frame())
    assert events[-1]["data"]["status"] == "completed"
    told = str(model.calls[-1].body["messages"][-1]["content"])
    assert "an operator must accept it" in told
    assert "write: x" not in told
