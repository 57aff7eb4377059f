"""Steps: what they tell when they are cut, what a cut call cost, and when others get a turn."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from chat.llm.client import ModelClient
from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import ChatMessage, Finished, Piece, Text
from chat.models import Run
from chat.protocol.events import AgentComplete, ResponseDelta, StreamEvent
from chat.protocol.terms import Usage
from chat.record import Outcome
from chat.runs.supervisor import LiveRun
from chat.workflow.agents import ASSISTANT, EDITOR, RESEARCHER, Agent
from chat.workflow.crew import crew
from chat.workflow.light import Light
from chat.workflow.prompt import Prompt
from chat.workflow.team import default_plan
from chat.workflow.together import side_by_side
from chat.workflow.turn import YIELD_EVERY_N_PIECES, Turn
from chat.workflow.work import Work
from tests.chatting import Chatting, Event, chat_request, kinds, text_of
from tests.configs import Configure
from tests.scripted_model import Script, ScriptedModel

from .playing import MEMBERS, Values, calls_of, full, of_kind, plan, work_of

pytestmark = pytest.mark.django_db(transaction=True)


def ends(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"] in ("agent.complete", "phase.complete")]


@pytest.mark.parametrize("agent", MEMBERS)
async def test_cancelled_step_tells_its_end_as_cut(
    chat: Chatting, team: ScriptedModel, agent: Any
) -> None:
    team.as_agent(agent.instructions, Script(tokens=["a ", "b"], hang_after=1))
    socket = await chat.ask(full())
    async with asyncio.timeout(30):
        # What planner and reviewer write makes no event.
        while not calls_of(team, agent):
            await asyncio.sleep(0.005)
    await socket.send({"type": "cancel"})
    events = await socket.rest()
    cut = [event for event in ends(events) if event["data"]["cut"]]
    assert agent.id in [event["agent_id"] for event in cut[:-1]]
    assert cut[-1]["type"] == "phase.complete"
    started = [event["type"] for event in events if event["type"].endswith(".start")]
    assert len(ends(events)) == len(started)
    assert kinds(events)[-2:] == ["cancelled", "done"]


async def test_failing_light_answer_tells_its_end_as_cut(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.default = Script(tokens=["a ", "b"], cut_after=1)
    events = await chat.answer(chat_request(mode="light"))
    assert [event["data"]["cut"] for event in ends(events)] == [False, True, True]
    assert events[-1]["type"] == "error"


async def test_finished_steps_are_not_cut(chat: Chatting, team: ScriptedModel) -> None:
    events = await chat.answer(full())
    assert not any(event["data"]["cut"] for event in ends(events))


@pytest.mark.parametrize("agent", [ASSISTANT, EDITOR])
async def test_cost_and_phases_of_a_cancelled_run_are_stored(
    chat: Chatting, team: ScriptedModel, agent: Agent
) -> None:
    team.as_agent(agent.instructions, Script(tokens=["word "] * 40, hang_after=40))
    mode = "light" if agent is ASSISTANT else "full"
    socket = await chat.ask(chat_request(mode=mode))
    while sum(event["type"] == "response.delta" for event in socket.events) < 40:
        await socket.event()
    await socket.send({"type": "cancel"})
    events = await socket.rest()
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.model_calls == len(team.calls)
    cost = of_kind(events, "agent.complete")[-1]["data"]["usage"]
    assert cost["output_tokens"] >= 40
    assert cost["input_tokens"] > 0
    assert run.output_tokens >= 40
    started = [event["data"]["phase"] for event in of_kind(events, "phase.start")]
    assert sorted(run.recorded_ending.timings.phases) == sorted(started)


async def test_slow_step_is_ended_and_counted_when_its_run_ends(
    chat: Chatting, team: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close of the upstream takes longer than a cancelled workflow may take."""
    stream = ModelClient.stream

    async def slow_to_close(client: ModelClient, *args: Any, **options: Any) -> Any:
        try:
            async with aclosing(stream(client, *args, **options)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.3)

    team.as_agent(RESEARCHER.instructions, Script(tokens=["a ", "b"], hang_after=1))
    socket = await chat.ask(full())
    monkeypatch.setattr(ModelClient, "stream", slow_to_close)
    async with asyncio.timeout(30):
        while not calls_of(team, RESEARCHER):
            await asyncio.sleep(0.005)
    await socket.send({"type": "cancel"})
    events = await socket.rest()
    assert [event["type"] for event in events[-4:]] == [
        "agent.complete",
        "phase.complete",
        "cancelled",
        "done",
    ]
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.model_calls == len(team.calls)
    assert "research" in run.recorded_ending.timings.phases


async def test_step_that_fails_while_it_is_cancelled_ends_as_cancelled(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def fails(_: Light) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise EmptyAnswer

    monkeypatch.setattr(Light, "answer", fails)
    socket = await chat.ask(chat_request(mode="light"))
    await begun.wait()
    await socket.send({"type": "cancel"})
    assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]


