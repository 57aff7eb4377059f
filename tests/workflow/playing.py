"""What tests of the workflow have models say, and what they look for in events."""

import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from chat.clock import Clock
from chat.llm.messages import ChatMessage, Piece
from chat.llm.windows import Window
from chat.protocol.events import StreamEvent
from chat.workflow.agents import ANALYST, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from chat.workflow.question import Question
from chat.workflow.work import Work
from routing.caps import Caps
from routing.policy import Route
from tests.chatting import Event, chat_request
from tests.scripted_model import Script, ScriptedModel
from tooling.services import Services

MEMBERS = (PLANNER, RESEARCHER, ANALYST, WRITER, REVIEWER, EDITOR)


def plan(*agents: str, mode: str = "parallel", tools: list[str] | None = None) -> Script:
    subtasks = [
        {"agent": agent, "task": f"part {number}", "tools": tools or []}
        for number, agent in enumerate(agents)
    ]
    return Script(tokens=[json.dumps({"subtasks": subtasks, "mode": mode})])


def review(score: int, *missing: str) -> Script:
    return Script(tokens=[json.dumps({"score": score, "missing": list(missing)})])


def wants(*calls: tuple[str, dict[str, Any]]) -> Script:
    return Script(tokens=[], calls=[(name, json.dumps(arguments)) for name, arguments in calls])


def counts_before(tokens: int) -> Script:
    """The calculator, called after so many tokens."""
    return Script(tokens=["so "] * tokens, calls=[("calculator", '{"expression": "1 + 1"}')])


def full(message: str = "Compare them.", **fields: Any) -> dict[str, Any]:
    return chat_request(message, mode="full", **fields)


def phases(events: list[Event]) -> list[str]:
    return [event["data"]["phase"] for event in events if event["type"] == "phase.start"]


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def messages_of(events: list[Event]) -> str:
    return " ".join(event["message"] for event in of_kind(events, "orchestrator.message"))


def calls_of(model: ScriptedModel, agent: Any) -> list[Any]:
    return [call for call in model.calls if call.instructions == agent.instructions]


WINDOW = Window(6000, 4096, 0)


class Values:
    """A model client whose stream never waits."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces
        self.calls = 0

    def window(self, model: str) -> Window:
        return WINDOW

    async def stream(self, _: list[ChatMessage], **__: Any) -> AsyncGenerator[Piece]:
        self.calls += 1
        for piece in self.pieces:
            yield piece


def work_of(client: Any, told: list[StreamEvent]) -> Work:
    work = Work(
        Question("Why?", "full"),
        models=client,
        tools=Services(),
        tell=told.append,
        clock=Clock(time.perf_counter()),
    )
    caps = Caps(supersteps=9, tool_calls=1, fan_out=3, tokens=10_000, seconds=60)
    work.enter(Route("full", 0.5, (), caps), WINDOW)
    return work
