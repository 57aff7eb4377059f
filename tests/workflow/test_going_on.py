"""A workflow that is cut at any moment and played again arrives where it stopped.

Each script is played once to its end. Then it is cut behind each of its events, with and without
the newest result that was kept, and played again with what the journal and the readers have. The
model says the same words as before, or others.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pytest_django import Settings

from chat.protocol.events import (
    OrchestratorMessage,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
)
from chat.workflow.agents import (
    ANALYST,
    ASSISTANT,
    EDITOR,
    PLANNER,
    RESEARCHER,
    REVIEWER,
)
from chat.workflow.memory import Kept, Memory
from chat.workflow.retelling import identity
from tests.configs import Configure

from .scripts import GONE, SCRIPTS, Played, play, text_of

SPECIALISTS = (RESEARCHER.id, ANALYST.id)
PHASES = ["answer", "analysis", "research", "writing", "review", "revision", "final"]


def cuts_of(played: Played) -> Iterator[tuple[int, dict[str, Kept]]]:
    """Yield how many events readers have at a cut, and what is stored by then."""
    for place, stored in enumerate(played.stored):
        yield place, stored
        if stored:
            # The newest result was kept in the last moment, and did not get stored.
            yield place, dict(list(stored.items())[:-1])


def steps(events: Sequence[StreamEvent]) -> Counter[Any]:
    """Count the steps, without those that a cut changes."""
    return Counter(
        identity(event)
        for event in events
        if not isinstance(event, ResponseDelta | ReasoningDelta | ResponseSnapshot)
    )


@pytest.mark.parametrize("suffix", ["", "!"], ids=["same words", "other words"])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_workflow_that_is_cut_anywhere_goes_on(
    name: str, suffix: str, settings: Settings
) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 0
    whole = await play(name)
    other = await play(name, suffix=suffix)
    texts = {text_of(whole.events), text_of(other.events)}
    undisturbed = Counter(agent for agent, _ in whole.models.prompts)
    for place, stored in cuts_of(whole):
        had = whole.events[:place]
        memory = Memory(
            kept=stored,
            told=[e for e in had if not isinstance(e, ResponseDelta | ReasoningDelta)],
            text=text_of(had),
        )
        again = await play(name, memory, suffix)
        where = f"cut behind event {place} with {len(stored)} results"
        # Text: right in the end, and never shorter but by a snapshot.
        text = text_of(again.events, memory.text)
        if suffix and not any(step.startswith(("final/", "answer/")) for step in stored):
            assert text in texts, where
        assert text.replace("!", "") == text_of(whole.events), where
        # Each step was told exactly once.
        assert steps([*had, *again.events]) == steps(whole.events), where
        # Only what was not kept is asked for again.
        made = Counter(agent for agent, _ in again.models.prompts)
        kept = Counter(
            step.split("/")[1].partition("-")[0]
            for step in stored
            if step.rpartition("/")[2].isdecimal() or step.endswith("/end")
        )
        assert made == undisturbed - kept, where
        # A phase that is over makes no calls, nor does a light answer that was taken back.
        begun = [phase for phase in PHASES if any(step.startswith(phase) for step in stored)]
        before = PHASES[: PHASES.index(begun[-1])] if begun else []
        phases = {phase_of(agent) for agent in made}
        assert phases.isdisjoint(before), where
        is_escalated = any(
            isinstance(event, RoutingDecided) and event.data.escalated for event in had
        )
        if is_escalated and stored == whole.stored[place]:
            assert "answer" not in phases, where
        # A source keeps its number.
        assert has_one_number_for_each_source([*had, *again.events]), where
        # Each call is counted, and once. Readers may know of calls whose results were not kept.
        numbers = [call.number for call in again.calls]
        assert len(set(numbers)) == len(numbers) >= len(whole.calls), where
        if not suffix:
            assert prompts_of(again) <= prompts_of(whole), where


async def test_a_workflow_in_which_another_model_stands_in_goes_on(configure: Configure) -> None:
    agents = "".join(f'[agents.{agent}]\nmodel = "{GONE}"\n' for agent in (*SPECIALISTS, "writer"))
    configure(f'{agents}[models.{GONE}]\nmodel = "q"\nbase_url = "http://127.0.0.1:9"')
    whole = await play("team")
    said = [e.message for e in whole.events if isinstance(e, OrchestratorMessage)]
    assert {words.split(",")[1] for words in said if words.startswith(f"{GONE}, ")} == {
        f" the model of the {agent}"
        for agent in ("Researcher", "Researcher 2", "Analyst", "Writer")
    }
    for place, stored in cuts_of(whole):
        had = whole.events[:place]
        told = [e for e in had if not isinstance(e, ResponseDelta | ReasoningDelta)]
        memory = Memory(kept=stored, told=told, text=text_of(had))
        again = await play("team", memory)
        where = f"cut behind event {place} with {len(stored)} results"
        assert text_of(again.events, memory.text) == text_of(whole.events), where
        assert steps([*had, *again.events]) == steps(whole.events), where


def phase_of(agent: str) -> str:
    """Return the phase of an agent; of the writer, the last one it is at work in."""
    return {
        ASSISTANT.id: "answer",
        PLANNER.id: "analysis",
        RESEARCHER.id: "research",
        ANALYST.id: "research",
        REVIEWER.id: "review",
        EDITOR.id: "final",
    }.get(agent, "revision")


def has_one_number_for_each_source(events: Sequence[StreamEvent]) -> bool:
    pairs = {
        (source.number, source.url)
        for event in events
        if isinstance(event, ToolComplete)
        for source in event.data.sources
    }
    return len({n for n, _ in pairs}) == len({url for _, url in pairs}) == len(pairs)


async def test_what_is_kept_is_played_again_even_if_the_caps_are_reached() -> None:
    whole = await play("team")
    kept = whole.ledger.stored
    assert "revision/writer/1" in kept
    again = await play("team", Memory(kept), seconds=0)
    assert [agent for agent, _ in again.models.prompts] == [EDITOR.id]
    assert not any(isinstance(event, OrchestratorMessage) for event in again.events)


async def test_caps_count_what_earlier_workers_spent() -> None:
    whole, again = await play("team"), await play("team")
    assert whole.answer
    again = await play("team", Memory(whole.ledger.stored))
    assert again.answer
    assert again.answer.work.meter.tokens == whole.answer.work.meter.tokens


def prompts_of(played: Played) -> set[str]:
    """Return the prompts, without the secret marks around text from outside."""
    return {re.sub(r"\b[0-9a-f]{8}\b", "", repr(messages)) for _, messages in played.models.prompts}


async def test_the_light_script_has_a_call_before_its_model_and_one_of_the_model(
    settings: Settings,
) -> None:
    """Wherever it is cut above, the model keeps the one call that it may make."""
    settings.FLEET_LIGHT_THRESHOLD = 0
    whole = await play("light with a tool")
    made = [event.data for event in whole.events if isinstance(event, ToolComplete)]
    assert [(each.tool, each.ok) for each in made] == [("calculator", True)] * 2
    assert settings.FLEET_LIGHT_CAPS.tool_calls == 1
