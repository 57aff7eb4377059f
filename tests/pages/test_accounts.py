"""Pages that outlast a sign-in or a sign-out in another tab: nothing is done as somebody else."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from playwright.async_api import Browser, Route, expect

from chat.access.browsers import account_tag
from chat.access.owners import Owner
from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from tests.chatting import Chatting, chat_request, cookie_header

from .browsing import MARKS
from .conversations import HTMX, address, run_of
from .staging import Stage, stages

EVENT = "kind => dispatchEvent(new PageTransitionEvent(kind, { persisted: true }))"
LULL = 200  # ms before a page looks for news
ORIGIN = "http://testserver"


def person(name: str) -> tuple[Client, str]:
    """Return the browser of a user and the tag that its pages have."""
    client = Client()
    user = User.objects.create_user(name)
    client.force_login(user)
    return client, account_tag(Owner("user", str(user.pk)))


def chat_of(client: Client) -> Conversation:
    owner = f"user:{client.session['_auth_user_id']}"
    return Conversation.objects.create(owner=owner, title="private")


@pytest.mark.django_db
class TestRequests:
    def send(self, client: Client, path: str, account: str) -> tuple[bool, str]:
        """Return True if the page is told to load anew, and what it got."""
        method = client.post if path.endswith(("rename/", "delete/", "rating/")) else client.get
        fields = {"title": "renamed", "rating": "up"}
        response = method(path, fields, headers={**HTMX, "Fleet-Account": account})
        return response.headers.get("HX-Refresh") == "true", response.content.decode()

    @pytest.mark.parametrize("kind", ["teammate", "stranger"])
    def test_page_of_another_account_gets_nothing_but_a_reload(self, kind: str) -> None:
        ann, tag = person("ann")
        other = person("bob")[0] if kind == "teammate" else Client()
        chat = chat_of(ann)
        chat_path, run = address(chat), run_of(chat)
        paths = [chat_path, "/chats/", "/chats/?q=private", f"/answers/{run.pk}/"]
        paths += [f"{chat_path}{name}/" for name in ("turns", "totals", "rename", "delete")]
        for path in (*paths, f"/answers/{run.pk}/rating/"):
            assert self.send(other, path, tag) == (True, "")
        # Neither does a page from before ann has signed in, even where she may do it.
        assert self.send(ann, f"{chat_path}rename/", "") == (True, "")
        chat.refresh_from_db()
        assert chat.title == "private"

    def test_page_of_the_account_gets_what_it_asks_for(self) -> None:
        ann, tag = person("ann")
        chat_of(ann)
        is_reload, html = self.send(ann, "/chats/", tag)
        assert not is_reload
        assert "private" in html

    def test_page_of_a_browser_gets_what_it_asks_for(self, client: Client) -> None:
        assert not self.send(client, "/chats/", "")[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["ann", "bob", "browser"])
async def test_question_of_a_page_is_asked_as_nobody_else(chat: Chatting, who: str) -> None:
    ann, tag = await in_database(person, "ann")
    others = {"ann": lambda: ann, "bob": lambda: person("bob")[0], "browser": Client}
    client = await in_database(others[who])
    await in_database(client.get, "/")
    headers = {"cookie": cookie_header(client), "origin": ORIGIN}
    socket = await chat.ask(chat_request(), headers=headers, query=f"account={tag}")
    event = await socket.event()
    if who == "ann":
        assert event["type"] == "connected"
        await socket.rest()
    else:
        assert event["error"]["message"].endswith("Reload it.")
        assert await socket.close_code() == 4401
    assert await Run.objects.acount() == (who == "ann")


# --- The page


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    transactional_db: None, staging: Browser, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    """Show a page of ann."""
    user = await User.objects.acreate(username=f"ann-{uuid.uuid4()}")
    await async_client.aforce_login(user)
    async with stages(staging, async_client) as stage:
        await stage.open()
        yield stage


@pytest.mark.asyncio(loop_scope="module")
class TestPage:
    pytestmark = MARKS

    async def test_page_whose_reader_signed_out_elsewhere_loads_anew(self, stage: Stage) -> None:
        await stage.page.locator("#composer-text").fill("a draft of ann")
        stage.client.cookies.clear()
        await stage.page.evaluate("dispatchEvent(new Event('focus'))")
        await stage.wait(LULL)
        await expect(stage.page.locator("#account .who")).to_have_text("This browser")
        await expect(stage.page.locator("#composer-text")).to_have_value("")

    async def test_question_on_its_way_is_not_asked_as_somebody_else_after_back(
        self, stage: Stage
    ) -> None:
        await stage.ask("private")
        await stage.page.evaluate(EVENT, "pagehide")
        stage.client.cookies.clear()
        may_answer = asyncio.Event()

        async def confirm(route: Route) -> None:
            await may_answer.wait()
            await stage.serve(route)

        await stage.page.route("**/current/*", confirm)
        await stage.page.evaluate(EVENT, "pageshow")
        await stage.wait(LULL)
        may_answer.set()
        await expect(stage.page.locator("#account .who")).to_have_text("This browser")
        await stage.wait(LULL)
        assert stage.requests.empty()

    async def test_socket_tells_whose_page_it_is(self, stage: Stage) -> None:
        await stage.ask()
        assert stage.socket is not None
        tag = await stage.page.locator("#room").get_attribute("data-account")
        assert tag
        assert f"account={tag}" in stage.socket.url
