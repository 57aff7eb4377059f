"""How a question is answered: routed, then by one agent or by the team. It knows nothing of sockets, logs or rows."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from django.conf import settings

from chat.llm.client import ModelClient
from chat.llm.messages import BYTES_PER_TOKEN
from chat.protocol.events import (
    ResponseSnapshot,
    RouteData,
    RoutingDecided,
    SnapshotData,
    StreamEvent,
)
from chat.protocol.terms import Usage
from routing.policy import Route, choose
from tooling.services import Services
from tooling.toolbox import Toolbox, allowed_on, phrases_of

from .agents import ASSISTANT
from .light import Light
from .opinion import Opinions
from .question import Question
from .team import PHASES, Team, phases
from .turn import model_of, phase
from .work import Meter, Stopwatch, Work

RESULTS = 3  # of tools, each as long as it may be, that fit into what a model reads
CONTEXT = 5  # earlier questions that the router reads


@dataclass(frozen=True, slots=True)
class Resources:
    """What answers are made with, in one event loop."""

    models: ModelClient
    tools: Services
    opinions: Opinions


class Answer:
    """One question on its way to an answer. `route` is what was chosen first, as soon as it is."""

    def __init__(self, question: Question, resources: Resources) -> None:
        self.question = question
        self.route: Route | None = None
        self.is_escalated = False
        self._resources = resources
        self._work: Work | None = None  # of the path that answers

    @property
    def last_activity_at(self) -> float:
        """time.monotonic() of a model's last sign of life."""
        return self._work.last_activity_at if self._work else 0

    @property
    def model(self) -> str:
        """The model of the path that was gone at last; empty before one was chosen."""
        if self.route is None:
            return ""
        return model_of("full" if self.is_escalated else self.route.path)

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """The events of the answer, each at the moment it happens; ModelError where a model fails."""
        async with aclosing(phase("routing", self._choose())) as events:
            async for event in events:
                yield event
        route = self.route
        assert route is not None, "the routing phase chooses"
        if route.path == "light":
            may_escalate = self.question.mode == "auto" and not settings.FLEET_MODEL_BUILTIN
            light = Light(self._open(route), route, may_escalate)
            async with aclosing(light.events()) as events:
                async for event in events:
                    yield event
            if not may_escalate or (shortfall := light.shortfall) is None:
                return
            route = route.escalated(shortfall)
            self.is_escalated = True
            yield self._decided(route, Stopwatch(), Usage())
            if light.turn.text:
                yield ResponseSnapshot(data=SnapshotData(""))
        async with aclosing(Team(self._open(route)).events()) as events:
            async for event in events:
                yield event

    async def _choose(self) -> AsyncGenerator[StreamEvent]:
        watch = Stopwatch()
        question = self.question
        context = [turn.question for turn in question.turns[-CONTEXT:]]
        phrases = phrases_of(ASSISTANT.tools)
        route = choose(question.text, context=context, mode=question.mode, phrases=phrases)
        usage = Usage()
        if route.is_grey and settings.FLEET_ROUTER_MODEL:
            opinion = await self._resources.opinions.on(question)
            route = route.with_opinion(opinion.path, opinion.reason)
            usage = opinion.usage
        self.route = route
        yield self._decided(route, watch, usage)

    def _decided(self, route: Route, watch: Stopwatch, usage: Usage) -> RoutingDecided:
        return RoutingDecided(
            data=RouteData(
                path=route.path,
                mode=self.question.mode,
                confidence=round(route.confidence, 3),
                reasons=list(route.reasons),
                skipped=[name for name in PHASES if route.path == "light" or name not in phases()],
                escalated=self.is_escalated,
                duration_ms=watch.ms,
                usage=usage,
            )
        )

    def _open(self, route: Route) -> Work:
        toolbox = Toolbox(
            self._resources.tools,
            allowed=allowed_on(route.path),
            max_calls=route.caps.tool_calls,
            fresh=self.question.fresh,
            max_chars=BYTES_PER_TOKEN * settings.FLEET_CONTEXT_TOKENS // RESULTS,
        )
        self._work = Work(self.question, self._resources.models, toolbox, Meter(route.caps))
        return self._work
