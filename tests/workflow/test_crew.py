"""Agents that a fleet.toml adds, changes, switches off, or puts in another one's place."""

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from chat.models import Run
from chat.protocol.terms import SUBPROTOCOL_HTML
from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from chat.workflow.crew import JSON_ALONE, crew
from chat.workflow.team import default_plan
from tests.chatting import Chatting, Event, chat_request, text_of
from tests.configs import Configure
from tests.scripted_model import Script, ScriptedModel
from tooling.names import matches

from .playing import calls_of, full, messages_of, of_kind, plan, review

pytestmark = pytest.mark.django_db(transaction=True)

LAWYER = """
    [agents.lawyer]
    role = "reads contracts"
    instructions = "You read contracts."
"""
TOOL = '''
from tooling import tool

@tool(timeout=5)
async def stock(article: str) -> str:
    """How many of an article are in stock."""
    return "7"
'''


def default(question: str) -> list[str]:
    return [subtask.agent for subtask in default_plan(question, crew().specialists).subtasks]


def authors(events: list[Event]) -> list[tuple[str, str]]:
    return [(event["agent_id"], event["author"]) for event in of_kind(events, "agent.start")]


def calls_with(model: ScriptedModel, instructions: str) -> list[Any]:
    return [call for call in model.calls if call.instructions == instructions]


# --- An agent that is added -----------------------------------------------------------------------


async def test_added_agent_works_on_its_subtasks(
    configure: Configure, chat: Chatting, team: ScriptedModel
) -> None:
    configure(LAWYER)
    team.as_agent(PLANNER.instructions, plan("lawyer", "analyst", "lawyer"))
    team.as_agent("You read contracts.", Script(tokens=["It ends in May."]))
    events = await chat.answer(full())
    assert ("lawyer", "Lawyer") in authors(events)
    assert ("lawyer-2", "Lawyer 2") in authors(events)
    told = of_kind(events, "agent.message")[0]["message"]
    assert "- Lawyer: part 0\n- Analyst: part 1\n- Lawyer 2: part 2" in told
    [planned] = calls_of(team, PLANNER)
    assert "\nlawyer: reads contracts. Tools: none" in planned.question
    [edited] = calls_of(team, EDITOR)
    assert "Notes of Lawyer 2 on: part 2:\nIt ends in May." in edited.question
    assert messages_of(events).startswith("Not needed: Researcher.")


async def test_added_agent_may_call_the_tools_that_it_names(
    configure: Configure, chat: Chatting, team: ScriptedModel
) -> None:
    configure(LAWYER + '    tools = ["stock", "clock"]\n', TOOL)
    team.as_agent(PLANNER.instructions, plan("lawyer", "researcher"))
    call = Script(tokens=[], calls=[("stock", '{"article": "a"}')])
    team.as_agent("You read contracts.", call, Script(tokens=["Seven."]))
    events = await chat.answer(full())
    [done] = of_kind(events, "tool.complete")
    assert (done["agent_id"], done["data"]["tool"], done["data"]["ok"]) == ("lawyer", "stock", True)
    [researching, *_] = calls_of(team, RESEARCHER)
    names = [each["function"]["name"] for each in researching.body["tools"]]
    assert names == ["clock"], "an added tool that an agent names is that agent's"


async def test_added_tool_that_no_agent_names_is_the_researchers(
    configure: Configure, chat: Chatting, team: ScriptedModel
) -> None:
    configure(LAWYER, TOOL)
    await chat.answer(full())
    [researching, *_] = calls_of(team, RESEARCHER)
    names = [each["function"]["name"] for each in researching.body["tools"]]
    assert names == ["clock", "stock"]


async def test_agent_without_a_tool_that_is_on_works_without(
    configure: Configure, chat: Chatting, team: ScriptedModel
) -> None:
    configure(LAWYER + '    tools = ["stock"]\n    [tools.stock]\n    enabled = false\n', TOOL)
    team.as_agent(PLANNER.instructions, plan("lawyer", tools=["stock"]))
    team.as_agent("You read contracts.", Script(tokens=["None."]))
    events = await chat.answer(full())
    [call] = calls_with(team, "You read contracts.")
    assert "tools" not in call.body
    assert "dropped: stock" in messages_of(events)
    assert text_of(events) == "The final answer."
    assert "lawyer: reads contracts. Tools: none" in calls_of(team, PLANNER)[0].question