async def test_events_told_while_the_ending_is_written_are_dropped(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, late = asyncio.Event(), asyncio.Event()

    async def stubborn(light: Light) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.3)  # longer than a cancelled workflow may take
            light.work.tell(ResponseDelta(delta="late"))
        late.set()

    write = LiveRun.write

    async def slow_write(run: LiveRun, outcome: Outcome) -> bool:
        await late.wait()
        return await write(run, outcome)

    monkeypatch.setattr(Light, "answer", stubborn)
    monkeypatch.setattr(LiveRun, "write", slow_write)
    socket = await chat.ask(chat_request(mode="light"))
    await begun.wait()
    await socket.send({"type": "cancel"})
    events = await socket.rest()
    run = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert run.last_seq == events[-1]["seq"] == len(events)
    assert run.answer.text == ""
    again = await chat.answer(
        chat_request(message_id=str(run.message_id), conversation_id=None, mode="light")
    )
    assert "response.delta" not in kinds(again)
    assert text_of(again) == ""


# --- Turns with a model of values -----------------------------------------------------------------


def turn_of(work: Work, agent: Agent = RESEARCHER) -> Turn:
    return Turn(agent, work, Prompt([ChatMessage("user", "Why?")]), max_tokens=10_000)


async def test_quick_model_lets_others_have_a_turn() -> None:
    pieces = [Text("word ")] * (40 * YIELD_EVERY_N_PIECES)
    turn = turn_of(work_of(Values(*pieces, Finished(Usage(), 1)), told := []))
    turns_of_others = 0

    async def other() -> None:
        nonlocal turns_of_others
        while True:
            turns_of_others += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    await asyncio.sleep(0)
    await turn.take()
    waiting.cancel()
    assert turns_of_others >= 40
    assert len(told) > len(pieces)


async def test_unforgiven_failure_ends_the_other_turns() -> None:
    told: list[StreamEvent] = []

    class Hanging(Values):
        async def stream(self, _: list[ChatMessage], **__: Any) -> AsyncGenerator[Piece]:
            yield Text("so far")
            await asyncio.Event().wait()

    class Broken(Values):
        async def stream(self, _: list[ChatMessage], **__: Any) -> AsyncGenerator[Piece]:
            await asyncio.sleep(0)
            raise ZeroDivisionError
            yield

    turns = [turn_of(work_of(client, told)) for client in (Hanging(), Broken())]
    with pytest.raises(ZeroDivisionError):
        await side_by_side(turns, until=time.monotonic() + 60, forgiving=ModelError)
    assert [event.data.cut for event in told if isinstance(event, AgentComplete)] == [True, True]
    assert turns[0].said.text == "so far"


# --- Another specialist ---------------------------------------------------------------------------

TRANSLATOR = """
[agents.translator]
role = "translates what others found"
instructions = "You are the translator of a team."
"""


@pytest.fixture
def translator(configure: Configure) -> Agent:
    configure(TRANSLATOR)
    return crew().specialists[-1]


async def test_added_specialist_can_be_planned(
    chat: Chatting, team: ScriptedModel, translator: Agent
) -> None:
    team.as_agent(MEMBERS[0].instructions, plan("translator"))
    team.as_agent(translator.instructions, Script(tokens=["Bonjour"]))
    events = await chat.answer(full())
    assert "translator: translates what others found" in calls_of(team, MEMBERS[0])[0].question
    assert len(calls_of(team, translator)) == 1
    assert "Bonjour" in calls_of(team, EDITOR)[0].question
    assert events[-1]["data"]["status"] == "completed"


@pytest.mark.parametrize(
    ("question", "agents"),
    [("Why is it so?", ["researcher"]), ("What are 3 of 4?", ["researcher", "analyst"])],
)
def test_added_specialist_is_not_in_the_default_plan(
    translator: Agent, question: str, agents: list[str]
) -> None:
    plan = default_plan(question, crew().specialists)
    assert [subtask.agent for subtask in plan.subtasks] == agents


def test_added_specialist_says_when_it_is_in_the_default_plan(configure: Configure) -> None:
    configure(TRANSLATOR + 'by_default = "always"')
    plan = default_plan("Why?", crew().specialists)
    assert [subtask.agent for subtask in plan.subtasks] == ["researcher", "translator"]


def test_default_plan_without_a_fitting_agent_takes_the_first(configure: Configure) -> None:
    configure(TRANSLATOR + "[agents.researcher]\nenabled = false\n")
    plan = default_plan("Why?", crew().specialists)
    assert [subtask.agent for subtask in plan.subtasks] == ["analyst"]


async def test_failed_plan_follows_the_default_plan_of_numbers(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(MEMBERS[0].instructions, Script(tokens=["no plan"]))
    events = await chat.answer(full("Compare 3 with 4."))
    [message] = of_kind(events, "agent.message")[:1]
    assert "- Researcher:" in message["message"]
    assert "- Analyst:" in message["message"]
