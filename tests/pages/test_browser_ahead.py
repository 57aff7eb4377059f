"""The path that a question would take, on the page before it is sent; and what auto prefers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from django.test import AsyncClient
from playwright.async_api import Browser, Locator, expect
from pytest_django import Settings

from .browsing import MARKS
from .staging import Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

EASY = "What is the capital of Peru?"
HARD = "Compare Kafka and RabbitMQ, and write a migration plan with costs, risks and a timeline."
PAUSE, SAID_AFTER = 300, 1_500  # ms, as in static/chat/ahead.js


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient, settings: Settings
) -> AsyncIterator[Stage]:
    settings.FLEET_LIGHT_THRESHOLD = None
    async with stages(staging, async_client) as stage:
        await stage.open()
        first = stage.may_answer
        yield stage
        # A page doesn't close while something of it waits.
        first.set()
        stage.may_answer.set()


def hint(stage: Stage) -> Locator:
    return stage.page.locator("#ahead")


def said(stage: Stage) -> Locator:
    return stage.page.locator("#announce")


async def write(stage: Stage, text: str) -> None:
    await stage.page.locator("#composer-text").fill(text)


async def choose(stage: Stage, name: str, value: str) -> None:
    await stage.page.locator("#how > summary").click()
    await stage.page.locator(f"#how [data-choice={name}] [data-value={value}]").click()


async def test_path_is_shown_in_a_pause_of_typing_and_said_in_a_longer_one(stage: Stage) -> None:
    for letters in range(10, len(EASY) + 1):
        await write(stage, EASY[:letters])
    assert stage.forms.empty()
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_have_text("One agent")
    sent = await stage.next_form()
    assert sent == {"message": EASY, "preference": "balanced"}
    assert stage.forms.empty(), "one request for all letters"
    await stage.wait(SAID_AFTER // 2)
    await expect(said(stage)).to_have_text("")
    await stage.wait(SAID_AFTER // 2)
    await expect(said(stage)).to_have_text("One agent would answer")
    await write(stage, HARD)
    await expect(hint(stage)).to_have_text("One agent")
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_have_text("The team")
    # What is known of this text is no longer known of the next.
    await write(stage, "")
    await expect(hint(stage)).to_be_hidden()


async def test_newer_text_gives_up_the_request_for_an_older_one(stage: Stage) -> None:
    older = stage.may_answer
    older.clear()
    await write(stage, HARD)
    await stage.wait(PAUSE)
    assert (await stage.next_form())["message"] == HARD
    stage.may_answer = asyncio.Event()
    stage.may_answer.set()
    async with stage.page.expect_event("requestfailed") as given_up:
        await write(stage, EASY)
    assert HARD.split()[0] in ((await given_up.value).post_data or "")
    await stage.wait(PAUSE)
    assert (await stage.next_form())["message"] == EASY
    await expect(hint(stage)).to_have_text("One agent")
    older.set()


async def test_sending_waits_for_nothing_and_takes_the_hint_away(stage: Stage) -> None:
    stage.may_answer.clear()
    await write(stage, EASY)
    await stage.wait(PAUSE)
    await stage.next_form()
    request = await stage.ask(EASY)
    assert (request["mode"], request["preference"]) == ("auto", "balanced")
    stage.may_answer.set()
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_be_hidden()
    assert stage.forms.empty()


async def test_nothing_is_asked_for_a_path_that_is_chosen(stage: Stage) -> None:
    await write(stage, EASY)
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_be_visible()
    await stage.next_form()
    await choose(stage, "mode", "full")
    await expect(hint(stage)).to_be_hidden()
    await expect(stage.page.locator("#how [data-choice=preference]")).to_have_count(1)
    await write(stage, HARD)
    await stage.wait(PAUSE)
    assert stage.forms.empty()
    await stage.page.locator("#how > summary").click()
    await expect(stage.page.locator("#how [data-choice=preference]")).to_be_hidden()
    await stage.page.locator("#how > summary").click()
    await choose(stage, "mode", "auto")
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_have_text("The team")


@pytest.mark.parametrize("text", ["Hi", "x" * 4_001])
async def test_nothing_is_asked_for_texts_of_odd_length(stage: Stage, text: str) -> None:
    await write(stage, text)
    await stage.wait(PAUSE)
    assert stage.forms.empty()


async def test_preference_is_kept_by_the_server_and_shown_in_both_menus(stage: Stage) -> None:
    summary = stage.page.locator("#how > summary")
    await choose(stage, "preference", "economy")
    await expect(summary).to_have_text("How to answer: Auto · Economy")
    assert await stage.next_form() == {"preference": "economy"}
    settings = stage.page.locator("#account [data-choice=preference]")
    await expect(settings.locator("[data-value=economy]")).to_have_attribute("aria-pressed", "true")
    await stage.page.reload()
    await expect(summary).to_have_text("How to answer: Auto · Economy")
    assert (await stage.ask())["preference"] == "economy"
    await stage.page.locator("#account > summary").click()
    await settings.locator("[data-value=quality]").click()
    await expect(summary).to_have_text("How to answer: Auto · Quality")
    assert await stage.next_form() == {"preference": "quality"}
    await expect(settings).to_be_visible()  # the menu stays open


async def test_axe_finds_no_fault_in_the_hint_and_the_settings(stage: Stage) -> None:
    await write(stage, HARD)
    await stage.wait(PAUSE)
    await expect(hint(stage)).to_be_visible()
    await stage.page.locator("#account > summary").click()
    await stage.page.clock.resume()  # axe waits in timers
    results = await Axe().run(stage.page, options={"resultTypes": ["violations"]})
    assert results.response["violations"] == []


async def test_hint_moves_no_button(stage: Stage) -> None:
    for width in (320, 600, 1280):
        await stage.page.set_viewport_size({"width": width, "height": 640})
        places = []
        for text in (" ", EASY):
            await write(stage, text)
            await stage.wait(PAUSE)
            await expect(hint(stage)).to_be_visible(visible=text == EASY)
            boxes = [
                await stage.page.locator(each).bounding_box()
                for each in ("#how > summary", "#send")
            ]
            places.append(boxes)
        assert places[0] == places[1]
        assert await stage.page.evaluate("document.documentElement.scrollWidth") <= width