@pytest.mark.parametrize(
    ("by_default", "question", "wanted"),
    [
        ("always", "Why?", ["researcher", "lawyer"]),
        ("numbers", "Why?", ["researcher"]),
        ("numbers", "Why 3?", ["researcher", "analyst", "lawyer"]),
        ("never", "Why 3?", ["researcher", "analyst"]),
    ],
)
def test_default_plan_has_the_agents_that_say_so(
    configure: Configure, by_default: str, question: str, wanted: list[str]
) -> None:
    configure(LAWYER + f'    by_default = "{by_default}"\n')
    assert default(question) == wanted


def test_default_plan_is_changed_for_the_products_agents(configure: Configure) -> None:
    configure("""
        [agents.researcher]
        by_default = "never"
        [agents.analyst]
        by_default = "always"
    """)
    assert default("Why?") == ["analyst"]


@pytest.mark.parametrize("gone", ["researcher", "analyst"])
async def test_team_works_without_an_agent_that_is_switched_off(
    configure: Configure, chat: Chatting, team: ScriptedModel, gone: str
) -> None:
    configure(f"[agents.{gone}]\nenabled = false\n")
    left = "analyst" if gone == "researcher" else "researcher"
    team.as_agent(PLANNER.instructions, Script(tokens=["no plan"]))
    events = await chat.answer(full("Why 3?"))
    assert [agent for agent, _ in authors(events)] == [
        "planner",
        left,
        "writer",
        "reviewer",
        "editor",
    ]
    assert f"{gone}:" not in calls_of(team, PLANNER)[0].question


def test_added_agent_may_be_the_only_one(configure: Configure) -> None:
    configure(
        LAWYER + "    [agents.researcher]\n    enabled = false\n"
        "    [agents.analyst]\n    enabled = false\n"
    )
    assert [agent.id for agent in crew().specialists] == ["lawyer"]
    assert default("Why?") == ["lawyer"], "someone must have the question"


# --- Changed agents, and stand-ins ----------------------------------------------------------------


async def test_products_agent_is_changed_and_keeps_its_post(
    configure: Configure, chat: Chatting, team: ScriptedModel
) -> None:
    configure("""
        [agents.writer]
        name = "Ghost & Co. <b>"
        instructions = "You draft in rhymes."
    """)
    team.as_agent("You draft in rhymes.", Script(tokens=["a rhyme"]))
    events = await chat.answer(full())
    assert ("writer", "Ghost & Co. <b>") in authors(events)
    assert not calls_of(team, WRITER)
    assert "Draft:\na rhyme" in calls_of(team, EDITOR)[0].question


