"""No page has a fault that axe-core finds, in either theme, wide or narrow."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from chat.protocol.requests import MAX_MESSAGE
from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Script, ScriptedModel
from tests.serving import MANAGE, Fleet, running

from .browsing import (
    EVERY_KIND,
    MARKS,
    Open,
    ask,
    expect_ready_for_the_next,
)

pytestmark = MARKS

# Which run's page is checked, as a condition of SQL. The fleet ends the demo's live runs as lost.
RUNS = {
    "team": "path = 'full' and status = 'completed' and not escalated and sla_met",
    "light": "path = 'light' and status = 'completed' and tool_calls > 0",
    "failed": "status = 'failed' and steps != '[]'",
    "cancelled": "status = 'cancelled' and path = 'full'",
    "lost": "error_code = 'worker_lost'",
    "paused": "status = 'paused'",
    "taken over": "epoch = 1",
    "continuing": "continues_id is not null",
    "old": "status = 'completed' and sla_met is null and path = 'full'",
}
ASKS = {
    "open": "state = 'open' and kind = 'approval'",
    "form": "state = 'open' and kind = 'form'",
    "answered": "replied_at is not null",
    "expired": "state = 'expired'",
}
PAGES = {
    "dashboard": "/admin/?range=month",
    "runs": "/admin/chat/run/",
    "runs found": "/admin/chat/run/?status=failed&from=2026-01-01",
    "no runs": "/admin/chat/run/?q=zebras",
    "asks": "/admin/chat/ask/",
    "asks found": "/admin/chat/ask/?state=open&approver=staff",
    "conversations": "/admin/chat/conversation/",
    "routing decisions": "/admin/routing/routingdecision/",
    "light and full compared": "/admin/routing/comparison/",
    "cached results": "/admin/tooling/cachedresult/",
    "refused parts": "/admin/chat/refusedpart/",
    "tokens": "/admin/chat/token/",
    "a new token": "/admin/chat/token/add/",
    "configurations": "/admin/chat/configtext/",
    "tools of MCP servers": "/admin/tooling/pinnedtool/",
    "services": "/admin/chat/service/",
    "a person's tokens": "/account/tokens/",
}
VIEWS = [("light", 1440), ("dark", 390)]


# What fades in or out has other colours meanwhile.
STILL = {"reduced_motion": "reduce"}


@dataclass
class Site:
    """A fleet whose database has the demo, with an operator."""

    fleet: Fleet

    def address(self, path: str) -> str:
        return self.fleet.address.rstrip("/") + path

    def id(self, table: str, condition: str) -> str:
        with closing(sqlite3.connect(self.fleet.folder / "state/fleet.sqlite3")) as database:
            row = database.execute(f"select id from {table} where {condition} limit 1").fetchone()
        return str(row[0])

    def let_staff_decide(self, ask_id: str) -> None:
        with closing(sqlite3.connect(self.fleet.folder / "state/fleet.sqlite3")) as database:
            database.execute(
                "update chat_ask set approver = 'perm:chat.export_run' where id = ?", [ask_id]
            )
            database.commit()

    def store_what_changed(self) -> None:
        """Store two configurations, and a tool of an MCP server that has another definition."""
        was, is_now = (
            json.dumps({"name": "read", "description": words, "schema": {"type": "object"}})
            for words in ("Reads a price.", "Reads a price, and more.")
        )
        with closing(sqlite3.connect(self.fleet.folder / "state/fleet.sqlite3")) as database:
            # Those that no run has are kept for a while only.
            database.executemany(
                "insert or replace into chat_configtext (digest, text, first_seen_at)"
                " values (?, ?, datetime('now', ?))",
                [
                    ("a" * 12, 'name = "A"\nrole = "reads"\n', "-1 minute"),
                    ("b" * 12, 'name = "B"\nrole = "reads"\n', "-1 second"),
                ],
            )
            database.execute(
                "insert or ignore into tooling_pinnedtool (server, tool, accepted,"
                " accepted_digest, other, other_digest, first_seen_at, changed_at, accepted_at,"
                " accepted_by) values ('shop', 'read', ?, 'a', ?, 'b', ?, ?, ?, '')",
                [was, is_now, *["2026-01-01 00:00:00"] * 3],
            )
            database.commit()

    def sign_in(self, page: Page) -> None:
        page.locator("#id_username").fill("ada")
        page.locator("#id_password").fill("x")
        page.locator("[type=submit]").click()


def manage(folder: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "FLEET_STATE_DIR": str(folder / "state"),
        "DJANGO_SUPERUSER_PASSWORD": "x",
    }
    subprocess.run([sys.executable, MANAGE, *arguments], check=True, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("fleet")
    manage(folder, "migrate", "--verbosity", "0")
    manage(folder, "seed_demo", "--runs", "400")
    manage(folder, "createsuperuser", "--noinput", "--username", "ada", "--email", "a@b.example")
    with running(
        folder, model_server, FLEET_APPROVE="calculator", FLEET_LIGHT_MAX_TOOL_CALLS="3"
    ) as fleet:
        yield Site(fleet)


def faults(page: Page, *rules: str) -> list[str]:
    """Return what axe-core finds by these rules or by all, each with its places."""
    # Details of what is right would take longer than finding what isn't.
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    return [
        f"{fault['id']}: {', '.join(str(node['target']) for node in fault['nodes'][:5])}"
        for fault in Axe().run(page, options=options).response["violations"]
    ]


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_admin(site: Site, open_page: Open, theme: str, width: int) -> None:
    page = open_page(site.address("/admin/"), width=width, color_scheme=theme, **STILL)
    site.sign_in(page)
    addresses = dict(PAGES)
    for kind, condition in RUNS.items():
        addresses[f"{kind} run"] = f"/admin/chat/run/{site.id('chat_run', condition)}/change/"
    conversation = site.id("chat_conversation", "true")
    addresses["conversation"] = f"/admin/chat/conversation/{conversation}/change/"
    decision = site.id("chat_run", RUNS["light"])
    addresses["routing decision"] = f"/admin/routing/routingdecision/{decision}/change/"
    for state, condition in ASKS.items():
        addresses[f"{state} ask"] = f"/admin/chat/ask/{site.id('chat_ask', condition)}/change/"
    site.let_staff_decide(site.id("chat_ask", ASKS["open"]))
    site.store_what_changed()
    addresses["configuration"] = f"/admin/chat/configtext/{'b' * 12}/change/"
    pin = site.id("tooling_pinnedtool", "true")
    addresses["changed tool"] = f"/admin/tooling/pinnedtool/{pin}/change/"
    found = {}
    for name, path in addresses.items():
        response = page.goto(site.address(path))
        assert response is not None
        assert (response.ok, page.url) == (True, site.address(path)), (name, response.status)
        # Folded parts count, too.
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        if faults_of_page := faults(page):
            found[name] = faults_of_page
    page.goto(site.address(addresses["open ask"]))
    page.get_by_label("Change the arguments").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Confirm: Change the arguments")).to_be_visible()
    if faults_of_page := faults(page):
        found["confirm"] = faults_of_page
    assert found == {}


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_chat(site: Site, open_page: Open, theme: str, width: int) -> None:
    page = open_page(site.address("/"), width=width, color_scheme=theme, **STILL)
    assert faults(page) == []
    ask(page, "What is the answer?")
    expect_ready_for_the_next(page)
    assert faults(page) == []


@pytest.mark.parametrize(
    ("theme", "other_theme", "width", "height"),
    [("light", "dark", 1440, 900), ("dark", "light", 360, 225)],
)
def test_states_of_a_chat(
    site: Site,
    open_page: Open,
    model: ScriptedModel,
    theme: str,
    other_theme: str,
    width: int,
    height: int,
) -> None:
    model.on("hold", tokens=[EVERY_KIND, "\n\n```python\nx = 1\ny", " = 2"], hold_after=2)
    model.on("fail", status=500)
    page = open_page(site.address("/"), width=width, height=height, color_scheme=theme, **STILL)
    found = {}

    def look(state: str) -> None:
        if faults_of_page := faults(page):
            found[state] = faults_of_page
        # Only colours differ between the themes.
        page.emulate_media(color_scheme=other_theme)
        if faults_of_page := faults(page, "color-contrast"):
            found[f"{state} ({other_theme})"] = faults_of_page
        page.emulate_media(color_scheme=theme)

    ask(page, "hold")
    expect(page.locator(".prose .code").last).to_contain_text("x = 1")
    page.locator(".prose details:not([open]) > summary").click()
    look("streaming")
    model.release()
    expect_ready_for_the_next(page)
    look("rich answer")
    page.goto(site.address("/"))
    ask(page, "A long question.\n" * 30)
    expect_ready_for_the_next(page)
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    look("folded question")
    ask(page, "fail")
    expect_ready_for_the_next(page)
    page.locator(".aside > summary").last.click()
    look("details of a failed answer")
    page.locator("#composer-text").fill("x" * (MAX_MESSAGE + 1))
    expect(page.locator("#count")).to_be_visible()
    look("count of a question that is too long")
    page.locator("#composer-text").fill("")
    page.locator("#how > summary").click()
    look("menu of modes")
    page.keyboard.press("Escape")
    page.locator(".room-title summary").click()
    expect(page.locator(".totals dl")).to_be_attached()
    look("menu of the chat")
    page.get_by_role("button", name="Rename").first.click()
    look("dialog")
    page.keyboard.press("Escape")
    page.locator(".room-title summary").click()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    look("dialog of sharing")
    page.keyboard.press("Escape")
    if width < 800:
        page.locator("#drawer-button").click()
        look("drawer")
    page.locator("#account > summary").click()
    look("account menu")
    for name in ("Instructions", "Shared links"):
        page.get_by_role("button", name=name).click()
        expect(page.locator("dialog[open] :is(textarea, .links)")).to_be_visible()
        look(name)
        page.keyboard.press("Escape")
        page.locator("#account > summary").click()
    page.keyboard.press("Escape")
    page.locator("#search").fill("zebra")
    expect(page.get_by_text("No chat has")).to_be_visible()
    look("search that finds nothing")
    page.goto(link)
    look("shared chat")
    assert found == {}


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_chat_that_waits(
    site: Site, open_page: Open, model: ScriptedModel, theme: str, width: int
) -> None:
    sums = [("calculator", '{"expression": "6 * 7"}'), ("calculator", '{"expression": "1 + 1"}')]
    model.as_agent(ASSISTANT.instructions, Script(tokens=["So far."], calls=sums))
    page = open_page(site.address("/"), width=width, color_scheme=theme, **STILL)
    ask(page, "Tell me something")
    expect(page.locator(".ask")).to_have_count(2)
    assert faults(page) == []
    page.get_by_role("button", name="Change").first.click()
    page.get_by_role("button", name="Refuse").first.click()
    page.get_by_role("button", name="Approve").last.click()
    assert faults(page) == []
