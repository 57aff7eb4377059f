"""Limits that are reached, on the page: it says when to come back, and loses no word."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from django.test import AsyncClient
from playwright.async_api import Browser, expect
from pytest_django import Settings

from chat.access.limits import Bound
from chat.access.reached import reached
from chat.conversations import Conversation
from chat.protocol.events import Error
from chat.rendering.answer import AnswerView

from .browsing import MARKS
from .conversations import owner_of
from .staging import CONVERSATION, Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient, settings: Settings
) -> AsyncIterator[Stage]:
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, message=100)
    async with stages(staging, async_client) as stage:
        await stage.open()
        yield stage


def refuse(stage: Stage, bound: Bound, wait: float) -> None:
    """Send what the server sends if this bound is reached."""
    fault = reached(bound, wait)
    error = {"code": fault.code, "message": fault.message, "retry_after_s": fault.retry_after_s}
    stage.send("error", 0, AnswerView("").render(Error(error=fault)), run="", error=error)


async def test_question_beyond_the_limit_is_kept_and_asked_again_after_the_countdown(
    stage: Stage,
) -> None:
    await stage.ask()
    refuse(stage, Bound("questions", "owner", "user:1", 20), 12)
    words = stage.page.locator("article.answer [role=alert]")
    await expect(words).to_have_text(
        "Your limit of 20 questions a minute is reached. Try again in 12 s."
    )
    await expect(stage.page.locator("#composer-text")).to_have_value("Which one?")
    await stage.wait(5_000)
    await expect(words).to_contain_text(re.compile(r"Try again in [78] s\."))
    await stage.wait(8_000)
    await expect(words).to_contain_text("Try again now.")
    await stage.page.get_by_role("button", name="Ask again").click()
    await stage.wait(0)
    assert (await stage.next_request())["message"] == "Which one?"
    await expect(stage.page.locator("#composer-text")).to_have_value("")


async def test_answer_that_goes_on_is_joined_again_when_sockets_are_allowed(stage: Stage) -> None:
    await Conversation.objects.acreate(pk=CONVERSATION, owner=owner_of(stage.client))
    request = await stage.begin()
    stage.show(2, "step", "So far")
    await expect(stage.page.locator("#step")).to_be_attached()
    await stage.page.evaluate("dispatchEvent(new Event('online'))")  # so it opens a new socket
    await stage.wait(0)
    assert await stage.next_request() == {**request, "after": 2}
    refuse(stage, Bound("handshakes", "address", "address:203.0.113.7", 300), 9)
    await expect(stage.link_state).to_contain_text("Try again in 9 s.")
    await stage.wait(8_900)
    assert stage.requests.empty()
    await stage.wait(100)
    assert await stage.next_request() == {**request, "after": 2}
    await expect(stage.page.locator("#step")).to_have_text("So far")
    await expect(stage.page.locator("#composer-text")).to_have_value("")


async def test_box_counts_to_the_limit_of_the_server(stage: Stage) -> None:
    box = stage.page.locator("#composer-text")
    await box.fill("x" * 101)
    await expect(stage.page.locator("#count")).to_have_text("101 of 100 characters")
    await expect(stage.page.locator("#send")).to_be_disabled()
    await box.fill("x" * 100)
    await expect(stage.page.locator("#send")).to_be_enabled()
