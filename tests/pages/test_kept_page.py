"""A page that the browser has kept for Back: the server says whether it may be shown again."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from playwright.async_api import Browser, expect

from chat.access.browsers import reader_tag
from chat.access.owners import Owner
from chat.conversations import Conversation

from .browsing import MARKS
from .conversations import address, conversation_of, owner_of, run_of
from .staging import Stage, stages

LULL = 200  # ms before a page looks for news
EVENT = "kind => dispatchEvent(new PageTransitionEvent(kind, { persisted: true }))"


def tag_of(owner: str) -> str:
    kind, _, owner_id = owner.partition(":")
    return reader_tag(Owner(kind, owner_id))


@pytest.mark.django_db
class TestAnswerOfTheServer:
    def ask(self, client: Client, reader: str, conversation: object = "") -> dict[str, object]:
        response = client.get("/current/", {"reader": reader, "conversation": str(conversation)})
        assert response.status_code == 200
        return response.json()

    def test_owner_may_see_the_page(self, client: Client) -> None:
        chat = conversation_of(client)
        reader = tag_of(chat.owner)
        assert self.ask(client, reader) == {"is_current": True}
        assert self.ask(client, reader, chat.pk) == {"is_current": True}

    @pytest.mark.parametrize("person", ["teammate", "stranger"])
    def test_others_learn_nothing(self, client: Client, stranger: Client, person: str) -> None:
        chat = conversation_of(client)
        run_of(chat)
        if person == "teammate":
            user = User.objects.create_superuser("bob")
            stranger.force_login(user)
            own = tag_of(f"user:{user.pk}")
        else:
            own = tag_of(owner_of(stranger))
        no = {"is_current": False}
        for reader in (tag_of(chat.owner), ""):
            assert self.ask(stranger, reader) == no
            assert self.ask(stranger, reader, chat.pk) == no
        assert self.ask(stranger, own, chat.pk) == self.ask(stranger, own, uuid.uuid4()) == no

    def test_page_of_the_browser_is_old_once_somebody_has_signed_in(self, client: Client) -> None:
        reader = tag_of(owner_of(client))
        client.force_login(User.objects.create_user("ann"))
        assert self.ask(client, reader) == {"is_current": False}


@pytest.fixture
def chat(transactional_db: None, client: Client, async_client: AsyncClient) -> Conversation:
    found = conversation_of(client)
    run_of(found)
    async_client.cookies = client.cookies
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, chat: Conversation, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client) as stage:
        await stage.open(address(chat))
        await stage.page.evaluate("document.body.dataset.old = ''")
        await stage.page.evaluate(EVENT, "pagehide")
        await expect(stage.page.locator("body")).to_have_css("opacity", "0")
        yield stage


@pytest.mark.asyncio(loop_scope="module")
class TestPage:
    pytestmark = MARKS

    async def show(self, stage: Stage) -> None:
        """Show the page again, and let it look for news."""
        await stage.page.evaluate(EVENT, "pageshow")
        await expect(stage.page.locator("body")).to_have_css("opacity", "1")
        await stage.wait(LULL)

    async def test_page_that_is_current_is_shown_as_it_was(self, stage: Stage) -> None:
        await stage.page.evaluate(EVENT, "pageshow")
        await expect(stage.page.locator("body")).to_have_css("opacity", "1")
        await expect(stage.page.locator("body[data-old]")).to_be_attached()

    async def test_page_brings_its_list_up_to_date(self, stage: Stage, chat: Conversation) -> None:
        await Conversation.objects.acreate(owner=chat.owner, title="Asked elsewhere")
        await self.show(stage)
        await expect(stage.page.locator(".chats")).to_contain_text("Asked elsewhere")

    async def test_deleted_chat_is_not_shown(self, stage: Stage, chat: Conversation) -> None:
        await chat.adelete()
        await stage.page.evaluate(EVENT, "pageshow")
        await expect(stage.page.get_by_role("heading", name="Not found")).to_be_visible()

    async def test_private_chat_is_not_shown_after_sign_out(self, stage: Stage) -> None:
        stage.client.cookies.clear()
        await stage.page.evaluate(EVENT, "pageshow")
        await expect(stage.page.get_by_role("heading", name="Not found")).to_be_visible()

    async def test_answer_from_elsewhere_is_shown(self, stage: Stage, chat: Conversation) -> None:
        await sync_to_async(run_of)(chat, "Asked in another tab?")
        await self.show(stage)
        await expect(stage.page.locator(".bubble").last).to_have_text("Asked in another tab?")
        await expect(stage.page.locator("body[data-old]")).to_be_attached()
