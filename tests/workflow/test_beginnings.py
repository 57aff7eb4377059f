"""A request begins as the last one of its agent began, up to the end of its question.

Model servers read on where they know a beginning, so this is read once. The requests are those
that a model server has got.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from pytest_django import Settings

from chat.llm.messages import ChatMessage, WantedCall
from chat.models import Run
from chat.record import Exchange
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT, PLANNER, RESEARCHER, REVIEWER, WRITER, Agent
from chat.workflow.history import HISTORY_SHARE, beginning_of, history_of, tokens_of
from chat.workflow.prompt import LEFT_OUT, ROOM_SHARE, Prompt, prompt
from chat.workflow.question import Question
from tests.chatting import Chatting, Event, chat_request, kinds
from tests.configs import Configure
from tests.prefix_cache import END, rendered
from tests.runs.pausing import Pause
from tests.runs.workers import Following, another_worker, freeze, mark_died, until_epoch
from tests.scripted_model import Call, Script, ScriptedModel

from .playing import MEMBERS, plan, review, wants

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.bulk]

TURNS = 6
LONG = "A word of the page. " * 60
TOOLS = f'''
import re
from tooling import tool

def place_in(question, follows):
    found = re.search(r"tides? (?:of|at) (\\w+)", question)
    return {{"place": found[1]}} if found else None

@tool(phrases=r"\\btides? (of|at)\\b", from_question=place_in)
def tides(place: str) -> str:
    """Return the tides of a place."""
    return "High at noon. {LONG}"

@tool
def price(article: str) -> str:
    """Return the price of an article."""
    return f"{{article}} costs 5"
'''


@dataclass
class Talk:
    """A chat whose questions differ."""

    chat: Chatting
    model: ScriptedModel
    conversation: str | None = None
    questions: list[str] = field(default_factory=list)

    async def ask(self, question: str, mode: str = "light") -> list[Event]:
        self.questions.append(question)
        request = chat_request(question, mode=mode, conversation_id=self.conversation)
        events = await self.chat.answer(request)
        self.conversation = events[0]["data"]["conversation_id"]
        return events

    def question_of(self, call: Call) -> str:
        """Return the question that a request is about, which stands first in its message."""
        asked = asked_of(call)
        return next(q for q in self.questions if asked == q or asked.startswith(f"{q}\n\n"))

    def beginning_of(self, call: Call) -> str:
        """Return what a request should have in common with the next one of its agent."""
        messages = call.body["messages"]
        place = place_of_question(messages)
        asked = {"role": "user", "content": self.question_of(call)}
        return rendered({**call.body, "messages": [*messages[:place], asked]}).removesuffix(END)

    def breaks(self) -> Iterator[tuple[Call, Call]]:
        """Yield each request that begins otherwise than the one before it, with that one."""
        for agent in {call.instructions for call in self.model.calls}:
            calls = [call for call in self.model.calls if call.instructions == agent]
            first: dict[str, Call] = {}
            newest: dict[str, Call] = {}
            for call in calls:
                asked = asked_of(call)
                if asked in newest:
                    if not rendered(call.body).startswith(rendered(newest[asked].body)):
                        yield newest[asked], call
                else:
                    first[asked] = call
                newest[asked] = call
            for before, after in pairwise(first.values()):
                if not rendered(after.body).startswith(self.beginning_of(before)):
                    yield before, after

    def check(self, *, rounds: int = 0) -> None:
        assert len(self.model.calls) >= len(self.questions)
        assert not list(self.breaks())
        later = [c for c in self.model.calls if c.body["messages"][-1]["role"] == "tool"]
        assert len(later) == rounds


def place_of_question(messages: Sequence[dict[str, Any]]) -> int:
    return max(n for n, message in enumerate(messages) if message["role"] == "user")


def asked_of(call: Call) -> str:
    messages = call.body["messages"]
    return str(messages[place_of_question(messages)]["content"])


@pytest.fixture
def talk(chat: Chatting, team: ScriptedModel) -> Talk:
    return Talk(chat, team)


def numbered(text: str) -> list[str]:
    return [text.format(number) for number in range(1, TURNS + 1)]


# --- Every path -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["plain", "light"])
async def test_one_call_after_another(talk: Talk, mode: str) -> None:
    for question in numbered("What is number {}?"):
        await talk.ask(question, mode)
    talk.check()
    assert len(talk.model.calls) == TURNS
    assert [len(call.body["messages"]) for call in talk.model.calls] == [2, 4, 6, 8, 10, 12]


async def test_light_answers_that_call_tools(talk: Talk) -> None:
    for number, question in enumerate(numbered("Work out number {}.")):
        calls = wants(("calculator", {"expression": f"1 + {number}"}))
        # Every second one says something first.
        calls.tokens = ["I count."] * (number % 2)
        talk.model.as_agent_on(ASSISTANT.instructions, question, calls, Script(tokens=["Done."]))
        await talk.ask(question)
    talk.check(rounds=TURNS)
    assert len({json.dumps(call.body["tools"]) for call in talk.model.calls}) == 1


async def test_tool_calls_before_the_model_is_asked(talk: Talk) -> None:
    for question in numbered("What is 12 * {}?"):
        await talk.ask(question, "auto")
        assert asked_of(talk.model.calls[-1]).startswith(f"{question}\n\n12 * ")
    talk.check()


async def test_own_tools_before_and_by_the_model(talk: Talk, configure: Configure) -> None:
    configure("", TOOLS)
    for number, question in enumerate(numbered("How are the tides at Ostend on day {}?")):
        await talk.ask(question)
        asked = asked_of(talk.model.calls[-1])
        assert asked.startswith(f"{question}\n\nHigh at noon.")
        assert asked.endswith(f"\n\nThe question again:\n{question}")
        other = f"And what does article {number} cost?"
        calls = wants(("price", {"article": f"A{number}"}))
        talk.model.as_agent_on(ASSISTANT.instructions, other, calls, Script(tokens=["Five."]))
        await talk.ask(other, "auto")
    talk.check(rounds=TURNS)


async def test_escalations(talk: Talk, settings: Settings) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 0
    talk.model.as_agent(ASSISTANT.instructions, Script(tokens=["I do not know."]))
    for question in numbered("What is number {}?"):
        events = await talk.ask(question, "auto")
        assert kinds(events).count("routing.decided") == 2
    talk.check()
    assert len(talk.model.calls) == TURNS * 7


async def test_full_answers_of_all_agents(talk: Talk) -> None:
    """Plans, tools and reviews differ from question to question."""
    model = talk.model
    plans = [
        plan("researcher", "analyst"),
        plan("analyst", "researcher", mode="sequential", tools=["calculator"]),
        plan("researcher", mode="delegated", tools=["clock"]),
    ]
    for number, question in enumerate(numbered("Compare number {} with the others.")):
        model.as_agent_on(PLANNER.instructions, question, plans[number % 3])
        model.as_agent_on(
            RESEARCHER.instructions,
            question,
            wants(("clock", {"place": "Oslo"})),
            wants(("clock", {"place": f"Paris{number}"})),
            Script(tokens=["Found ", f"it {number}."]),
        )
        model.as_agent_on(REVIEWER.instructions, question, review(3 + 5 * (number % 2), "a date"))
        await talk.ask(question, "full")
    talk.check(rounds=2 * TURNS)
    assert {call.instructions for call in model.calls} == {each.instructions for each in MEMBERS}
    revised = [call for call in model.calls if call.instructions == WRITER.instructions]
    assert len(revised) == TURNS * 3 // 2


async def test_subtasks_of_one_agent_side_by_side(talk: Talk) -> None:
    talk.model.as_agent(PLANNER.instructions, plan("researcher", "researcher", "researcher"))
    for question in numbered("Compare number {} with the others.")[:3]:
        await talk.ask(question, "full")
    talk.check()
    found = [c for c in talk.model.calls if c.instructions == RESEARCHER.instructions]
    assert len(found) == 9
    first, second, _ = found[:3]
    assert rendered(second.body).startswith(talk.beginning_of(first))


async def test_paths_that_alternate(talk: Talk) -> None:
    for number, question in enumerate(numbered("Tell me more of number {}.")):
        await talk.ask(question, ("light", "full")[number % 2])
    talk.check()


async def test_answers_that_wait_for_a_person(talk: Talk, settings: Settings) -> None:
    settings.FLEET_APPROVE = frozenset({"calculator"})
    for number, question in enumerate(numbered("Work out number {}.")[:3]):
        calls = wants(("calculator", {"expression": f"1 + {number}"}))
        talk.model.as_agent_on(ASSISTANT.instructions, question, calls, Script(tokens=["Done."]))
        pause = Pause(await talk.ask(question))
        events = await talk.chat.answer(pause.frame())
        assert events[-1]["data"]["status"] == "completed"
    talk.check(rounds=3)


async def test_answer_that_another_worker_takes_over(talk: Talk, settings: Settings) -> None:
    settings.FLEET_LEASE_TTL = 2.0
    await talk.ask("What is number 1?")
    question = "Work out number 2."
    calls = wants(("calculator", {"expression": "6 * 7"}))
    talk.model.as_agent_on(
        ASSISTANT.instructions, question, calls, Script(tokens=["42."], hold_after=0)
    )
    talk.questions.append(question)
    async with another_worker() as other:
        request = chat_request(question, mode="light", conversation_id=talk.conversation)
        socket = await talk.chat.ask(request)
        run = await Run.objects.aget(pk=(await socket.until("connected"))["workflow_id"])
        async with asyncio.timeout(20):
            while len(talk.model.calls) < 3:  # the last one reads the tool's result
                await asyncio.sleep(0.01)
        await Worker.current().journals.write()
        await freeze(Worker.current())
        await mark_died(run.pk)
        await until_epoch(run.pk, 1)
        reader = Following(other, run.pk)
        await reader.until("resumed")
        talk.model.release()
        await reader.to_the_end()
    await talk.ask("What is number 3?")
    talk.check(rounds=2)
    _, _, first, again, _ = talk.model.calls
    assert rendered(first.body) == rendered(again.body)


# --- Every length ---------------------------------------------------------------------------------


async def read_with(settings: Settings, window: int) -> None:
    settings.FLEET_CONTEXT_TOKENS = window
    await Worker.current().stop()  # the next one reads the setting


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(1000, marks=pytest.mark.long),
        6000,
        pytest.param(65_536, marks=pytest.mark.long),
    ],
)
async def test_chat_of_120_questions_is_read_anew_only_after_many(
    talk: Talk, settings: Settings, window: int
) -> None:
    await read_with(settings, window)
    talk.model.default = Script(tokens=["word "] * 60, at_once=True)
    for number in range(120):
        await talk.ask(f"What is number {number}?", "light")
    breaks = list(talk.breaks())
    size = tokens_of(Exchange("What is number 100?", "word " * 60))
    # Half of what may be read is left out at once; so is half of what is loaded.
    blocks = 120 * size // (window // HISTORY_SHARE // 2 - size) + 120 // 25
    assert 0 < len(breaks) <= blocks
    for before, after in breaks:
        assert after.body["messages"][1] != before.body["messages"][1], "others are left out"
    for call in talk.model.calls:
        assert sum(each["content"].count("word") for each in call.body["messages"]) < window
    *_, last = talk.model.calls
    assert "What is number 118?" in json.dumps(last.body)


def exchanges(count: int, size: int) -> list[Exchange]:
    return [
        Exchange(f"Question {n}?", f"Answer {n}. " + "x" * (n % 3) * size) for n in range(count)
    ]


@pytest.mark.parametrize("size", [0, 300, 3000])
@pytest.mark.parametrize("window", [1000, 1500, 2400, 6000, 16_000, 65_536])
@pytest.mark.parametrize("agent", [ASSISTANT, *MEMBERS], ids=lambda agent: agent.id)
def test_every_agent_begins_in_the_same_way_until_half_is_left_out(
    agent: Agent, window: int, size: int
) -> None:
    earlier, before, first = exchanges(120, size), "", 0
    budget = window // HISTORY_SHARE
    for turn in range(121):
        question = Question(f"Question {turn}?", "auto", earlier=earlier[:turn])
        made = prompt(agent, question, window)
        text = "".join(f"{each.role}: {each.content}\n" for each in made.messages)
        begin = made.history.unread // 2
        if begin == first:
            assert text.startswith(before), turn
        else:
            assert begin > first
            sizes = [tokens_of(each) for each in earlier[begin:turn]]
            assert sum(sizes) <= budget // 2 or len(sizes) == 1
        before, first = text.removesuffix("\n"), begin
        assert sum(each.tokens for each in made.messages) <= window
        assert made.history.exchanges or not turn
        made.add_to_question("Draft:\nWhat is for this question alone.")
        assert made.messages[-1].content.startswith(question.text)


def test_beginning_does_not_depend_on_the_question() -> None:
    earlier = exchanges(40, 300)
    begins = {
        prompt(ASSISTANT, Question(text, "auto", earlier=earlier), 2400).history.unread
        for text in ("Why?", "Why? " * 300)
    }
    assert begins == {2 * beginning_of(earlier, 1200)}


def test_long_question_leaves_out_more_for_its_turn_alone() -> None:
    earlier = exchanges(40, 300)
    usual = history_of(Question("Why?", "auto", earlier=earlier), 2400)
    made = prompt(ASSISTANT, Question("Why? " * 1000, "auto", earlier=earlier), 2400)
    assert made.history.unread > usual.unread
    assert made.history.unread + 2 * len(made.history.exchanges) == 80
    assert sum(message.tokens for message in made.messages) <= 2400
    made = prompt(ASSISTANT, Question("Why? " * 2000, "auto", earlier=earlier), 2400)
    assert made.history.unread == 80


def test_long_last_exchange_loses_its_middle_and_stays() -> None:
    pasted = Exchange("Read this: " + "word " * 9000 + "Who wrote it?", "Nobody.")
    made = prompt(ASSISTANT, Question("And when?", "auto", earlier=[pasted]), 6000)
    [read] = made.history.exchanges
    assert read.question.startswith("Read this: word")
    assert read.question.endswith("Who wrote it?")
    assert tokens_of(read) <= 3010
    assert made.history.unread == 0


def test_exchanges_that_were_not_loaded_count_as_unread() -> None:
    question = Question("Why?", "auto", earlier=exchanges(3, 0), unloaded=50)
    assert history_of(question, 6000).unread == 100


# --- Rounds ---------------------------------------------------------------------------------------


def rounds(number: int, size: int) -> list[ChatMessage]:
    call = WantedCall(f"{number}", "clock", "{}")
    return [
        ChatMessage("assistant", "", tool_calls=[call]),
        ChatMessage("tool", f"{number} " + "x" * size, tool_call_id=call.id),
    ]


@pytest.mark.parametrize("window", [2400, 6000, 16_000])
@pytest.mark.parametrize("share", [6, 20])
def test_rounds_begin_like_those_before_until_much_is_left_out_at_once(
    window: int, share: int
) -> None:
    """Results of a part of the window each, until they would fill it twice, behind a long chat."""
    question = Question("Why?", "auto", earlier=exchanges(120, 300))
    made = prompt(ASSISTANT, question, window)
    breaks = 0
    for number in range(2 * share):
        before = list(made.messages)
        newest = rounds(number, 3 * window // share)
        made.messages += newest
        made.fit(window)
        assert sum(message.tokens for message in made.messages) <= window
        assert made.messages[-1] == newest[-1], "the newest result is whole"
        breaks += made.messages[: len(before)] != before
    assert 1 <= breaks <= 2 * ROOM_SHARE
    assert made.history.unread + 2 * len(made.history.exchanges) == 240
    assert made.history.messages == made.messages[1 : 1 + 2 * len(made.history.exchanges)]
    assert made.history.exchanges, "a follow-up is about the last one"


def test_results_are_left_out_only_as_far_as_needed() -> None:
    made = Prompt([ChatMessage("system", "s"), ChatMessage("user", "Why?"), *rounds(1, 1200)])
    made.messages += rounds(2, 1200)
    made.fit(700)
    contents = [message.content[:1] for message in made.messages if message.role == "tool"]
    assert contents == [LEFT_OUT[:1], "2"]


# --- What is told of it ---------------------------------------------------------------------------


async def test_ending_says_how_many_messages_were_not_read(talk: Talk, settings: Settings) -> None:
    await read_with(settings, 1000)
    talk.model.default = Script(tokens=["word "] * 200, at_once=True)
    unread = []
    for question in numbered("What is number {}?"):
        events = await talk.ask(question)
        unread.append(events[-1]["data"].get("unread_messages", 0))
        [call] = talk.model.calls[-1:]
        earlier = 2 * (len(talk.questions) - 1)
        assert unread[-1] == earlier - (len(call.body["messages"]) - 2)
    assert unread[0] == 0
    assert unread[-1] > 0
    assert unread == sorted(unread)
