"""The page in a real Chromium while the PostgreSQL server of its fleet is frozen."""

import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.postgresql import PostgreSQL
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .browsing import (
    CONNECTION_ERRORS,
    MARKS,
    Open,
    ask,
    expect_ready_for_the_next,
    pages,
    prose,
)

pytestmark = [*MARKS, pytest.mark.long]


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: PostgreSQL,
    model_server: ScriptedModel,
) -> Iterator[Fleet]:
    postgresql_server.sql("CREATE DATABASE pages")
    settings = {
        "DATABASE_URL": postgresql_server.url("pages"),
        "DJANGO_SECRET_KEY": uuid.uuid4().hex * 2,
    }
    with running(tmp_path_factory.mktemp("fleet"), model_server, **settings) as fleet:
        yield fleet
    postgresql_server.sql("DROP DATABASE pages WITH (FORCE)")


@pytest.fixture
def open_page(chromium: Browser, model: ScriptedModel) -> Iterator[Open]:
    with pages(chromium, ignored=(*CONNECTION_ERRORS, "503")) as open_page:
        yield open_page


@pytest.fixture
def page(fleet: Fleet, open_page: Open, model: ScriptedModel) -> Page:
    model.on("first", tokens=["First half. ", "Second half."], hold_after=1)
    page = open_page(fleet.address)
    ask(page, "first")
    expect(prose(page)).to_have_text("First half.")
    return page


def test_answers_and_questions_go_on_when_the_database_is_back(
    page: Page, postgresql_server: PostgreSQL, model: ScriptedModel
) -> None:
    state = page.locator("#link-state")
    postgresql_server.freeze()
    try:
        model.release()
        expect(state).to_contain_text("could not be stored yet")
        # The page asks again by itself, and is told so.
        expect(state).to_contain_text("The database does not answer.")
    finally:
        postgresql_server.thaw()
    expect(prose(page)).to_have_text("First half. Second half.")
    expect_ready_for_the_next(page)
    expect(state).to_be_hidden()


def test_question_that_is_asked_meanwhile_is_answered_when_the_database_is_back(
    page: Page, postgresql_server: PostgreSQL, model: ScriptedModel
) -> None:
    model.release()
    expect_ready_for_the_next(page)
    postgresql_server.freeze()
    try:
        ask(page, "second")
        expect(page.locator("#link-state")).to_contain_text("The database does not answer.")
        expect(page.get_by_role("button", name="Take back")).to_be_visible()
    finally:
        postgresql_server.thaw()
    expect(prose(page).last).to_have_text("The answer is 42.")
    expect_ready_for_the_next(page)


def test_search_says_that_the_database_does_not_answer(
    page: Page, postgresql_server: PostgreSQL, model: ScriptedModel
) -> None:
    model.release()
    expect_ready_for_the_next(page)
    postgresql_server.freeze()
    try:
        page.locator("input[type=search]").fill("anything")
        expect(page.locator("#link-state")).to_contain_text("What was stored is kept.")
    finally:
        postgresql_server.thaw()
