"""The choice between light path and full team on the page, its steps, ratings and sources."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from tests.prefix_cache import PrefixCache
from tests.scripted_model import Script, ScriptedModel
from tests.scripted_search import ScriptedSearch
from tests.serving import Fleet, running

from .browsing import MARKS, Open, answer, ask, expect_ready_for_the_next, pages

pytestmark = MARKS

FINAL = "The team's answer."


@pytest.fixture
def open_page(chromium: Browser, fleet: Fleet, model: ScriptedModel) -> Iterator[Open]:
    with pages(chromium) as open_page:
        yield partial(open_page, fleet.address)


@pytest.fixture
def team(model: ScriptedModel) -> ScriptedModel:
    """Let the model play every member of the team."""
    subtasks = [
        {"agent": "researcher", "task": "find it"},
        {"agent": "analyst", "task": "count it"},
    ]
    model.as_agent(
        PLANNER.instructions,
        Script(tokens=[json.dumps({"subtasks": subtasks, "mode": "parallel"})]),
    )
    model.as_agent(RESEARCHER.instructions, Script(tokens=["It was ", "found."]))
    model.as_agent(ANALYST.instructions, Script(tokens=["It was ", "counted."]))
    model.as_agent(WRITER.instructions, Script(tokens=["a draft"]))
    model.as_agent(REVIEWER.instructions, Script(tokens=[json.dumps({"score": 9, "missing": []})]))
    model.as_agent(EDITOR.instructions, Script(tokens=[FINAL]))
    return model


def choose(page: Page, mode: str) -> None:
    page.locator("#how > summary").click()
    page.locator(f"[data-choice=mode] [data-value={mode}]").click()


def answer_body(page: Page) -> Locator:
    return answer(page).locator("> .prose")


def runs(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the rows of all runs, oldest first."""
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows:
        rows.row_factory = sqlite3.Row
        return [dict(row) for row in rows.execute("SELECT * FROM chat_run ORDER BY created_at")]


