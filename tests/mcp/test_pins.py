"""Definitions of MCP tools: pinned at first sight, closed by a change, accepted by an operator."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from threading import Barrier
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.database import in_database
from tests.configs import Configure
from tooling import models
from tooling.mcp import pins as pins_module
from tooling.mcp.differences import difference_of
from tooling.mcp.pins import Judgement, Pins, Seen, judged, note
from tooling.models import PinnedTool
from tooling.registry import Tool, tool
from tooling.schema import Parameters
from tooling.tables import McpTable

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Defined:
    tool: str
    description: str
    parameters: Parameters

    @property
    def name(self) -> str:
        return f"shop__{self.tool}"


@tool(timeout=1)
async def by_name(article: str) -> str:
    """Look at an article."""
    return article


@tool(timeout=1)
async def by_number(article: int, cc: str = "") -> str:
    """Look at an article."""
    return str(article)


def defined(name: str, description: str = "Read it.", like: Tool = by_name) -> Defined:
    return Defined(name, description, like.parameters)


READ, WRITE = defined("read"), defined("write")


def judge(*definitions: Defined, named: tuple[str, ...] = ()) -> dict[str, str]:
    return judged("shop", definitions, named).closed


def meet_earlier() -> None:
    PinnedTool.objects.update(first_seen_at=timezone.now() - timedelta(days=1))


def pinned(name: str = "read") -> PinnedTool:
    return PinnedTool.objects.get(server="shop", tool=name)


# --- What is closed, and when


def test_definitions_are_accepted_at_first_sight() -> None:
    assert judge(READ, WRITE) == {}
    assert [pin.state for pin in PinnedTool.objects.all()] == ["open", "open"]
    assert pinned().accepted_by == ""
    assert pinned().accepted_definition.description == "Read it."


@pytest.mark.parametrize(
    "changed", [defined("read", "Read it, and send it."), defined("read", like=by_number)]
)
def test_changed_description_or_schema_closes_the_tool_until_it_is_accepted(
    changed: Defined,
) -> None:
    judge(READ, WRITE)
    assert judge(changed, WRITE) == {
        "shop__read": "The definition of shop__read has changed; an operator must accept it."
    }
    assert pinned().state == "changed"
    assert pinned().accept(pinned().other_digest, by="ada")
    assert judge(changed, WRITE) == {}
    assert (pinned().state, pinned().accepted_by) == ("open", "ada")
    # What was accepted before is another definition now.
    assert list(judge(READ)) == ["shop__read"]


def test_change_back_opens_the_tool() -> None:
    judge(READ)
    judge(defined("read", "Other."))
    assert judge(READ) == {}
    assert (pinned().state, pinned().changed_at) == ("open", None)


def test_removed_tool_stays_pinned() -> None:
    judge(READ, WRITE)
    meet_earlier()
    assert judge(WRITE) == {}
    assert judge(READ, WRITE) == {}
    assert list(judge(defined("read", "Other."))) == ["shop__read"]


def test_tool_that_a_known_server_adds_is_closed_until_it_is_accepted() -> None:
    judge(READ)
    meet_earlier()
    assert judge(READ, WRITE) == {"shop__write": "shop__write is new; an operator must accept it."}
    assert pinned("write").state == "new"
    assert pinned("write").accept(pinned("write").other_digest, by="ada")
    assert judge(READ, WRITE) == {}


def test_added_tool_that_the_configuration_names_is_accepted_at_first_sight() -> None:
    judge(READ)
    meet_earlier()
    assert judge(READ, WRITE, named=("write",)) == {}


def test_tools_that_other_workers_see_first_are_met_together() -> None:
    judge(READ)
    assert judge(WRITE) == {}


def test_server_with_ever_other_tools_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins_module, "MAX_PINNED", 3)
    judge(READ, WRITE)
    closed = judge(defined("one"), defined("two"))
    assert closed == {"shop__two": "shop__two cannot be used: its server has had too many tools."}
    assert PinnedTool.objects.count() == 3


def test_definition_that_has_changed_again_is_not_accepted() -> None:
    judge(READ)
    judge(defined("read", "Other."))
    shown = pinned().other_digest
    judge(defined("read", "Evil."))
    assert not pinned().accept(shown, by="ada")
    assert not pinned().accept("", by="ada")
    assert pinned().accepted_definition.description == "Read it."


# --- Several workers


def at_once(*calls: Callable[[], Judgement]) -> list[Judgement]:
    ready = Barrier(len(calls))

    def run(call: Callable[[], Judgement]) -> Judgement:
        ready.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_workers_that_see_a_server_at_once_make_one_row_for_each_tool() -> None:
    found = at_once(*[lambda: judged("shop", [READ, WRITE], ())] * 4)
    assert [each.closed for each in found] == [{}] * 4
    assert PinnedTool.objects.count() == 2


def test_one_of_the_workers_that_see_a_change_at_once_logs_it() -> None:
    judge(READ)
    changed = defined("read", "Other.")
    found = at_once(*[lambda: judged("shop", [changed], ())] * 4)
    assert [list(each.closed) for each in found] == [["shop__read"]] * 4
    assert sorted(each.found for each in found) == [[], [], [], ["shop__read"]]


def test_change_is_stored_by_one_worker_and_not_over_what_was_accepted_meanwhile() -> None:
    judge(READ)
    looked_up, changed = pinned(), defined("read", "Other.")
    assert note(looked_up, Seen.of(changed))
    assert not note(looked_up, Seen.of(changed))
    assert pinned().accept(pinned().other_digest, by="ada")
    assert not note(looked_up, Seen.of(READ))
    assert pinned().state == "open"


async def test_log_names_each_closed_tool_once_and_the_command(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pins = Pins(in_database, {"shop": McpTable()})
    await pins.judge("shop", [READ])
    with caplog.at_level(logging.WARNING):
        for description in ("One.", "Two.", "Three."):
            await pins.judge("shop", [defined("read", description)])
    [record] = [each for each in caplog.records if each.name == "tooling.mcp.pins"]
    assert "shop__read" in record.getMessage()
    assert "manage.py mcp accept shop" in record.getMessage()


async def test_tools_are_closed_while_the_database_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def away(call: Callable[[], Any]) -> Any:
        raise OperationalError("gone\nfor now")

    pins = Pins(away, {"shop": McpTable()})
    for _ in range(3):
        closed = await pins.judge("shop", [READ])
        assert "the database does not tell" in closed["shop__read"]
    [record] = [each for each in caplog.records if each.name == "tooling.mcp.pins"]
    assert record.getMessage() == "MCP server shop: no definition can be looked up: gone"
    assert await Pins(in_database, {"shop": McpTable()}).judge("shop", [READ]) == {}


async def test_database_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tooling.mcp.pins.DATABASE_TIMEOUT", 0.05)

    async def hangs(call: Callable[[], Any]) -> Any:
        await asyncio.Event().wait()

    closed = await Pins(hangs, {"shop": McpTable()}).judge("shop", [READ])
    assert list(closed) == ["shop__read"]


# --- The admin


@pytest.fixture
def staff(client: Client) -> User:
    user = User.objects.create_user("ada", is_staff=True)
    codenames = ("view_pinnedtool", "change_pinnedtool")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def page_of(pin: PinnedTool) -> str:
    return reverse("admin:tooling_pinnedtool_change", args=[pin.pk])


def change() -> PinnedTool:
    judge(READ)
    judge(defined("read", "Read it <b>all</b>.", like=by_number))
    return pinned()


def test_page_shows_what_differs_and_accepts_it(client: Client, staff: User) -> None:
    pin = change()
    assert "Changed" in client.get(reverse("admin:tooling_pinnedtool_changelist")).text
    shown = client.get(page_of(pin)).text
    assert "&lt;b&gt;all&lt;/b&gt;." in shown
    assert "&quot;type&quot;: &quot;integer&quot;" in shown
    client.post(page_of(pin), {"digest": pin.other_digest})
    assert (pinned().state, pinned().accepted_by) == ("open", "ada")
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr) == (staff, "shop: read")
    assert judge(defined("read", "Read it <b>all</b>.", like=by_number)) == {}


def test_page_accepts_only_what_it_has_shown(client: Client, staff: User) -> None:
    pin = change()
    judge(defined("read", "Evil."))
    response = client.post(page_of(pin), {"digest": pin.other_digest}, follow=True)
    assert "another one by now" in response.text
    assert pinned().state == "changed"
    assert not LogEntry.objects.exists()


def test_accepting_needs_its_permission(client: Client, staff: User) -> None:
    staff.user_permissions.set(Permission.objects.filter(codename="view_pinnedtool"))
    pin = change()
    assert 'value="Accept"' not in client.get(page_of(pin)).text
    assert client.post(page_of(pin), {"digest": pin.other_digest}).status_code == 403
    staff.user_permissions.clear()
    assert client.get(page_of(pin)).status_code == 403


# --- The command


def mcp(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("mcp", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_command_lists_servers_and_tools_with_their_states(configure: Configure) -> None:
    configure('[mcp.shop]\ncommand = ["shop"]\n[mcp.other]\ncommand = ["other"]')
    judge(READ, WRITE)
    judge(defined("read", "Other."))
    out, _ = mcp()
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["server", "tool", "state"],
        ["other", "–", "not"],
        ["shop", "read", "closed:"],
        ["shop", "write", "open"],
    ]


def test_command_shows_what_differs_and_accepts_it() -> None:
    pin = change()
    out, _ = mcp("diff", "shop")
    assert "    - it." in out
    assert "    + it <b>all</b>." in out
    assert '    +       "type": "integer"' in out
    assert pinned().state == pin.state == "changed"
    out, err = mcp("accept", "shop", "shop__read")
    assert "    + it <b>all</b>." in out
    assert "shop__read is accepted." in err
    assert (pinned().state, pinned().accepted_by) == ("open", "terminal")
    assert mcp("diff", "shop") == ("", "Nothing differs from what was accepted.\n")


@pytest.mark.parametrize("arguments", [("diff", "shop"), ("accept", "shop", "nothing")])
def test_command_knows_no_server_or_tool_that_was_never_seen(arguments: tuple[str, ...]) -> None:
    if "nothing" in arguments:
        judge(READ)
    with pytest.raises(CommandError, match="There is no"):
        mcp(*arguments)


def test_difference_that_would_take_minutes_is_told_roughly() -> None:
    started = time.perf_counter()
    difference = difference_of(
        models.Defined("read", "Reads.", {"enum": [0, 1] * 1400}),
        models.Defined("read", "Reads.", {"enum": [0, 2] * 1400}),
    )
    assert time.perf_counter() - started < 1
    assert [part.kind for part in difference.schema] == ["same", "gone", "new", "same"]
    assert difference.schema[0].text == '{\n  "enum": [\n    0,\n'
