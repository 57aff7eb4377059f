"""A workflow that waits for a person: approvals, questions, and acts that may have happened."""

from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from chat.llm.errors import ModelError
from chat.protocol.events import (
    AgentComplete,
    ReasoningDelta,
    ResponseDelta,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.terms import Asked, Decision, Reply
from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR
from chat.workflow.memory import Kept, Memory, Paused, Withdrawn
from chat.workflow.steps import TurnEnd, decoded, encoded
from tooling import known, toolbox
from tooling.registry import CallKey, Tool, tool

from .scripts import SCRIPTS, TEAM, Played, play, says, text_of

CALCULATE = says(calls=[("calculator", {"expression": "6 * 7"})])
CALCULATOR = frozenset({known.TOOLS["calculator"].definition})
SCRIPT = {**TEAM, ANALYST.id: [CALCULATE, says("it is done")]}


class Till:
    """A tool that acts, and what it has done."""

    def __init__(self) -> None:
        self.paid: list[tuple[int, str]] = []

    @property
    def tool(self) -> Tool:
        @tool(timeout=1, acts=True, light=False)
        async def calculator(expression: str, key: CallKey) -> str:
            """Pay."""
            self.paid.append((len(expression), key))
            return "paid"

        return calculator


@pytest.fixture(autouse=True)
def script(settings: Settings) -> Any:
    SCRIPTS["asking"] = ("full", SCRIPT)
    settings.FLEET_APPROVE = frozenset({"calculator"})
    yield
    del SCRIPTS["asking"]


async def paused(memory: Memory | None = None) -> tuple[Played, list[Asked]]:
    """Play until a person is asked. Return what was played, and what is asked."""
    played: list[Played] = []
    with pytest.raises(Paused):
        await play("asking", memory, on_begin=played.append)
    [played_] = played
    assert played_.answer
    return played_, played_.answer.work.asks


def resumed(played: Played, asks: list[Asked], decision: Decision, **fields: Any) -> Memory:
    """Return the memory of the run that goes on, as the server makes it."""
    kept = played.ledger.stored | played.ledger.riding
    for ask in asks:
        reply = Reply(ask_id=ask.data.ask_id, decision=decision, **fields)
        kept[f"{ask.name}/reply"] = Kept(encoded(reply))
    told = [e for e in played.events if not isinstance(e, ResponseDelta | ReasoningDelta)]
    return Memory(
        kept={name: Kept(k.value, inherited=True) for name, k in kept.items()},
        told=told,
        text=text_of(played.events),
        inherited=len(told),
    )


def of_kind[T](played: Played, kind: type[T]) -> list[T]:
    return [event for event in played.events if isinstance(event, kind)]


async def test_a_call_waits_for_its_approval_while_siblings_finish() -> None:
    played, [ask] = await paused()
    assert ask.name == "research/analyst/1/tool-0/ask-1"
    assert (ask.data.kind, ask.data.tool, ask.data.arguments) == (
        "approval",
        "calculator",
        {"expression": "6 * 7"},
    )
    assert ask.data.schema["properties"]["expression"]
    assert "calculator" not in {event.data.tool for event in of_kind(played, ToolStart)}
    said = {agent for agent, _ in played.models.prompts}
    assert "researcher" in said
    assert "research/researcher/2" in played.ledger.stored
    assert EDITOR.id not in said


async def test_an_approved_call_is_made_and_no_model_is_asked_again() -> None:
    played, asks = await paused()
    again = await play("asking", resumed(played, asks, "approve"))
    assert text_of(again.events) == "The final answer [1]."
    [start] = of_kind(again, ToolStart)
    assert start.data.arguments == {"expression": "6 * 7"}
    made = [agent for agent, _ in again.models.prompts]
    assert made == ["analyst", "writer", "reviewer", "writer", "editor"]
    [analyst] = [e for e in of_kind(again, AgentComplete) if e.agent_id == ANALYST.id]
    assert analyst.data.usage.model_calls == 1
    # The figures of the paused run are its own.
    assert len(again.calls) == len(made)


async def test_an_edited_call_is_what_the_model_reads_as_its_own() -> None:
    played, asks = await paused()
    memory = resumed(played, asks, "edit", arguments={"expression": "6 * 8"})
    again = await play("asking", memory)
    [done] = of_kind(again, ToolComplete)
    assert done.data.ok
    prompt = next(messages for agent, messages in again.models.prompts if agent == "analyst")
    assert [call.arguments for message in prompt for call in message.tool_calls] == [
        '{"expression":"6 * 8"}'
    ]
    assert "48" in prompt[-1].content


async def test_the_model_reads_why_a_call_was_refused() -> None:
    played, asks = await paused()
    again = await play("asking", resumed(played, asks, "refuse", text="Too dear."))
    [rejected] = of_kind(again, ToolRejected)
    assert rejected.data.reason == "refused"
    assert not of_kind(again, ToolStart)
    prompt = next(messages for agent, messages in again.models.prompts if agent == "analyst")
    assert "Too dear." in prompt[-1].content


async def test_a_question_that_is_taken_back_ends_the_work() -> None:
    played, asks = await paused()
    with pytest.raises(Withdrawn):
        await play("asking", resumed(played, asks, "withdraw"))


async def test_an_approval_of_another_definition_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played, asks = await paused()
    memory = resumed(played, asks, "approve")
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(Till().tool))
    _, [again] = await paused(memory)
    assert again.name == "research/analyst/1/tool-0/ask-2"