def rewrite_steps(fleet: Fleet, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the recorded steps of the newest run."""
    run = runs(fleet)[-1]
    steps = json.loads(run["steps"])
    change(steps)
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as rows, rows:
        rows.execute("UPDATE chat_run SET steps = ? WHERE id = ?", (json.dumps(steps), run["id"]))


def with_cached_search(steps: list[dict[str, Any]]) -> None:
    sources = [
        {
            "number": 1,
            "title": "<i>Docs</i>",
            "url": "https://docs.example/a?b=1&c=2",
            "host": "docs.example",
            "published": "2026-10-02",
        },
        {"number": 2, "title": "Trap", "url": "javascript:alert(1)", "host": "docs.example"},
    ]
    agent = {"agent_id": "assistant", "author": "Assistant"}
    data = {
        "tool": "web_search",
        "call_id": "c",
        "ok": True,
        "duration_ms": 3,
        "cached": True,
        "age_s": 730,
        "sources": sources,
    }
    steps.append({"type": "tool.complete", "data": data, **agent})


def test_team_can_be_chosen_by_keyboard_and_is_remembered(
    fleet: Fleet, open_page: Open, team: ScriptedModel
) -> None:
    page = open_page()
    page.locator("#composer-text").press("Tab")
    expect(page.locator("#how > summary")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-choice=mode] [data-value=auto]")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#how > summary")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#how > summary")).to_have_text("How to answer: Full team")
    expect(page.locator("#composer-text")).to_be_focused()
    page.reload()
    expect(page.locator("#how > summary")).to_have_text("How to answer: Full team")
    expect(page.locator("[data-choice=mode] [data-value=full]")).to_have_attribute(
        "aria-pressed", "true"
    )
    ask(page, "Compare them.")
    expect(answer_body(page)).to_have_text(FINAL)
    expect_ready_for_the_next(page)
    expect(answer(page).locator(".badges .path")).to_have_text("Full team")
    assert runs(fleet)[-1]["mode"] == "full"


def test_steps_of_the_team_look_in_history_as_they_did_live(
    open_page: Open, team: ScriptedModel
) -> None:
    team.as_agent(RESEARCHER.instructions, Script(tokens=["It was ", "found."], hold_after=1))
    page = open_page()
    choose(page, "full")
    ask(page, "Compare them.")
    expect(answer(page).locator("[data-words]")).to_have_text("Researcher is working")
    notes = answer(page).locator("[id$=agent-researcher-notes]")
    answer(page).locator(".timeline").first.click()  # so that the steps stay open
    expect(notes.locator(".prose")).to_have_text("It was")
    team.release()
    expect(notes.locator(".prose")).to_have_text("It was found.")
    expect(notes.locator("details")).to_have_attribute("open", "")
    expect_ready_for_the_next(page)
    timeline = answer(page).locator(".steps > .timeline")
    live = timeline.evaluate("element => element.textContent.replace(/\\s+/g, ' ')")
    assert live.count("It was found.") == 1
    page.reload()
    assert timeline.evaluate("element => element.textContent.replace(/\\s+/g, ' ')") == live


def test_steps_are_open_until_the_answer_begins(open_page: Open, team: ScriptedModel) -> None:
    team.as_agent(RESEARCHER.instructions, Script(tokens=["It was ", "found."], hold_after=1))
    team.as_agent(EDITOR.instructions, Script(tokens=["The ", "answer."], hold_after=1))
    page = open_page()
    choose(page, "full")
    ask(page, "Compare them.")
    steps = answer(page).locator("> .steps")
    words = steps.locator("[id$=agent-researcher-notes-body]")
    expect(words).to_have_text("It was")
    expect(words).to_be_visible()
    team.release_once()
    expect(answer_body(page)).to_have_text("The")
    expect(steps).not_to_have_attribute("open", "")
    team.release()
    expect_ready_for_the_next(page)
    expect(steps).not_to_have_attribute("open", "")


def test_steps_that_the_reader_has_touched_stay(open_page: Open, team: ScriptedModel) -> None:
    team.as_agent(RESEARCHER.instructions, Script(tokens=["It was ", "found."], hold_after=1))
    page = open_page()
    choose(page, "full")
    ask(page, "Compare them.")
    words = answer(page).locator("[id$=agent-researcher-notes-body]")
    expect(words).to_have_text("It was")
    words.click()
    team.release()
    expect_ready_for_the_next(page)
    expect(words).to_have_text("It was found.")
    expect(words).to_be_visible()


def test_chart_shows_parallel_agents_side_by_side_live_and_after_a_reload(
    open_page: Open, team: ScriptedModel
) -> None:
    for agent in (RESEARCHER, ANALYST, WRITER):
        team.as_agent(agent.instructions, Script(tokens=["some ", "words"], first_after=0.2))
    page = open_page(width=320)
    choose(page, "full")
    ask(page, "What is it?")
    expect_ready_for_the_next(page)
    for _ in ("live", "from history"):
        answer(page).locator(".steps > summary").click()
        bars = {
            name: answer(page)
            .locator(".gantt-row", has_text=name)
            .locator("rect.agent")
            .evaluate("bar => bar.getBoundingClientRect().toJSON()")
            for name in ("Researcher", "Analyst", "Writer")
        }
        assert bars["Analyst"]["left"] < bars["Researcher"]["right"]
        assert bars["Researcher"]["left"] < bars["Analyst"]["right"]
        assert bars["Writer"]["left"] >= bars["Researcher"]["right"] - 1
        assert all(bar["width"] > 3 and bar["height"] > 5 for bar in bars.values())
        assert bars["Writer"]["top"] > bars["Analyst"]["bottom"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.reload()


def test_team_can_answer_again_and_the_light_answer_is_kept(
    fleet: Fleet, open_page: Open, team: ScriptedModel
) -> None:
    page = open_page()
    ask(page, "What is it?")
    expect_ready_for_the_next(page)
    expect(answer(page).locator(".badges .path")).to_have_text("Light")
    answer(page).locator("[data-action=team]").click()
    expect(page.locator("#composer-text")).to_be_focused()
    expect(page.locator(".turn > .answer > .prose")).to_have_text(FINAL)
    expect_ready_for_the_next(page)
    expect(page.locator(".earlier .answer > .prose")).to_have_text("The answer is 42.")
    expect(page.locator("article.question")).to_have_count(1)
    expect(page.locator(".turn > .answer [data-action=team]")).to_have_count(0)
    first, second = runs(fleet)[-2:]
    assert (second["mode"], second["rerun_of_id"]) == ("full", first["id"])
    # The earlier answer offers it, too; then the newest answer joins the earlier ones.
    page.locator(".earlier > summary").click()
    page.locator(".earlier [data-action=team]").click()
    expect(page.locator(".earlier .answer")).to_have_count(2)
    expect(page.locator(".turn > .answer")).to_have_count(1)
    expect_ready_for_the_next(page)


def test_escalated_answer_is_cleared_with_a_reason_and_filled_again(
    open_page: Open, team: ScriptedModel
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know ", "that."], hold_after=1))
    page = open_page()
    ask(page, "Who taught Socrates?")
    expect(answer_body(page)).to_have_text("I don't know")
    team.as_agent(PLANNER.instructions, Script(tokens=["{}"], hold_after=0))
    team.release_once()
    expect(answer(page).locator(".why-now")).to_have_text(
        "The light answer did not know, so the full team takes over"
    )
    expect(answer_body(page)).to_have_text("")
    expect(answer(page).locator("[data-words]")).to_have_text("Planner is planning")
    team.release()
    expect(answer_body(page)).to_have_text(FINAL)
    expect_ready_for_the_next(page)
    answer(page).locator(".facts > summary").click()
    expect(answer(page).locator(".why")).to_contain_text(
        "Light, then the full team: the light answer did not know."
    )
    expect(answer(page).locator(".timeline").first).to_contain_text(
        "The light answer did not know, so the full team takes over."
    )


def test_ratings_are_stored_and_survive_a_reload(open_page: Open) -> None:
    page = open_page()
    ask(page, "What is it?")
    expect_ready_for_the_next(page)
    up, down = (
        answer(page).get_by_role("button", name=name) for name in ("Good answer", "Bad answer")
    )
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(up).to_be_focused()
    page.reload()
    expect(up).to_have_attribute("aria-pressed", "true")
    down.focus()
    page.keyboard.press("Space")
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(up).to_have_attribute("aria-pressed", "false")
    down.click()
    expect(down).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(answer(page).locator("[aria-pressed=true]")).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1280])
def test_cached_input_is_shown_below_the_answer_and_within_each_agents_column(
    fleet: Fleet, open_page: Open, team: ScriptedModel, width: int
) -> None:
    team.cache = PrefixCache()
    page = open_page(width=width)
    choose(page, "full")
    for question in ("Compare them. " * 40, "Compare them once more."):
        ask(page, question)
        expect_ready_for_the_next(page)
    expect(answer(page).locator(".badges")).to_contain_text("% of input cached")
    answer(page).locator(".steps > summary").click()
    figures = answer(page).locator(".step.agent > .step-head .step-words")
    assert any("% of input cached" in words for words in figures.all_inner_texts())
    assert figures.evaluate_all("all => all.every(each => each.scrollWidth <= each.clientWidth)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_cached_answer_names_its_sources_and_can_be_searched_again(
    fleet: Fleet, open_page: Open
) -> None:
    page = open_page(width=320)
    ask(page, "What is it worth?")
    expect_ready_for_the_next(page)
    expect(answer(page).locator("[data-action=fresh]")).to_have_count(0)
    rewrite_steps(fleet, with_cached_search)
    page.reload()
    answer(page).locator(".sources > summary").click()
    link = answer(page).locator(".sources a")
    expect(link).to_have_count(1)
    expect(link).to_have_text("<i>Docs</i>")
    expect(link).to_have_attribute("href", "https://docs.example/a?b=1&c=2")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow ugc")
    expect(link).to_have_attribute("target", "_blank")
    expect(answer(page).locator(".badges")).to_contain_text("cached 12 min ago")
    answer(page).locator(".facts > summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    answer(page).locator("[data-action=fresh]").click()
    expect(page.locator(".earlier .answer")).to_have_count(1)
    expect_ready_for_the_next(page)
    again = runs(fleet)[-1]
    assert (again["fresh"], again["mode"]) == (1, "auto")
    assert again["rerun_of_id"] is not None


def test_citation_leads_to_its_source_live_and_in_history(
    tmp_path: Path, open_page: Open, model: ScriptedModel, web: ScriptedSearch
) -> None:
    tokens = ["It rains ", "[1", "]. ", "`[1]` and [2] ", "stay.\n\n", "words\n\n" * 60, "End."]
    model.default = Script(tokens=tokens, hold_after=6)
    with running(tmp_path, model, TAVILY_BASE_URL=web.url, TAVILY_API_KEY="tvly-x") as fleet:
        page = open_page(width=360)
        page.goto(fleet.address)
        ask(page, "What is the weather in Oslo today?")
        citation = answer(page).get_by_role(
            "link", name="Source 1: Peru - Encyclopedia", exact=True
        )
        source = answer(page).locator(".sources li > a")
        expect(answer_body(page).locator("> .block")).to_have_count(61)
        expect(citation).to_have_text("[1]")
        expect(source).not_to_be_visible()
        citation.click()
        expect(source).to_be_in_viewport()
        expect(source).to_be_focused()
        model.release()
        expect_ready_for_the_next(page)
        cited = answer_body(page).locator("p").first
        live = cited.inner_html()
        page.goto(page.url.split("#")[0] + "?")
        expect(answer_body(page).locator("> .block")).to_have_count(62)
        assert cited.inner_html() == live
        citation.focus()
        page.keyboard.press("Enter")
        expect(source).to_be_focused()
        expect(source).to_be_in_viewport()
        expect(citation).not_to_be_in_viewport()
        page.go_back()
        expect(citation).to_be_focused()
        expect(citation).to_be_in_viewport()
        page.goto("about:blank")
