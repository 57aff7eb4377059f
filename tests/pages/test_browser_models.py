"""The menu of what is chosen for a question, in a real Chromium, on scripted sockets."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from django.test import AsyncClient
from playwright.async_api import Browser, Locator, expect
from pytest_django import Settings

from .browsing import MARKS
from .staging import RUN, Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

FEW = {"weak": "", "big": "The big one"}
MANY = {f"org/model-{n}": "" for n in range(30)} | {"last": "Ünique/one"}


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient, settings: Settings
) -> AsyncIterator[Stage]:
    settings.FLEET_MODELS = FEW
    async with stages(staging, async_client) as stage:
        yield stage


def summary(stage: Stage) -> Locator:
    return stage.page.locator("#how > summary")


def option(stage: Stage, model: str) -> Locator:
    return stage.page.locator(f'[data-choice=model] [data-value="{model}"]')


async def choose(stage: Stage, model: str) -> None:
    await summary(stage).click()
    await option(stage, model).click()


async def focused(stage: Stage) -> str | None:
    chosen: str | None = await stage.page.evaluate("document.activeElement.dataset.value")
    return chosen


async def test_request_carries_the_chosen_model_and_the_next_page_remembers_it(
    stage: Stage,
) -> None:
    await stage.open()
    await expect(summary(stage)).to_have_text("How to answer: Auto")
    await choose(stage, "big")
    await expect(summary(stage)).to_have_text("How to answer: Auto · The big one")
    await expect(stage.page.locator("#composer-text")).to_be_focused()
    await stage.page.reload()
    await expect(summary(stage)).to_have_text("How to answer: Auto · The big one")
    await expect(option(stage, "big")).to_have_attribute("aria-pressed", "true")
    assert (await stage.ask())["model"] == "big"


async def test_auto_lets_each_path_have_its_own_model(stage: Stage) -> None:
    await stage.open()
    await choose(stage, "big")
    await choose(stage, "")
    assert (await stage.ask())["model"] is None


async def test_remembered_model_that_is_not_offered_any_more_is_auto(
    stage: Stage, settings: Settings
) -> None:
    await stage.open()
    await choose(stage, "big")
    settings.FLEET_MODELS = {"weak": "", "other": ""}
    await stage.page.reload()
    await expect(summary(stage)).to_have_text("How to answer: Auto")
    settings.FLEET_MODELS = {"scripted": ""}
    await stage.page.reload()
    await expect(stage.page.locator("#how")).to_be_visible()
    await expect(stage.page.locator("[data-choice=model]")).to_have_count(0)
    assert (await stage.ask())["model"] is None


async def test_question_that_is_asked_again_gets_the_model_chosen_by_then(stage: Stage) -> None:
    await stage.open()
    await choose(stage, "weak")
    request = await stage.begin()
    assert request["model"] == "weak"
    again = '<button type="button" data-action="again">Ask again</button>'
    html = f'<li id="again" data-slot="run-{RUN}-timeline" hx-swap-oob="true">{again}</li>'
    stage.send("done", 2, html, data={"status": "completed"})
    await choose(stage, "big")
    await stage.page.locator("#again button").click()
    await stage.wait(0)
    assert (await stage.next_request())["model"] == "big"


async def test_keyboard_chooses_a_model(stage: Stage) -> None:
    await stage.open()
    await summary(stage).focus()
    await stage.page.keyboard.press("ArrowDown")
    assert await focused(stage) == "auto"
    await stage.page.keyboard.press("ArrowUp")
    assert await focused(stage) == "maximal"  # the last option
    await stage.page.keyboard.press("Escape")
    await expect(summary(stage)).to_be_focused()
    await expect(option(stage, "big")).to_be_hidden()
    for _ in range(5):  # over the modes
        await stage.page.keyboard.press("ArrowDown")
    assert await focused(stage) == "weak"
    await stage.page.keyboard.press("Enter")
    await expect(summary(stage)).to_have_text("How to answer: Auto · weak")


async def test_question_carries_how_much_the_model_thinks(stage: Stage) -> None:
    await stage.open()
    await summary(stage).click()
    await stage.page.locator("[data-choice=effort] [data-value=maximal]").click()
    await expect(summary(stage)).to_have_text("How to answer: Auto · Much thinking")
    await stage.page.reload()
    assert (await stage.ask())["reasoning_effort"] == "maximal"


async def test_only_the_next_question_searches_anew(stage: Stage, settings: Settings) -> None:
    settings.FLEET_SEARCH = "off"
    await stage.open()
    await expect(stage.page.locator("#fresh")).to_have_count(0)
    settings.FLEET_SEARCH = "on"
    await stage.open()
    await summary(stage).click()
    await stage.page.locator("#fresh").click()
    await expect(summary(stage)).to_have_text("How to answer: Auto · Search anew")
    request = await stage.begin()
    assert (request["fresh"], request["reasoning_effort"]) == (True, None)
    await expect(summary(stage)).to_have_text("How to answer: Auto")
    stage.send("done", 2, "", data={"status": "completed"})
    await stage.page.locator("#composer-text").fill("And the next?")
    await stage.page.locator("#composer-text").press("Enter")
    await stage.wait(0)
    assert (await stage.next_request())["fresh"] is False


async def test_long_list_is_searched_by_typing(stage: Stage, settings: Settings) -> None:
    settings.FLEET_MODELS = MANY
    await stage.open()
    await summary(stage).click()
    await stage.page.keyboard.type("/ÜN")
    await expect(stage.page.locator("[data-choice=model] button:visible")).to_have_count(0)
    await expect(stage.page.locator("[data-none]")).to_have_text("No model matches.")
    await stage.page.locator(".choice-search").fill("one ün")
    await expect(stage.page.locator("[data-choice=model] button:visible")).to_have_count(1)
    await expect(stage.page.locator("[data-none]")).to_be_hidden()
    await stage.page.keyboard.press("Enter")
    await expect(summary(stage)).to_have_text("How to answer: Auto · Ünique/one")
    await summary(stage).click()
    await expect(stage.page.locator("[data-choice=model] button:visible")).to_have_count(
        len(MANY) + 1
    )
    await expect(option(stage, "last")).to_be_in_viewport()
    # Enter in the field would otherwise send the question.
    await stage.page.locator("#composer-text").fill("Which one?")
    await summary(stage).click()
    await stage.page.keyboard.type("zzz")
    await stage.page.keyboard.press("Enter")
    await expect(stage.page.locator("#composer-text")).to_have_value("Which one?")


async def test_axe_finds_no_fault_in_the_open_menu(stage: Stage, settings: Settings) -> None:
    settings.FLEET_MODELS = MANY
    await stage.open()
    await summary(stage).click()
    await expect(option(stage, "")).to_be_visible()
    await stage.page.clock.resume()  # axe waits in timers
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await stage.page.emulate_media(color_scheme=scheme)
        results = await Axe().run(stage.page, options={"resultTypes": ["violations"]})
        assert results.response["violations"] == []


async def test_menu_of_long_names_fits_any_width(stage: Stage, settings: Settings) -> None:
    settings.FLEET_MODELS = {f"{n}-{'long-name' * 20}": "" for n in range(20)}
    await stage.open()
    await summary(stage).click()
    await stage.page.locator("[data-choice=model] button").nth(1).click()
    await summary(stage).click()
    for width in (320, 600, 1280):
        await stage.page.set_viewport_size({"width": width, "height": 640})
        boxes = {}
        for part in ("#how .menu-list", "#how > summary", "#send"):
            box = boxes[part] = await stage.page.locator(part).bounding_box()
            assert box
            assert min(box["x"], box["y"]) >= 0
            assert box["x"] + box["width"] <= width
        assert await stage.page.evaluate("document.documentElement.scrollWidth") <= width
        assert boxes["#send"]["y"] == boxes["#how > summary"]["y"]
