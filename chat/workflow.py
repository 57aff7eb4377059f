"""How an answer is made: a generator of StreamEvents. It knows models and agents, and nothing of sockets, logs or rows."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from django.conf import settings

from .agents import ASSISTANT, Agent
from .llm import ChatMessage, ModelClient, Reasoning, Text, estimated_tokens
from .models import Turn
from .protocol import (
    AgentComplete,
    AgentStart,
    AgentTiming,
    Effort,
    Mode,
    PhaseComplete,
    PhaseData,
    PhaseStart,
    PhaseTiming,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    RouteData,
    RoutingDecided,
    StreamEvent,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with what was said before, oldest first."""

    text: str
    mode: Mode
    effort: Effort | None = None
    turns: Sequence[Turn] = ()


async def answer(question: Question, models: ModelClient) -> AsyncGenerator[StreamEvent]:
    """The events of one answer, each at the moment it happens; ModelError where a model fails."""
    route = Stopwatch()
    yield PhaseStart(data=PhaseData("routing"))
    yield RoutingDecided(data=_route(question, route))
    yield PhaseComplete(data=PhaseTiming("routing", route.ms))

    writing = Stopwatch()
    yield PhaseStart(data=PhaseData("answer"))
    async with aclosing(_speak(ASSISTANT, question, models)) as events:
        async for event in events:
            yield event
    yield PhaseComplete(data=PhaseTiming("answer", writing.ms))


def _route(question: Question, watch: "Stopwatch") -> RouteData:
    reason = "One agent answers every question in this version."
    return RouteData(path="light", mode=question.mode, confidence=1.0, reasons=[reason], duration_ms=watch.ms)


async def _speak(agent: Agent, question: Question, models: ModelClient) -> AsyncGenerator[StreamEvent]:
    """One agent's answer, token by token."""
    watch = Stopwatch()
    usage = Usage()
    thinking = False
    yield AgentStart(agent_id=agent.id, author=agent.name)
    pieces = models.stream(
        prompt(agent, question),
        model=settings.FLEET_LIGHT_MODEL if agent.tier == "light" else settings.FLEET_MODEL,
        max_tokens=settings.FLEET_MAX_OUTPUT_TOKENS,
        effort=question.effort,
    )
    async with aclosing(pieces):
        async for piece in pieces:
            match piece:
                case Text():
                    if thinking:
                        thinking = False
                        yield ReasoningCompleted(agent_id=agent.id)
                    yield ResponseDelta(delta=piece.text)
                case Reasoning():
                    thinking = True
                    yield ReasoningDelta(delta=piece.text, agent_id=agent.id)
                case Usage():
                    usage = piece
    yield AgentComplete(agent_id=agent.id, author=agent.name, data=AgentTiming(watch.ms, usage))


def prompt(agent: Agent, question: Question) -> list[ChatMessage]:
    """What the agent reads: its instructions, the newest turns that fit the token budget, the question."""
    budget = settings.FLEET_CONTEXT_TOKENS - estimated_tokens(agent.instructions) - estimated_tokens(question.text)
    kept: list[ChatMessage] = []
    for turn in reversed(question.turns):
        budget -= estimated_tokens(turn.question) + estimated_tokens(turn.answer)
        if budget < 0:
            break
        kept = [ChatMessage("user", turn.question), ChatMessage("assistant", turn.answer), *kept]
    return [ChatMessage("system", agent.instructions), *kept, ChatMessage("user", question.text)]


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)