async def test_a_call_that_cannot_be_made_is_rejected_without_asking() -> None:
    SCRIPTS["asking"] = (
        "full",
        {**SCRIPT, ANALYST.id: [says(calls=[("calculator", {"wrong": 1})]), says("no")]},
    )
    played = await play("asking")
    assert [event.data.reason for event in of_kind(played, ToolRejected)] == ["invalid_arguments"]


async def test_an_approval_for_the_conversation_is_not_asked_again() -> None:
    played = await play("asking", approved=CALCULATOR)
    assert [e.data.tool for e in of_kind(played, ToolStart)].count("calculator") == 1


async def test_an_agent_asks_the_person_once(settings: Settings) -> None:
    settings.FLEET_QUESTIONS = True
    # No approval is needed for a question itself.
    settings.FLEET_APPROVE = frozenset({"ask_person"})
    asks_person = ("ask_person", {"question": "Which year?", "options": ["2025", "2026"]})
    SCRIPTS["asking"] = (
        "full",
        {**SCRIPT, ANALYST.id: [says(calls=[asks_person]), says(calls=[asks_person]), says("ok")]},
    )
    played, [ask] = await paused()
    assert (ask.data.kind, ask.data.message) == ("question", "Which year?")
    assert ask.data.options == ["2025", "2026"]
    again = await play("asking", resumed(played, [ask], "answer", text="2026"))
    prompt = next(messages for agent, messages in again.models.prompts if agent == "analyst")
    assert prompt[-1].content == "The person answered: 2026"
    # The same question is answered from what is known.
    assert [e.data.repeated for e in of_kind(again, ToolComplete)] == [False, True]


def died_in_the_act(whole: Played) -> Memory:
    """Return what is left of a worker that died in the call: `begun` is kept, the result is not."""
    begun = "research/analyst/1/tool-0/begun-1"
    place = next(n for n, stored in enumerate(whole.stored) if begun in stored)
    told = [e for e in whole.events[:place] if not isinstance(e, ResponseDelta | ReasoningDelta)]
    return Memory(kept=whole.stored[place], told=told)


async def test_an_act_is_made_once_and_an_unsure_one_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset()
    till = Till()
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(till.tool))
    whole = await play("asking")
    [(_, key)] = till.paid
    assert key.endswith("research/analyst/1/tool-0")
    memory = died_in_the_act(whole)
    played, [ask] = await paused(memory)
    assert ask.data.kind == "unsure"
    assert len(till.paid) == 1
    refused = await play("asking", resumed(played, [ask], "refuse"))
    assert len(till.paid) == 1
    assert text_of(refused.events) == "The final answer [1]."
    await play("asking", resumed(played, [ask], "approve"))
    assert till.paid == [till.paid[0]] * 2, "the key of a call is always the same"


async def test_an_act_that_may_have_happened_is_told_so_if_its_tool_is_closed_now(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset()
    till = Till()
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(till.tool))
    memory = died_in_the_act(await play("asking"))
    closed = replace(till.tool, reason_off=lambda services: "The till is closed.")
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(closed))
    again = await play("asking", memory)
    prompt = next(messages for agent, messages in again.models.prompts if agent == "analyst")
    assert prompt[-1].content == (
        "The till is closed. Answer without calculator."
        " It may have been done. Do not repeat this call."
    )
    assert len(till.paid) == 1


async def test_an_act_is_unsure_although_its_tool_acts_no_more(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset()
    till = Till()
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(till.tool))
    memory = died_in_the_act(await play("asking"))
    reads = replace(till.tool, acts=False)
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(reads))
    _, [ask] = await paused(memory)
    assert ask.data.kind == "unsure"
    assert len(till.paid) == 1


