"""The list of chats in a real Chromium: its menu by touch, its search by keyboard."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from playwright.async_api import Browser
from playwright.async_api import expect as expect_async
from playwright.sync_api import expect

from chat.conversations import Conversation
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .browsing import MARKS, Open, ask, expect_ready_for_the_next
from .conversations import address, conversation_of, run_of
from .staging import Stage, stages

pytestmark = MARKS
NARROW = {"width": 390, "height": 700, "has_touch": True, "is_mobile": True}


def test_chats_are_pinned_renamed_and_deleted_by_touch_without_opening_them(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = open_page(fleet.address, **NARROW)
    for question in ("first", "second", "third"):
        page.locator("#composer-text").fill(question)
        page.locator("#send").tap()
        expect(page.locator("#room-title h1")).to_have_text(question)
        expect_ready_for_the_next(page)
        page.goto(fleet.address)
    page.locator("#drawer-button").tap()
    titles = page.locator(".chat-title")
    expect(titles).to_have_text(["third", "second", "first"])

    page.get_by_label("Menu of “first”").tap()
    menu = page.locator("#chat-menu")
    for button in menu.locator("button:visible").all():
        box = button.bounding_box()
        assert box
        assert box["height"] >= 40
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    menu.get_by_role("button", name="Pin", exact=True).tap()
    expect(titles).to_have_text(["first", "third", "second"])
    expect(page.locator("#conversations .group")).to_have_text(["Pinned", "Today"])

    page.get_by_label("Menu of “second”").tap()
    menu.get_by_role("button", name="Rename").tap()
    expect(page.get_by_label("Title")).to_have_value("second")
    page.get_by_label("Title").fill("A new title")
    page.locator("#rename").get_by_role("button", name="Rename").tap()
    expect(titles).to_have_text(["first", "third", "A new title"])
    expect(page.locator("#rename")).to_be_hidden()

    page.get_by_label("Menu of “third”").tap()
    menu.get_by_role("button", name="Delete").tap()
    expect(page.locator("#delete")).to_contain_text("“third” and all its answers")
    page.locator("#delete .danger").tap()
    expect(titles).to_have_text(["first", "A new title"])
    expect(page).to_have_url(fleet.address)
    expect(page.locator(".drawer-open")).to_be_attached()


def test_menu_of_a_row_works_by_keyboard_and_the_open_chat_follows(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = open_page(fleet.address)
    ask(page, "alone")
    expect_ready_for_the_next(page)
    more = page.get_by_label("Menu of “alone”")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chat-menu button:visible").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#chat-menu")).to_be_hidden()
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # Pin
    expect(page.locator("#conversations .group")).to_have_text(["Pinned"])
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # Rename
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(page.locator("#room-title h1")).to_have_text("Renamed")
    expect(page).to_have_title("Renamed · AgenticFleet")
    page.locator(".room-title summary").click()
    expect(page.locator(".room-title [data-chat-action=unpin]")).to_be_visible()
    expect(page.locator(".room-title [data-chat-action=pin]")).to_be_hidden()


# --- The search


@pytest.fixture
def chat(transactional_db: None, client: Client, async_client: AsyncClient) -> Conversation:
    """Store a chat that is too long for one page, with one word far up, and another chat."""
    found = conversation_of(client, "The long one")
    for number in range(1, 41):
        run_of(found, f"question {number}", "A penguin." if number == 3 else "Yes. " * 200)
    conversation_of(client, "Another one")
    async_client.cookies = client.cookies
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, chat: Conversation, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client) as stage:
        yield stage


@pytest.mark.asyncio(loop_scope="module")
async def test_search_leads_to_its_place_by_keyboard(stage: Stage, chat: Conversation) -> None:
    page, rows = stage.page, stage.page.locator("#conversations .chat")
    await stage.open()
    await expect_async(rows).to_have_text([re.compile("Another one"), re.compile("The long one")])
    await page.keyboard.press("Control+k")
    await page.keyboard.type("PENGUIN")
    await stage.wait(300)
    place = page.locator(".place")
    await expect_async(place).to_have_text(re.compile("Answer 3.*A penguin", re.DOTALL))
    await expect_async(place.locator("mark")).to_have_text("penguin")
    await page.keyboard.press("Escape")
    await stage.wait(0)
    await expect_async(rows).to_have_count(2)
    await expect_async(page.locator("#search")).to_be_focused()

    await page.keyboard.type("penguin")
    await stage.wait(300)
    await expect_async(place).to_be_visible()
    await page.keyboard.press("ArrowDown")
    await expect_async(rows).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect_async(place).to_be_focused()
    await page.keyboard.press("Enter")
    question = await sync_to_async(chat.messages.get)(text="question 3")
    await page.wait_for_url(f"**{address(chat)}#turn-{question.pk}")
    found = page.locator(f"#turn-{question.pk}")
    await expect_async(found.locator(".bubble")).to_be_in_viewport()
    await expect_async(page.locator(".turn:target .bubble")).to_have_text("question 3")
    await expect_async(page.get_by_role("button", name="Show later questions")).to_be_attached()
