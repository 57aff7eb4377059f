"""A paused answer in a real Chromium, on a real fleet: asked, approved, and gone on."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

from .browsing import (
    MARKS,
    Open,
    answer,
    ask,
    expect_ready_for_the_next,
    prose,
)

pytestmark = MARKS


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with running(
        folder, model_server, FLEET_APPROVE="calculator", FLEET_LIGHT_MAX_TOOL_CALLS="3"
    ) as fleet:
        yield fleet


def pause(fleet: Fleet, open_page: Open, model: ScriptedModel, *calls: str) -> Page:
    """Return a page whose answer asks whether it may calculate; then the answer is "Done."."""
    model.as_agent(
        ASSISTANT.instructions,
        Script(
            tokens=[],
            calls=[("calculator", json.dumps({"expression": call})) for call in calls],
        ),
        Script(tokens=["Done."]),
    )
    page = open_page(fleet.address)
    ask(page, "Tell me something")
    expect(page.locator(".ask")).to_have_count(len(calls))
    return page


def test_approved_answer_goes_on_in_its_place(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "6 * 7")
    expect(page.locator("#announce")).to_have_text("The answer waits for you")
    expect(page.locator("#composer-text")).to_be_focused()
    expect(page.locator(".waiting-mark .visually-hidden")).to_have_text("waiting for you")
    expect(page).to_have_title(re.compile(r"^\(waiting\) "))
    expect_ready_for_the_next(page)
    page.get_by_role("button", name="Approve").click()
    expect(prose(page)).to_have_text("Done.")
    expect_ready_for_the_next(page)
    expect(answer(page)).to_have_count(1)
    expect(page.locator(".waiting-mark")).to_have_count(0)
    page.locator(".steps > summary").click()
    expect(page.get_by_text("You approved Calculator.")).to_be_visible()
    before = page.locator(".timeline").first.inner_text()
    page.reload()
    page.locator(".steps > summary").click()
    assert page.locator(".timeline").first.inner_text() == before
    expect(prose(page)).to_have_text("Done.")


def test_card_is_there_after_a_reload_and_a_change_is_what_runs(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "6 * 7")
    page.reload()
    page.get_by_role("button", name="Change").click()
    page.get_by_label("Expression").fill("")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.get_by_label("Expression").fill("5 * 5")
    page.get_by_role("button", name="Approve").click()
    expect(prose(page)).to_have_text("Done.")
    assert "25" in str(model.calls[-1].body)
    expect_ready_for_the_next(page)


def test_reload_while_the_answer_goes_on_joins_it(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "6 * 7")
    model.as_agent(ASSISTANT.instructions, Script(tokens=["First. ", "Second."], hold_after=1))
    page.get_by_role("button", name="Approve").click()
    expect(prose(page)).to_have_text("First.")
    page.reload()
    expect(prose(page)).to_have_text("First.")
    expect(page.locator("#stop")).to_be_visible()
    model.release()
    expect(prose(page)).to_have_text("First. Second.")
    expect_ready_for_the_next(page)


def test_second_page_learns_that_it_was_answered_elsewhere(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "6 * 7")
    # Another window of the same browser would be told, and show it before the click.
    assert page.context.browser
    elsewhere = page.context.browser.new_context(storage_state=page.context.storage_state())
    second = elsewhere.new_page()
    second.goto(page.url)
    page.get_by_role("button", name="Approve").click()
    expect(prose(page)).to_have_text("Done.")
    second.get_by_role("button", name="Approve").click()
    expect(second.locator("#link-state")).to_contain_text("This was answered elsewhere.")
    expect(prose(second)).to_have_text("Done.")
    expect_ready_for_the_next(second)
    elsewhere.close()


def test_question_that_is_taken_back_ends_the_answer(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "6 * 7", "1 + 1")
    expect(page.locator("[data-ask=send]")).to_be_disabled()
    page.get_by_role("button", name="Take the question back").click()
    expect(answer(page).locator(".trouble")).to_have_text("You took the question back.")
    expect_ready_for_the_next(page)


def test_card_fits_a_narrow_touch_screen(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = pause(fleet, open_page, model, "123456789 * 123456789 + " * 9 + "1", "1 + 1")
    cookies = page.context.storage_state()
    narrow = open_page(page.url, width=320, has_touch=True, is_mobile=True, storage_state=cookies)
    narrow.get_by_role("button", name="Change").first.click()
    narrow.get_by_role("button", name="Refuse").first.click()
    assert narrow.evaluate("document.documentElement.scrollWidth") == 320
    assert (
        narrow.evaluate(
            """() => [...document.querySelectorAll(".asks :is(button, textarea, label:has(input))")]
            .filter((each) => each.checkVisibility() && !each.readOnly)
            .map((each) => [each.textContent, each.getBoundingClientRect().height])
            .filter(([, height]) => height < 40)"""
        )
        == []
    )