async def test_other_agents_stand_in_for_every_phase_of_the_team(
    configure: Configure, chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    posts = {"strategist": "analysis", "scribe": "writing", "critic": "review", "voice": "final"}
    configure(
        "\n".join(
            f'[agents.{name}]\nphase = "{post}"\ninstructions = "You are the {name}."'
            for name, post in posts.items()
        )
    )
    team.as_agent(f"You are the strategist. {JSON_ALONE}", plan("analyst"))
    team.as_agent("You are the scribe.", Script(tokens=["a draft"]))
    team.as_agent(f"You are the critic. {JSON_ALONE}", review(9))
    team.as_agent("You are the voice.", Script(tokens=["Mine."]))
    events = await chat.answer(full())
    assert [agent for agent, _ in authors(events)] == [
        *("strategist", "analyst", "scribe", "critic", "voice")
    ]
    assert text_of(events) == "Mine."
    products = (PLANNER, WRITER, REVIEWER, EDITOR)
    assert not [call for agent in products for call in calls_of(team, agent)]
    for name in ("strategist", "critic"):
        [call] = calls_with(team, f"You are the {name}. {JSON_ALONE}")
        assert "json_schema" in json.dumps(call.body["response_format"])


async def test_another_agent_stands_in_for_light_answers(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure(
        """
        [agents.pirate]
        phase = "answer"
        name = "Captain"
        instructions = "You answer as a pirate."
        """,
        TOOL,
    )
    model.as_agent("You answer as a pirate.", Script(tokens=["Arr."]))
    events = await chat.answer(chat_request("Hello there", mode="light"))
    assert authors(events) == [("pirate", "Captain")]
    assert text_of(events) == "Arr."
    [call] = model.calls
    names = [each["function"]["name"] for each in call.body["tools"]]
    assert names == ["calculator", "clock", "stock"], "the tools of the agent that it stands in for"


@pytest.mark.parametrize("agent", [ASSISTANT, PLANNER, WRITER, REVIEWER, EDITOR])
def test_stand_in_has_the_path_and_the_persons_instructions_of_its_post(
    configure: Configure, agent: Any
) -> None:
    post = {"assistant": "answer", "planner": "analysis", "writer": "writing"}
    post |= {"reviewer": "review", "editor": "final"}
    configure(f'[agents.other]\nphase = "{post[agent.id]}"\ninstructions = "Other."')
    [other] = [each for each in crew().agents if each.id == "other"]
    assert (other.tier, other.heeds_person) == (agent.tier, agent.heeds_person)
    assert agent.id not in {each.id for each in crew().agents}


def test_agent_that_another_stands_in_for_may_be_switched_off(configure: Configure) -> None:
    for order in (0, 1):
        tables = [
            '[agents.bard]\nphase = "writing"\ninstructions = "In verse."\n',
            "[agents.writer]\nenabled = false\n",
        ]
        configure("".join(tables if order else tables[::-1]))
        assert crew().writer.id == "bard"


def test_instructions_that_ask_for_json_get_no_second_sentence(configure: Configure) -> None:
    configure('[agents.reviewer]\ninstructions = "Reply in JSON."\n')
    assert crew().reviewer.instructions == "Reply in JSON."


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[agents.writer]\nenabled = false\n", 'another agent must have phase = "writing"'),
        ('[agents.editor]\ntools = ["clock"]\n', "phases answer and research"),
        (
            '[agents.a]\nphase = "review"\ninstructions = "A."\n'
            '[agents.b]\nphase = "review"\ninstructions = "B."\n',
            "a has this phase already",
        ),
        ('[agents.writer]\nphase = "final"\n', "stays in writing"),
        ('[agents.writer]\nby_default = "always"\n', "phase research"),
        (
            "[agents.researcher]\nenabled = false\n[agents.analyst]\nenabled = false\n",
            "at least one agent",
        ),
    ],
)
def test_crew_that_cannot_work_is_refused(configure: Configure, toml: str, problem: str) -> None:
    configure(toml)
    with pytest.raises(ImproperlyConfigured, match=problem):
        crew()


# --- How they are shown ---------------------------------------------------------------------------

ODD = "Ghost & Co. %(agent)s <b>"


async def test_odd_names_are_shown_as_text_wherever_people_read_them(
    configure: Configure, chat: Chatting, team: ScriptedModel, admin_client: Client
) -> None:
    configure(
        f'''
        [agents.writer]
        name = "{ODD}"
        [agents.ghost_2]
        name = "شبح"
        role = "haunts"
        instructions = "You haunt."
        '''
    )
    team.as_agent(PLANNER.instructions, plan("ghost_2", "ghost_2"))
    events = await chat.answer(full(), subprotocol=SUBPROTOCOL_HTML)
    assert [author for _, author in authors(events)][1:4] == ["شبح", "شبح 2", ODD]
    html = "".join(event["html"] for event in events if event.get("html"))
    assert "Ghost &amp; Co. %(agent)s &lt;b&gt; is drafting" in html
    assert "شبح 2" in html
    run = await Run.objects.alatest("created_at")
    page = await sync_to_async(admin_client.get)(f"/admin/chat/run/{run.pk}/change/")
    for shown in ("Ghost &amp; Co. %(agent)s &lt;b&gt;", "شبح 2"):
        assert shown in page.text
    for text in (html, page.text):
        assert "<b>" not in text.replace("<b></b>", "")


# --- Names of tools -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("shop__read", "shop__read", True),
        ("shop__read", "shop__*", True),
        ("shop__read", "*", True),
        ("shop__read", "shop__r", False),
        ("shopping", "shop__*", False),
        ("a[b", "a[*", True),
        ("ab", "a?", False),
    ],
)
def test_only_a_star_at_the_end_of_a_name_stands_for_others(
    name: str, pattern: str, expected: bool
) -> None:
    assert matches(name, [pattern]) is expected


def test_pattern_takes_tools_that_come_later(configure: Configure) -> None:
    configure(LAWYER + '    tools = ["shop__*"]\n    [mcp.shop]\n    command = ["x"]\n')
    lawyer = crew().specialists[-1]
    assert crew().tools_of(lawyer, {"shop__read", "shop__buy", "clock"}) == {
        "shop__read",
        "shop__buy",
    }
    researcher = crew().specialists[0]
    assert crew().tools_of(researcher, {"shop__read", "other__read"}) == {"other__read"}
    assert ANALYST.tools == crew().specialists[1].tools
