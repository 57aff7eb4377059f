"""Thirty agents and a hundred tools: what the planner reads of them, and what each call gets."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pytest_django import Settings

from chat.llm.messages import BYTES_PER_TOKEN
from chat.llm.windows import OVERHEAD_TOKENS
from chat.runs.worker import Worker
from chat.workflow.agents import PLANNER
from chat.workflow.crew import crew
from chat.workflow.offering import MAX_TOOLS
from chat.workflow.roster import DESCRIPTIONS, Roster, described, roster
from tests.chatting import Chatting, chat_request, text_of
from tests.configs import Configure
from tests.scripted_model import Script, ScriptedModel
from tests.tooling.many_tools import TOOLS, made
from tooling import choosing, known
from tooling.choosing import Entry, Index
from tooling.registry import Tool

from .playing import calls_of, full, messages_of, of_kind, plan, wants

pytestmark = pytest.mark.django_db(transaction=True)

TRADES = """lawyer reads contracts and checks their clauses
baker plans breads and doughs
pilot plans flights and reads weather charts
gardener advises on plants and soil
plumber mends pipes and heating
teacher explains things to children
nurse knows wounds, drugs and doses
tailor measures and sews clothes
accountant keeps the books and files taxes
chemist knows substances and reactions
sailor reads charts and tides
miner knows ores and tunnels
painter mixes colours and primes walls
carpenter builds furniture from wood
butcher knows meat and its cuts
librarian finds books and papers
poet writes verse and rhyme
judge weighs evidence and rulings
broker prices shares and bonds
farmer grows grain and keeps cattle
cook writes recipes and menus
driver plans routes for lorries
welder joins steel and aluminium
printer sets type and binds books
optician measures eyes and grinds lenses
fisher knows nets and fish
mason lays bricks and stone
clerk files forms and letters
guard watches doors and cameras
porter moves goods between warehouses""".splitlines()
AGENTS = dict(trade.split(" ", 1) for trade in TRADES)
INSTRUCTIONS = "You are the {name}. Report what you find."
QUESTION = (
    "Which clauses of the contract with the landlord differ, and what does it cost to end it?"
)


def fleet_of(roles: dict[str, str], tools: str) -> str:
    return "\n".join(
        f'[agents.{name}]\nrole = "{role}"\ninstructions = "{INSTRUCTIONS.format(name=name)}"\n'
        f"tools = {tools}\n"
        for name, role in roles.items()
    )


@pytest.fixture
def put(configure: Configure) -> Callable[[str], None]:
    """Put a fleet.toml into force, with the hundred tools."""

    def putting(toml: str) -> None:
        configure(toml)
        known.TOOLS.update({tool.name: tool for tool in TOOLS})

    return putting


@pytest.fixture
def thirty(put: Callable[[str], None]) -> None:
    """Every agent may call every tool."""
    put(fleet_of(AGENTS, '["*"]'))


async def with_context(settings: Settings, tokens: int) -> None:
    settings.FLEET_CONTEXT_TOKENS, settings.FLEET_STEP_TOKENS = tokens, tokens // 6
    await Worker.current().stop()  # the next one reads the setting


def offered(call: Any) -> list[str]:
    return [each["function"]["name"] for each in call.body.get("tools", [])]


def tokens_of_tools(call: Any) -> int:
    return len(msgspec.json.encode(call.body.get("tools", []))) // BYTES_PER_TOKEN


# --- The planner ----------------------------------------------------------------------------------


async def test_planner_reads_every_agent_and_every_tool(
    thirty: None, chat: Chatting, team: ScriptedModel
) -> None:
    events = await chat.answer(full(QUESTION))
    [call] = calls_of(team, PLANNER)
    for name, role in AGENTS.items():
        assert f"\n{name}: {role}. Tools: *\n" in call.question
    assert "docs__compare_versions: Compare two versions of a contract" in call.question
    assert "git__blame: Tell who wrote a line of code" in call.question
    assert len(call.question.encode()) <= BYTES_PER_TOKEN * 6000
    schema = call.body["response_format"]["json_schema"]["schema"]
    ids = schema["$defs"]["Subtask"]["properties"]["agent"]["enum"]
    assert ids == ["researcher", "analyst", *AGENTS]
    assert text_of(events) == "The final answer."


async def test_planner_of_a_small_model_reads_every_agent_and_the_tools_that_matter(
    thirty: None, chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    await with_context(settings, 1200)
    events = await chat.answer(full(QUESTION))
    [call] = calls_of(team, PLANNER)
    for name, role in AGENTS.items():
        assert f"\n{name}: {role}. Tools: *\n" in call.question
    assert "docs__compare_versions: Compare two versions" in call.question
    assert "media__resize_image" not in call.question
    assert QUESTION in call.question
    assert sum(len(m["content"].encode()) for m in call.body["messages"]) <= 1200 * BYTES_PER_TOKEN
    assert "reads too little" not in messages_of(events)


async def test_agents_that_do_not_fit_are_left_out_and_that_is_told(
    put: Callable[[str], None], chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    roles = {name: f"{role}, {'and much more, ' * 20}" for name, role in AGENTS.items()}
    # The table of the last one goes on.
    put(fleet_of(roles, "[]") + '\nby_default = "always"\n')
    await with_context(settings, 1200)
    events = await chat.answer(full(QUESTION))
    [call] = calls_of(team, PLANNER)
    schema = call.body["response_format"]["json_schema"]["schema"]
    ids = schema["$defs"]["Subtask"]["properties"]["agent"]["enum"]
    assert {"researcher", "porter"} <= {*ids}, "they would have the question without a plan"
    assert "lawyer" in ids
    assert "optician" not in ids
    assert f"too little for all 32 agents, so it chose among {len(ids)}." in messages_of(events)


async def test_long_question_is_cut_and_not_the_agents(
    thirty: None, chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    await with_context(settings, 2400)
    await chat.answer(full(f"{QUESTION} {'And so on. ' * 900}"))
    [call] = calls_of(team, PLANNER)
    assert call.question.count(". Tools: ") + call.question.count(".\n") >= 10
    assert "lawyer: reads contracts" in call.question


# --- The roster -----------------------------------------------------------------------------------


def small(max_bytes: int, *, toml: str = "", tools: list[Tool] = TOOLS) -> Roster:
    agents = crew().specialists
    names = {tool.name for tool in tools}
    has = {agent.id: crew().tools_of(agent, names) for agent in agents}
    return roster(agents, has, tools, QUESTION, max_bytes=max_bytes)


def test_descriptions_are_shortened_evenly_before_any_is_left_out(thirty: None) -> None:
    lines = small(7_300).text.partition("\n\nTools:\n")[2].splitlines()
    assert len(lines) >= len(TOOLS)
    shown = [line.partition(": ")[2] for line in lines]
    most = max(map(len, shown))
    assert most in DESCRIPTIONS
    assert sum(text.endswith("[…]") for text in shown) > 10


@pytest.mark.parametrize("max_bytes", [1, 100, 800, 2_000, 2_600, 4_000, 9_000, 12_000, 30_000])
def test_roster_stays_within_its_bytes(thirty: None, max_bytes: int) -> None:
    found = small(max_bytes)
    assert len(found.text.encode()) <= max(max_bytes, 80), "one agent is always there"
    assert found.agents


def test_agents_show_patterns_as_they_are_and_only_tools_that_are_there(
    put: Callable[[str], None],
) -> None:
    put(fleet_of({"clerk": "files forms"}, '["hr__*", "gone__*", "db__backup", "db__gone"]'))
    assert "clerk: files forms. Tools: db__backup, hr__*" in small(30_000).text


def test_roles_are_one_line_of_what_can_be_seen(put: Callable[[str], None]) -> None:
    put(fleet_of({"clerk": r"files\n\nforms \u202e{x} %s <b>. "}, "[]"))
    assert "clerk: files forms {x} %s <b>. Tools: none" in small(30_000).text


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("Read a file. It must exist.", "Read a file."),
        ("Read e.g. a file of version 1.2 now", "Read e.g. a file of version 1.2 now"),
        ("查询天气。也查询风。", "查询天气。"),
        ("هل يوجد؟ نعم", "هل يوجد؟"),
        ("", ""),
    ],
)
def test_first_sentence_of_a_description_is_told(description: str, said: str) -> None:
    tool = replace(made("x", "Something.", []), description=description)
    assert described(tool, 100) == f"x: {said}"


# --- What a call gets -----------------------------------------------------------------------------


async def test_specialist_is_offered_the_tools_that_its_task_is_about(
    thirty: None, chat: Chatting, team: ScriptedModel
) -> None:
    lawyer = crew().specialists[2]
    subtasks = [{"agent": "lawyer", "task": "Compare the two versions of the contract."}]
    team.as_agent(PLANNER.instructions, Script(tokens=[json.dumps({"subtasks": subtasks})]))
    await chat.answer(full(QUESTION))
    [call] = calls_of(team, lawyer)
    assert "docs__compare_versions" in offered(call)
    assert len(offered(call)) <= MAX_TOOLS
    assert tokens_of_tools(call) <= 6000 // 4 + 10, "that many brackets and commas"
    everything = len(msgspec.json.encode([tool.offer for tool in TOOLS])) // BYTES_PER_TOKEN
    assert tokens_of_tools(call) < everything / 5


async def test_model_that_reads_much_is_offered_no_more_than_it_can_choose_among(
    thirty: None, chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    await with_context(settings, 60_000)
    await chat.answer(chat_request(QUESTION, mode="light"))
    assert len(offered(model.calls[0])) == MAX_TOOLS


async def test_light_answer_is_offered_the_tools_that_the_question_is_about(
    thirty: None, chat: Chatting, model: ScriptedModel
) -> None:
    await chat.answer(chat_request("Which invoices are overdue?", mode="light"))
    [call] = model.calls
    assert "billing__list_unpaid" in offered(call)
    assert tokens_of_tools(call) <= 6000 // 4 + 10


async def test_tools_that_the_plan_names_come_first(
    thirty: None, chat: Chatting, team: ScriptedModel
) -> None:
    lawyer = crew().specialists[2]
    team.as_agent(PLANNER.instructions, plan("lawyer", tools=["git__blame", "weather__sunrise"]))
    await chat.answer(full("Which clauses of the contracts differ?"))
    [call] = calls_of(team, lawyer)
    assert {"git__blame", "weather__sunrise", "docs__compare_versions"} <= {*offered(call)}


async def test_later_rounds_are_offered_the_same_tools(
    thirty: None, chat: Chatting, team: ScriptedModel
) -> None:
    lawyer = crew().specialists[2]
    team.as_agent(PLANNER.instructions, plan("lawyer"))
    team.as_agent(
        lawyer.instructions,
        wants(("docs__compare_versions", {"first": "1", "second": "2"})),
        Script(tokens=["They differ."]),
    )
    await chat.answer(full("Which clauses of the contracts differ?"))
    first, second = calls_of(team, lawyer)
    assert offered(first) == offered(second)


async def test_later_questions_are_offered_the_same_tools_while_these_have_what_they_need(
    thirty: None, chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    await with_context(settings, 60_000)
    conversation = None
    for question in (
        "Which invoices are overdue?",
        "And which of these invoices are overdue by more than a month?",
        "Thanks!",
        "When does the sun rise in Oslo?",
    ):
        request = chat_request(question, mode="light", conversation_id=conversation)
        events = await chat.answer(request)
        conversation = events[0]["data"]["conversation_id"]
    first, second, third, fourth = map(offered, model.calls)
    assert first == second == third
    assert "weather__sunrise" not in first
    assert "weather__sunrise" in fourth


async def test_tool_that_was_not_offered_is_called_if_the_agent_may(
    thirty: None, chat: Chatting, team: ScriptedModel
) -> None:
    lawyer = crew().specialists[2]
    team.as_agent(PLANNER.instructions, plan("lawyer"))
    team.as_agent(
        lawyer.instructions,
        wants(("weather__sunrise", {"place": "Oslo", "date": "today"}), ("hr__payslip", {"x": 1})),
        Script(tokens=["Done."]),
    )
    events = await chat.answer(full("Which contracts differ?"))
    first, second = calls_of(team, lawyer)
    assert not {"weather__sunrise", "hr__payslip"} & {*offered(first)}
    assert {"weather__sunrise", "hr__payslip"} <= {*offered(second)}, (
        "its conversation has calls of them"
    )
    [done] = of_kind(events, "tool.complete")
    assert (done["data"]["tool"], done["data"]["ok"]) == ("weather__sunrise", True)
    [rejected] = of_kind(events, "tool.rejected")
    assert rejected["data"]["reason"] == "invalid_arguments"


async def test_schemas_of_tools_take_from_what_a_call_may_hold_of_messages(
    thirty: None, chat: Chatting, model: ScriptedModel
) -> None:
    await chat.answer(chat_request(f"Overdue invoices {'word ' * 6000}", mode="light"))
    [call] = model.calls
    sent = sum(len(message["content"].encode()) for message in call.body["messages"])
    assert sent // BYTES_PER_TOKEN + tokens_of_tools(call) <= 6000 + OVERHEAD_TOKENS


async def test_words_of_many_tools_are_taken_in_beside_the_event_loop(
    put: Callable[[str], None],
    chat: Chatting,
    team: ScriptedModel,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of hundreds it takes a second, in which no answer went on."""
    roles = {name: f"{role}, {'and much more, ' * 20}" for name, role in AGENTS.items()}
    put(fleet_of(roles, '["*"]'))
    threads: list[threading.Thread] = []

    def noted(entries: tuple[Entry, ...]) -> Index:
        threads.append(threading.current_thread())
        return Index(entries)

    monkeypatch.setattr(choosing, "index_of", noted)
    await with_context(settings, 1200)
    await chat.answer(full(QUESTION))
    assert len(threads) > 1  # for the planner and for others
    assert threading.main_thread() not in threads