async def test_an_act_is_not_made_if_it_cannot_be_noted(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.FLEET_APPROVE = frozenset()
    till = Till()
    monkeypatch.setattr(toolbox.Toolbox.__init__, "__kwdefaults__", with_tool(till.tool))
    played = await play("asking", fails_to_flush=True)
    assert not till.paid
    assert [event.data.reason for event in of_kind(played, ToolRejected)] == ["refused"]


async def test_a_turn_that_was_cut_by_the_time_limit_is_cut_again(settings: Settings) -> None:
    settings.FLEET_APPROVE = frozenset()
    SCRIPTS["asking"] = ("full", {**SCRIPT, ANALYST.id: [says("half ", "a ", "note", hangs=True)]})
    whole = await play("asking", seconds=0.3)
    kept = whole.ledger.stored | whole.ledger.riding
    memory = Memory({name: result for name, result in kept.items() if "final/" not in name})
    again = await play("asking", memory, seconds=60)
    assert "analyst" not in {agent for agent, _ in again.models.prompts}
    assert "half a note" in again.models.prompts[0][1][-1].content


async def test_a_failure_of_the_planner_ends_the_run_again() -> None:
    SCRIPTS["asking"] = ("full", {**SCRIPT, "planner": [ModelError("model_error", "Broken.")]})
    with pytest.raises(ModelError):
        await play("asking")


async def test_a_refusal_counts_although_another_call_of_the_tool_is_remembered() -> None:
    calls = [("calculator", {"expression": sum_}) for sum_ in ("1 + 1", "2 + 2", "3 + 3")]
    SCRIPTS["asking"] = ("full", {**SCRIPT, ANALYST.id: [says(calls=calls), says("done")]})
    played, asks = await paused()
    memories = [
        resumed(played, asks[:1], "approve", remember=True),
        resumed(played, asks[1:2], "refuse"),
        resumed(played, asks[2:], "edit", arguments={"expression": "4 + 4"}),
    ]
    kept = {name: result for memory in memories for name, result in memory.kept.items()}
    memory = replace(memories[0], kept=kept)
    again = await play("asking", memory, approved=CALCULATOR)
    made = [event.data.arguments["expression"] for event in of_kind(again, ToolStart)]
    assert made == ["1 + 1", "4 + 4"]


async def test_a_refusal_counts_although_no_one_is_asked_any_more(settings: Settings) -> None:
    played, asks = await paused()
    settings.FLEET_APPROVE = frozenset()
    again = await play("asking", resumed(played, asks, "refuse"))
    assert not of_kind(again, ToolStart)


async def test_a_call_that_waits_counts_for_the_caps(settings: Settings) -> None:
    # Two searches, one call that waits, and one too many.
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, tool_calls=3)
    both = says(calls=[("calculator", {"expression": "1 + 1"}), ("clock", {})])
    SCRIPTS["asking"] = ("full", {**SCRIPT, ANALYST.id: [both, says("done")]})
    played, asks = await paused()
    assert [event.data.reason for event in of_kind(played, ToolRejected)] == ["cap_reached"]
    again = await play("asking", resumed(played, asks, "approve"))
    assert [event.data.tool for event in of_kind(again, ToolStart)] == ["calculator"]


async def test_a_decision_counts_although_there_are_no_questions_any_more(
    settings: Settings,
) -> None:
    settings.FLEET_QUESTIONS = True
    question = ("ask_person", {"question": "Which year?"})
    SCRIPTS["asking"] = ("full", {**SCRIPT, ANALYST.id: [says(calls=[question]), says("ok")]})
    played, asks = await paused()
    settings.FLEET_QUESTIONS = False
    with pytest.raises(Withdrawn):
        await play("asking", resumed(played, asks, "withdraw"))
    again = await play("asking", resumed(played, asks, "answer", text="2026"))
    prompt = next(messages for agent, messages in again.models.prompts if agent == "analyst")
    assert prompt[-1].content == "The person answered: 2026"


async def test_a_failed_call_is_kept_although_an_inherited_one_has_its_number() -> None:
    failing = ModelError("model_error", "The model fell over.", advice="Lift it up.")
    SCRIPTS["asking"] = ("light", {ASSISTANT.id: [CALCULATE, failing]})
    # The first call is made before the model is asked, the second one by its first round.
    first, asks = await paused()
    second, more = await paused(resumed(first, asks, "approve"))
    again: list[Played] = []
    with pytest.raises(ModelError):
        await play("asking", resumed(second, more, "approve"), on_begin=again.append)
    kept = again[0].ledger.stored | again[0].ledger.riding
    end = decoded(kept["answer/assistant/end"].value, TurnEnd)
    assert end
    assert [call.error for call in end.calls] == ["model_error"]
    assert end.failure
    assert end.failure.advice == "Lift it up."


def with_tool(replaced: Tool) -> dict[str, Any]:
    """Return the defaults of a toolbox in which this tool has taken a product tool's place."""
    defaults = dict(toolbox.Toolbox.__init__.__kwdefaults__ or {})
    return defaults | {"tools": {**known.TOOLS, replaced.name: replaced}}
