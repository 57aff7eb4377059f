"""A workflow whose tool needs a form filled in, or a page opened, before it can go on."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from chat.protocol.events import ResponseDelta, ToolComplete, ToolStart
from chat.workflow.agents import ANALYST
from chat.workflow.memory import Memory
from tooling import toolbox
from tooling.registry import CallKey, Tool, tool
from tooling.results import Given, NeedsInput

from .scripts import SCRIPTS, play, says
from .test_asking import SCRIPT, of_kind, paused, resumed, with_tool

PEOPLE = {"properties": {"people": {"type": "integer", "minimum": 1}}, "required": ["people"]}


class Restaurant:
    """A tool that books a table, and asks so many times before it does."""

    def __init__(self, *questions: NeedsInput) -> None:
        self.questions = questions
        self.calls: list[Given | None] = []
        self.booked: list[tuple[Any, str]] = []

    @property
    def tool(self) -> Tool:
        @tool(timeout=1, acts=True, light=False)
        async def calculator(expression: str, given: Given | None, key: CallKey) -> str:
            """Book a table."""
            self.calls.append(given)
            asked = int(given.state) if given else 0
            if given and given.values is None:
                return "not booked"
            if asked < len(self.questions):
                raise self.questions[asked]
            self.booked.append((given and given.values, key))
            return "booked"

        return calculator


@pytest.fixture(autouse=True)
def script(settings: Settings) -> Iterator[None]:
    SCRIPTS["asking"] = ("full", SCRIPT)
    settings.FLEET_APPROVE = frozenset()
    yield
    del SCRIPTS["asking"]


@pytest.fixture
def restaurant(monkeypatch: pytest.MonkeyPatch) -> Restaurant:
    found = Restaurant(
        NeedsInput("For how many?", PEOPLE, state="1"),
        NeedsInput("Pay first.", state="2", url="https://pay.example/7"),
    )
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(found.tool))
    return found


async def test_a_tool_gets_each_reply_and_acts_once(restaurant: Restaurant) -> None:
    first, [form] = await paused()
    assert (form.data.kind, form.data.tool, form.data.message) == (
        "form",
        "calculator",
        "For how many?",
    )
    assert form.data.schema["properties"] == PEOPLE["properties"]
    second, [page] = await paused(resumed(first, [form], "answer", arguments={"people": 4}))
    assert (page.data.message, page.data.url) == ("Pay first.", "https://pay.example/7")
    assert not restaurant.booked
    done = await play("asking", resumed(second, [page], "answer", arguments={}))
    assert [each and (each.values, each.state) for each in restaurant.calls] == [
        None,
        ({"people": 4}, "1"),
        ({}, "2"),
    ]
    [(_, key)] = restaurant.booked
    assert key.endswith("research/analyst/1/tool-0")
    prompt = next(messages for agent, messages in done.models.prompts if agent == "analyst")
    assert prompt[-1].content == "booked"


async def test_a_call_that_waits_for_a_form_is_told_once(restaurant: Restaurant) -> None:
    first, [form] = await paused()
    [start] = [e for e in of_kind(first, ToolStart) if e.data.tool == "calculator"]
    [end] = [e for e in of_kind(first, ToolComplete) if e.data.tool == "calculator"]
    assert end.data.cut
    second, _ = await paused(resumed(first, [form], "answer", arguments={"people": 4}))
    assert start.data.call_id not in {e.data.call_id for e in of_kind(second, ToolStart)}


async def test_a_tool_hears_that_the_person_refused(restaurant: Restaurant) -> None:
    first, asks = await paused()
    done = await play("asking", resumed(first, asks, "refuse"))
    assert not restaurant.booked
    assert restaurant.calls[-1] == Given(None, "1")
    prompt = next(messages for agent, messages in done.models.prompts if agent == "analyst")
    assert prompt[-1].content == "not booked"


async def test_an_act_after_a_form_is_unsure_only_if_its_worker_died_in_it(
    restaurant: Restaurant,
) -> None:
    restaurant.questions = restaurant.questions[:1]
    first, asks = await paused()
    memory = resumed(first, asks, "answer", arguments={"people": 4})
    whole = await play("asking", memory)
    assert len(restaurant.booked) == 1
    begun = "research/analyst/1/tool-0/form-1/begun-1"
    place = next(n for n, stored in enumerate(whole.stored) if begun in stored)
    told = [e for e in whole.events[:place] if not isinstance(e, ResponseDelta)]
    died = Memory(whole.stored[place], [*memory.told, *told], inherited=len(memory.told))
    _, [ask] = await paused(died)
    assert ask.data.kind == "unsure"
    assert len(restaurant.booked) == 1


async def test_a_tool_that_asks_without_end_fails(restaurant: Restaurant) -> None:
    restaurant.questions = tuple(
        NeedsInput(f"Number {number}?", PEOPLE, state=str(number)) for number in range(1, 9)
    )
    played, asks = await paused()
    for _ in range(4):
        played, asks = await paused(resumed(played, asks, "answer", arguments={"people": 1}))
    done = await play("asking", resumed(played, asks, "answer", arguments={"people": 1}))
    assert len(restaurant.calls) == 6
    ends = [e.data for e in of_kind(done, ToolComplete) if e.data.tool == "calculator"]
    assert [(end.ok, end.cut) for end in ends] == [(False, False)]
    assert "more than a person can be asked" in ends[0].message


async def test_an_answered_form_does_not_let_agents_ask_questions(restaurant: Restaurant) -> None:
    restaurant.questions = restaurant.questions[:1]
    lines = [SCRIPT[ANALYST.id][0], says(calls=[("ask_person", {"question": "?"})]), says("ok")]
    SCRIPTS["asking"] = ("full", {**SCRIPT, ANALYST.id: lines})
    first, asks = await paused()
    done = await play("asking", resumed(first, asks, "answer", arguments={"people": 4}))
    prompt = [messages for agent, messages in done.models.prompts if agent == "analyst"][-1]
    assert "not available" in prompt[-1].content
