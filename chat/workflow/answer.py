"""How a question is answered: routed, then by one agent or by the team.

Nothing here knows sockets, logs or rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from django.conf import settings
from django.utils.text import capfirst

from chat.clock import Clock, Stopwatch
from chat.llm.models import Models
from chat.llm.servers import is_stand_in
from chat.llm.windows import Window
from chat.protocol.events import ResponseDelta, ResponseSnapshot, RoutingDecided
from chat.protocol.payloads import ModelCall, RouteData, SnapshotData
from chat.protocol.terms import Declined, Ending, QuoteCheck, Usage
from chat.trace_context import RunTrace
from routing.languages import language_of
from routing.policy import Route
from tooling.known import allowed_on, exact_tools
from tooling.sentences import sentence
from tooling.services import Services

from .agent_models import model_of
from .choosing import route_of
from .crew import crew
from .light import Light
from .memory import Journal, Memory, Withdrawn
from .opinion import Opinions
from .prompt import personal_within
from .question import Question
from .quotes import quotes_in
from .sentences import said_in
from .stand_in import SENTENCES, has_team, reason_to_decline
from .steps import Chosen
from .team import PHASES, Team
from .work import LIGHT_PHASE, Tell, Work

# Seconds for MCP servers to open before the first run of a worker; before one that goes on, longer:
# its agents have seen their tools, and a person may have approved a call.
SERVERS_TIMEOUT, SERVERS_TIMEOUT_LATER = 3.0, 12.0
ESCALATED = "escalated"  # the step that keeps why a light answer was not good enough
SHORTENED = sentence("Your instructions are too long for this model, which gets their beginning.")
LOST_MODEL = sentence("%(model)s, the model that was chosen, is no longer there.")
TAKES_OVER = sentence("%(reason)s, so the full team takes over.")


@dataclass(frozen=True, slots=True)
class Resources:
    """What all answers of one event loop are made with."""

    models: Models
    tools: Services
    opinions: Opinions


class Answer:
    """One question on its way to an answer.

    `route` is what was chosen first; None until then.
    """

    def __init__(
        self,
        question: Question,
        resources: Resources,
        tell: Tell,
        *,
        clock: Clock,
        trace: RunTrace | None = None,
        journal: Journal | None = None,
        memory: Memory | None = None,
        worked_s: float = 0,
    ) -> None:
        self.question = question
        self.route: Route | None = None
        self.is_escalated = False
        self.declined: Declined | None = None  # why the stand-in model was not asked
        self.quotes: QuoteCheck | None = None
        self.opinions = resources.opinions
        self.work = Work(
            question,
            models=resources.models,
            tools=resources.tools,
            tell=tell,
            clock=clock,
            trace=trace,
            journal=journal,
            memory=memory,
            worked_s=worked_s,
        )

    @property
    def model(self) -> str:
        """The model that writes the answer on the last path taken; empty before routing."""
        if self.route is None:
            return ""
        if self.work.answered_by:
            return self.work.answered_by
        is_full = self.is_escalated or self.route.path == "full"
        return model_of(crew().editor if is_full else crew().assistant, self.question)

    @property
    def window(self) -> Window:
        return self.work.models.window(self.model)

    @property
    def completed(self) -> Ending:
        """The ending of a run whose answer is written."""
        return Ending(
            status="completed",
            declined=self.declined,
            quotes=self.quotes,
            unread_messages=self.work.unread_messages,
            summarized_messages=self.work.summarized_messages,
        )

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """The tools that answer the question exactly."""
        if self.question.mode == "plain":
            return ()
        return exact_tools(self.light_tools, self.question.text)

    @cached_property
    def light_tools(self) -> frozenset[str]:
        """The tools that a light answer may call."""
        return crew().tools_of(crew().assistant, allowed_on("light", self.work.services))

    @property
    def had_escalated(self) -> bool:
        """True if an earlier worker took a light answer back."""
        return f"{LIGHT_PHASE}/{ESCALATED}" in self.work.memory.kept

    async def write(self) -> None:
        """Answer the question.

        Raise ModelError if a model fails, Paused if the answer waits for a person, Withdrawn if the
        person took the question back, and Moved if another worker has the run.
        """
        text = await self.write_on_a_path()
        self.work.settle()
        self.quotes = await quotes_in(text, self.work)

    async def write_on_a_path(self) -> str:
        """Write the answer, and return it; an empty string for one without the words of a model."""
        work = self.work
        if lost := self.question.lost_model:
            work.say_once(LOST_MODEL % {"model": lost})
        with work.phase("routing"):
            if work.services.mcp:
                # Of a worker that has just started.
                goes_on = bool(work.memory.kept)
                await work.services.mcp.tried(SERVERS_TIMEOUT_LATER if goes_on else SERVERS_TIMEOUT)
            chosen = await work.once(
                "route",
                Chosen,
                self.choose_route,
                retell=lambda chosen: work.repeat_calls(chosen.calls),
                is_free=lambda chosen: not chosen.calls,
            )
            route = self.route = chosen.route
            self.tell_route(route, duration_ms=chosen.duration_ms, calls=chosen.calls)
        # Now, because the step that asked may not be arrived at again: the settings may be others.
        if work.has_decision("withdraw"):
            self.is_escalated = self.had_escalated
            raise Withdrawn
        self.enter(route)
        if route.path == "light":
            if self.decline():
                return ""
            # The stand-in's team would be the same model.
            may_escalate = self.had_escalated or (
                self.question.mode == "auto" and has_team(self.question.model)
            )
            light = Light(work, route, may_escalate=may_escalate)
            shortfall = await light.answer()
            if shortfall is None:
                return light.turn.said.text
            # Not free: to write the light answer again would cost a call, and readers might see it.
            work.keep(ESCALATED, shortfall)
            route = route.escalated(shortfall)
            self.is_escalated = True
            self.enter(route)
            work.explain(TAKES_OVER % {"reason": capfirst(shortfall)})
            self.tell_route(route)
            if light.turn.said.text:
                work.tell(ResponseSnapshot(data=SnapshotData("")))
        return (await Team(work).answer()).text

    def enter(self, route: Route) -> None:
        """Start the route's path, with the model that answers on it."""
        self.work.enter(route, self.window)
        personal = self.question.instructions
        if personal_within(personal, self.window.context_tokens) != personal:
            self.work.say_once(SHORTENED)

    def decline(self) -> bool:
        """Say what the stand-in model can't do instead of asking it. Return False if it can try."""
        question = self.question
        is_wanted = question.is_repeated or question.mode == "plain"
        if not is_stand_in(self.model) or is_wanted or self.exact:
            return False
        max_tokens = self.window.context_tokens
        self.declined = reason_to_decline(question.text, max_tokens=max_tokens)
        if self.declined is None:
            return False
        with self.work.phase(LIGHT_PHASE):
            sentence = said_in(language_of(question.text), SENTENCES[self.declined])
            self.work.tell(ResponseDelta(delta=sentence))
        return True

    async def choose_route(self) -> Chosen:
        watch = Stopwatch(self.work.clock)
        question = self.question
        route = route_of(question, tools=self.light_tools, exact=self.exact)
        if route.is_grey and settings.FLEET_ROUTER_MODEL:
            opinion = await self.opinions.on(question, self.work)
            route = route.with_opinion(opinion.path, opinion.reason)
        return Chosen(route, watch.ms, self.work.phase_calls)

    def tell_route(
        self, route: Route, *, duration_ms: float = 0, calls: Sequence[ModelCall] = ()
    ) -> None:
        skipped = list(PHASES) if route.path == "light" else []
        data = RouteData(
            path=route.path,
            mode=self.question.mode,
            confidence=round(route.confidence, 3),
            reasons=list(route.reasons),
            skipped=skipped,
            escalated=self.is_escalated,
            duration_ms=duration_ms,
            usage=sum((call.usage for call in calls), Usage()),
            personal=bool(self.question.instructions),
        )
        self.work.tell(RoutingDecided(data=data))
