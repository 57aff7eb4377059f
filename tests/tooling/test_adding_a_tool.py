"""A new tool takes its module, its entry in TOOLS, and its name in the agents that may call it."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from django.core.management import CommandError, call_command
from msgspec import Meta
from pytest_django import Settings

from chat.workflow.agents import ANALYST, ASSISTANT, PLANNER, RESEARCHER, SPECIALISTS, WRITER, Agent
from tests.chatting import Chatting, Event, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel
from tooling.functions import NotATool
from tooling.known import TOOLS
from tooling.registry import tool

pytestmark = pytest.mark.django_db(transaction=True)


# --- A tool's module, as an author would write it -------------------------------------------------

SPELLED = re.compile(r"\bhow is (?P<word>\w+) spelled\b", re.IGNORECASE)


def word_in(question: str, follows: str) -> dict[str, Any] | None:
    match = SPELLED.search(question)
    return {"word": match["word"]} if match else None


@tool(timeout=2, phrases=SPELLED, from_question=word_in)
async def spell(
    word: Annotated[str, Meta(description="One word", min_length=1, max_length=40)],
) -> str:
    """Spell a word letter by letter."""
    return "-".join(word.upper())


# --- The other two places -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Restore the tools and the agents."""
    # Agents are imported by name into many modules, so the tests change the values, not the names.
    tools_before = dict(TOOLS)
    agents = (ASSISTANT, PLANNER, *SPECIALISTS, WRITER)
    agents_before = [agent.tools for agent in agents]
    yield
    TOOLS.clear()
    TOOLS.update(tools_before)
    for agent, names in zip(agents, agents_before, strict=True):
        object.__setattr__(agent, "tools", names)


def give(agent: Agent, *names: str) -> None:
    object.__setattr__(agent, "tools", agent.tools | set(names))


@pytest.fixture
def added() -> None:
    TOOLS["spell"] = spell
    give(ASSISTANT, "spell")
    give(RESEARCHER, "spell")


# --- What a reader gets from it -------------------------------------------------------------------


def calls_spell(word: str) -> Script:
    return Script(tokens=[], calls=[("spell", json.dumps({"word": word}))])


def offered(model: ScriptedModel, agent: Agent) -> set[str]:
    """The names of the tools that this agent's model was offered in its first call."""
    call = next(call for call in model.calls if call.instructions == agent.instructions)
    return {each["function"]["name"] for each in call.body.get("tools", [])}


def completed(events: list[Event]) -> list[tuple[str, str, bool]]:
    return [
        (event["agent_id"], event["data"]["tool"], event["data"]["ok"])
        for event in events
        if event["type"] == "tool.complete"
    ]


async def test_new_tool_is_called_by_the_light_paths_model(
    added: None, chat: Chatting, model: ScriptedModel
) -> None:
    model.as_agent(ASSISTANT.instructions, calls_spell("Oslo"), Script(tokens=["As above."]))
    events = await chat.answer(chat_request("Letters of Oslo, please", mode="light"))
    assert "spell" in offered(model, ASSISTANT)
    assert completed(events) == [("assistant", "spell", True)]
    assert model.calls[1].question == "O-S-L-O", "the model reads the result"
    assert text_of(events) == "As above."


async def test_new_tool_is_called_on_the_light_path_before_the_model_if_its_phrases_occur(
    added: None, chat: Chatting, model: ScriptedModel
) -> None:
    events = await chat.answer(chat_request("How is Oslo spelled?", mode="light"))
    assert completed(events) == [("assistant", "spell", True)]
    [call] = model.calls
    assert call.question == "How is Oslo spelled?\n\nO-S-L-O"


async def test_new_tool_answers_alone_with_the_built_in_model(
    added: None, chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    events = await chat.answer("How is Oslo spelled?")
    assert text_of(events) == "O-S-L-O"
    assert model.calls == []


async def test_new_tool_is_called_on_the_full_path(
    added: None, chat: Chatting, model: ScriptedModel
) -> None:
    subtasks = [{"agent": "researcher", "task": "Spell it.", "tools": ["spell"]}]
    model.as_agent(PLANNER.instructions, Script(tokens=[json.dumps({"subtasks": subtasks})]))
    model.as_agent(RESEARCHER.instructions, calls_spell("Oslo"), Script(tokens=["Noted."]))
    events = await chat.answer(chat_request("How is Oslo spelled?", mode="full"))
    assert offered(model, RESEARCHER) == {"clock", "spell"}
    assert completed(events) == [("researcher", "spell", True)]
    [planned] = [call for call in model.calls if call.instructions == PLANNER.instructions]
    assert re.search(r"researcher: .*Tools: .*\bspell\b", planned.question)


async def test_new_tool_is_not_called_for_an_agent_that_does_not_name_it(
    added: None, chat: Chatting, model: ScriptedModel
) -> None:
    TOOLS["spell"] = tool(timeout=2, light=False)(spell.function)
    object.__setattr__(ASSISTANT, "tools", ASSISTANT.tools - {"spell"})
    events = await chat.answer(chat_request("How is Oslo spelled?", mode="light"))
    assert "spell" not in offered(model, ASSISTANT)
    assert completed(events) == []


def test_phrases_of_a_tool_need_its_arguments() -> None:
    with pytest.raises(NotATool, match="has phrases, which need from_question"):
        tool(phrases=SPELLED)(spell.function)


# --- manage.py check ------------------------------------------------------------------------------


def test_check_accepts_a_tool_that_is_registered(added: None) -> None:
    call_command("check")


def complaint() -> str:
    """Run the checks, and return what they complain about."""
    with pytest.raises(CommandError) as failed:
        call_command("check")
    return str(failed.value)


def test_check_names_the_agent_and_the_nearest_tool_for_an_unknown_one() -> None:
    give(ANALYST, "calculater")
    said = complaint()
    assert "The agent 'analyst': there is no tool \"calculater\"" in said
    assert "did you mean calculator?" in said
    assert "chat.E001" in said


def test_check_lists_the_tools_if_none_is_near() -> None:
    give(WRITER, "teleport")
    said = complaint()
    assert "The agent 'writer': there is no tool \"teleport\"" in said
    assert "there are calculator, clock, read_page, web_search, ask_person." in said


def test_check_names_a_tool_that_is_not_for_the_agents_path() -> None:
    TOOLS["spell"] = tool(timeout=2, light=False)(spell.function)
    give(ASSISTANT, "spell")
    give(RESEARCHER, "spell")
    said = complaint()
    assert "The agent 'assistant': the tool \"spell\" is not for the light path" in said
    assert "researcher" not in said
