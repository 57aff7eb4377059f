"""An edited question that the server does not take: its box and the turns below come back."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from playwright.async_api import Browser, expect

from chat.conversations import Conversation
from chat.models import Run

from .browsing import MARKS
from .conversations import address, conversation_of, run_of
from .staging import Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

REFUSAL = '<footer><p data-trouble-words role="alert">Three answers are running.</p></footer>'


@pytest.fixture
def chat(transactional_db: None, client: Client, async_client: AsyncClient) -> Conversation:
    """Return a chat of two questions."""
    found = conversation_of(client)
    async_client.cookies = client.cookies
    for question in ("one", "two"):
        run_of(found, question)
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, chat: Conversation, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client) as stage:
        await stage.open(address(chat))
        yield stage


async def expect_questions(stage: Stage, *texts: str) -> None:
    await expect(stage.page.locator(".bubble:visible")).to_have_text(list(texts))


async def edit_the_first(stage: Stage, text: str) -> None:
    await stage.page.get_by_role("button", name="Edit this question").first.click()
    await stage.page.locator(".edit textarea").fill(text)
    await stage.page.locator(".edit textarea").press("Enter")
    await stage.wait(0)


async def test_refused_edit_returns_to_its_box_with_the_reason(
    stage: Stage, chat: Conversation
) -> None:
    first = await sync_to_async(Run.objects.get)(question__text="one")
    await edit_the_first(stage, "other")
    request = await stage.next_request()
    assert (request["message"], request["branch_of"]) == ("other", str(first.pk))
    await expect_questions(stage, "other")
    await expect(stage.page.locator(".versions-place")).to_have_text("2 of 2")
    error = {"code": "too_many_runs", "message": "Too many."}
    stage.send("error", 0, REFUSAL, run="", error=error)
    await expect_questions(stage, "two")
    await expect(stage.page.locator(".edit textarea")).to_have_value("other")
    await expect(stage.page.get_by_role("alert")).to_have_text("Three answers are running.")
    # Nothing is left that a reload would ask.
    await stage.page.reload()
    await expect_questions(stage, "one", "two")
    await stage.page.get_by_role("button", name="Edit this question").first.click()
    await expect(stage.page.locator(".edit textarea")).to_have_value("other")
    assert stage.requests.empty()


async def test_edit_that_was_sent_before_a_reload_is_asked_once_more(stage: Stage) -> None:
    await edit_the_first(stage, "other")
    request = await stage.next_request()
    await stage.page.reload()
    await stage.wait(0)
    assert await stage.next_request() == request
    await expect_questions(stage, "other")


async def test_unchanged_question_is_asked_again(stage: Stage) -> None:
    await edit_the_first(stage, "one")
    request = await stage.next_request()
    assert "branch_of" not in request
    assert request["rerun_of"]
    await expect_questions(stage, "one", "two")


async def test_edit_of_a_chat_that_is_gone_returns_to_the_composer(
    stage: Stage, chat: Conversation
) -> None:
    await stage.page.get_by_role("button", name="Edit this question").first.click()
    await stage.page.locator(".edit textarea").fill("other")
    await sync_to_async(chat.delete)()
    await stage.page.evaluate("dispatchEvent(new Event('focus'))")
    await stage.wait(200)
    await expect(stage.page.get_by_text("This chat is gone")).to_be_visible()
    await expect(stage.page.locator("#composer-text")).to_have_value("other")
