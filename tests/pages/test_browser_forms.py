"""A form that a tool needs filled in, and a page that it asks to open, in a real Chromium."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

from .browsing import MARKS, Open, answer, ask, expect_ready_for_the_next, prose

pytestmark = MARKS

TOOLS = '''
import json

from tooling import Given, NeedsInput, tool

TABLE = {
    "properties": {
        "name": {"type": "string", "title": "Your name", "minLength": 2, "maxLength": 40},
        "mail": {"type": "string", "format": "email", "description": "For the confirmation"},
        "day": {"type": "string", "format": "date", "title": "Day"},
        "people": {"type": "integer", "title": "People", "minimum": 1, "maximum": 9, "default": 2},
        "window": {"type": "boolean", "title": "At the window", "default": True},
        "room": {"type": "string", "title": "Room", "oneOf": [
            {"const": "in", "title": "Inside"}, {"const": "out", "title": "Garden"}]},
        "extras": {"type": "array", "title": "Extras", "minItems": 1, "maxItems": 2,
            "items": {"enum": ["wine", "bread", "cake"]}},
        "note": {"type": "string", "title": "<b>Note</b>"},
    },
    "required": ["name", "room"],
}


@tool(timeout=5, acts=True)
async def book(where: str, given: Given | None) -> str:
    """Book a table."""
    if given is None:
        raise NeedsInput("**When**, and for how many?\\n<img src=x>", TABLE)
    return "not booked" if given.values is None else json.dumps(given.values, sort_keys=True)


@tool(timeout=5)
async def pay(given: Given | None) -> str:
    """Pay."""
    if given is None:
        raise NeedsInput("Pay on our page, then go on.", url="https://pay.example:8443/bill?id=7")
    return "refused" if given.values is None else "paid"
'''


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "fleet.toml").write_text("")
    (folder / "fleet_tools.py").write_text(TOOLS)
    with running(folder, model_server, FLEET_CONFIG=str(folder / "fleet.toml")) as fleet:
        yield fleet


def form(fleet: Fleet, open_page: Open, model: ScriptedModel, tool: str, **arguments: str) -> Page:
    """Return a page whose answer waits for a form of this tool; then the answer is "Done."."""
    model.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[(tool, json.dumps(arguments))]),
        Script(tokens=["Done."]),
    )
    page = open_page(fleet.address)
    ask(page, "Tell me something")
    expect(page.locator(".ask.form")).to_be_visible()
    return page


def told(model: ScriptedModel) -> str:
    """Return what the model was told of the call."""
    return str(model.calls[-1].body["messages"][-1]["content"])


def test_form_is_filled_in_with_faults_beside_its_fields(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = form(fleet, open_page, model, "book", where="Bonn")
    card = page.locator(".ask")
    expect(card.locator(".ask-who")).to_have_text("book asks")
    # The words of a server are text.
    expect(card.get_by_role("heading")).to_have_text("**When**, and for how many?\n<img src=x>")
    expect(card.get_by_text("<b>Note</b>")).to_be_visible()
    expect(card.get_by_label("People")).to_have_value("2")
    expect(card.get_by_label("At the window")).to_be_checked()
    card.get_by_label("People").fill("12")
    card.get_by_label("mail").fill("ada")
    for extra in ("wine", "bread", "cake"):
        card.get_by_label(extra).check()
    page.get_by_role("button", name="Answer").click()
    expect(card.locator(".ask-fault:visible")).to_have_count(5)
    expect(card.get_by_label("Your name")).to_be_focused()
    expect(card.get_by_text("Choose at most 2.")).to_be_visible()
    colour = card.locator(".ask-fault:visible").first.evaluate("(it) => getComputedStyle(it).color")
    expect(card.get_by_label("mail")).to_have_css("border-top-color", colour)
    card.get_by_label("Your name").fill("Ada")
    card.get_by_label("mail").fill("ada@example.org")
    card.get_by_label("Day").fill("2026-12-24")
    card.get_by_label("People").fill("4")
    card.get_by_label("At the window").uncheck()
    card.get_by_label("Room").select_option("Garden")
    card.get_by_label("cake").uncheck()
    expect(card.locator(".ask-fault:visible")).to_have_count(0)
    page.get_by_role("button", name="Answer").click()
    expect(prose(page)).to_have_text("Done.")
    assert json.loads(told(model)) == {
        "name": "Ada",
        "mail": "ada@example.org",
        "day": "2026-12-24",
        "people": 4,
        "window": False,
        "room": "out",
        "extras": ["wine", "bread"],
    }
    expect(answer(page)).to_have_count(1)
    page.locator(".steps > summary").click()
    expect(page.get_by_text("You answered.")).to_be_visible()
    expect_ready_for_the_next(page)


def test_form_is_filled_in_with_the_keyboard_after_a_reload(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = form(fleet, open_page, model, "book", where="Bonn")
    page.reload()
    page.get_by_label("Your name").focus()
    page.keyboard.type("Ada")
    page.get_by_label("Room").focus()
    page.keyboard.type("Ins")
    page.get_by_label("Room").press("Enter")
    expect(page.locator(".ask")).to_be_visible()
    page.get_by_role("button", name="Answer").press("Enter")
    expect(prose(page)).to_have_text("Done.")
    assert json.loads(told(model)) == {
        "name": "Ada",
        "people": 2,
        "window": True,
        "room": "in",
    }


def test_refused_form_needs_no_fields(fleet: Fleet, open_page: Open, model: ScriptedModel) -> None:
    page = form(fleet, open_page, model, "book", where="Bonn")
    page.get_by_role("button", name="Refuse").click()
    expect(prose(page)).to_have_text("Done.")
    assert told(model) == "not booked"


def test_page_to_open_is_a_link_with_its_host(
    fleet: Fleet, open_page: Open, model: ScriptedModel
) -> None:
    page = form(fleet, open_page, model, "pay")
    expect(page.locator(".ask-who")).to_have_text("pay asks")
    link = page.get_by_role("link", name="Open pay.example:8443")
    expect(link).to_have_attribute("href", "https://pay.example:8443/bill?id=7")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    page.get_by_role("button", name="I am done there").click()
    expect(prose(page)).to_have_text("Done.")
    assert told(model) == "paid"
