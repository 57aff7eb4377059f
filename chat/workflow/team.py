"""The full path: a plan, specialists at work, a draft, its review, at most one revision, and the answer."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.protocol.events import AgentMessage, OrchestratorMessage, StreamEvent
from tooling.untrusted import cut

from .agents import EDITOR, PLANNER, REVIEWER, SPECIALISTS, WRITER, Agent
from .prompt import prompt
from .replies import parsed
from .turn import Turn, merged, phase
from .work import Work

# Before the answer; after a weak review there is a revision too.
PHASES = (
    "analysis",
    "research",
    "writing",
    "review",
)
MAX_SUBTASKS = 4
RESEARCH_ROUNDS = 3  # model calls of one specialist, with tools between them
GOOD_ENOUGH = 7  # of 10; a draft below this score is revised once


def phases() -> tuple[str, ...]:
    """The phases that the model in use is fit for: the built-in one is too small to plan or review, which would only cost time."""
    return ("research",) if settings.FLEET_MODEL_BUILTIN else PHASES


type Step = Callable[[], AsyncGenerator[StreamEvent]]


class Subtask(Struct, frozen=True):
    """A part of the question for one agent. Without `tools` it may use all that the agent has."""

    agent: str
    task: Annotated[str, Meta(min_length=1)]
    tools: list[str] = []


class Plan(Struct, frozen=True):
    subtasks: Annotated[list[Subtask], Meta(min_length=1)]
    mode: Literal["delegated", "sequential", "parallel"] = "parallel"


class Verdict(Struct, frozen=True):
    score: Annotated[int, Meta(ge=0, le=10)]
    missing: list[str] = []


@dataclass(slots=True)
class Team:
    """One full answer in work, filled step by step."""

    work: Work
    plan: Plan = field(init=False)  # the default one, until there is a better
    findings: list[tuple[Subtask, Turn]] = field(default_factory=list)
    draft: str = ""
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        question = self.work.question.text
        has_numbers = any(character.isdigit() for character in question)
        self.plan = Plan(
            [
                Subtask(agent.id, question)
                for agent in SPECIALISTS
                if agent.id == "researcher" or has_numbers
            ]
        )

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """What the team does, to the last word of the answer. ModelError where that could not be written."""
        for name, step in self._steps():
            # The answer itself needs one more superstep.
            if cap := self.work.meter.reached(keep=1):
                yield OrchestratorMessage(
                    message=f"The limit of {cap} is reached before {name}. The answer is written from what there is."
                )
                break
            async with aclosing(phase(name, step())) as events:
                async for event in events:
                    yield event
        async with aclosing(phase("final", self._finish())) as events:
            async for event in events:
                yield event

    def _steps(self) -> Iterator[tuple[str, Step]]:
        steps = {
            "analysis": self._analyse,
            "research": self._research,
            "writing": self._write,
            "review": self._review,
        }
        for name in phases():
            yield name, steps[name]
        if self.is_weak:
            yield "revision", self._write

    @property
    def is_weak(self) -> bool:
        """Whether the review asks for a revision."""
        return self.verdict is not None and self.verdict.score < GOOD_ENOUGH

    # --- The steps

    async def _analyse(self) -> AsyncGenerator[StreamEvent]:
        roles = "\n".join(
            f"{agent.id}: {agent.role}. Tools: {', '.join(sorted(self._tools_of(agent))) or 'none'}"
            for agent in SPECIALISTS
        )
        planner = self._turn(PLANNER, ("Agents", roles), schema=Plan)
        # An empty plan is as broken as one that cannot be read; a model that fails for the first to ask would fail for all.
        async with aclosing(self._work(planner, forgiving=EmptyAnswer)) as events:
            async for event in events:
                yield event
        plan = parsed(planner.text, Plan)
        if plan is None or not all(
            subtask.agent in {agent.id for agent in SPECIALISTS} for subtask in plan.subtasks
        ):
            yield OrchestratorMessage(
                message="The plan could not be used, so the default plan is followed."
            )
        else:
            for event in self._adopt(plan):
                yield event
        work = "\n".join(f"- {subtask.agent}: {subtask.task}" for subtask in self.plan.subtasks)
        yield AgentMessage(
            agent_id=PLANNER.id, author=PLANNER.name, message=f"Plan ({self.plan.mode}):\n\n{work}"
        )

    def _adopt(self, plan: Plan) -> Iterator[StreamEvent]:
        """Follow this plan, without what is too much in it or does not exist."""
        kept = plan.subtasks[:MAX_SUBTASKS]
        if len(plan.subtasks) > len(kept):
            yield OrchestratorMessage(
                message=f"The plan has {len(plan.subtasks)} subtasks; the first {MAX_SUBTASKS} are done."
            )
        has = {agent.id: self._tools_of(agent) for agent in SPECIALISTS}
        if missing := sorted(
            {tool for subtask in kept for tool in subtask.tools if tool not in has[subtask.agent]}
        ):
            yield OrchestratorMessage(
                message=f"The plan names tools that its agents do not have, which are dropped: {cut(', '.join(missing), 200)}."
            )
        cleaned = [
            msgspec.structs.replace(
                subtask, tools=[tool for tool in subtask.tools if tool in has[subtask.agent]]
            )
            for subtask in kept
        ]
        self.plan = Plan(cleaned, plan.mode)

    async def _research(self) -> AsyncGenerator[StreamEvent]:
        subtasks = self.plan.subtasks
        if idle := [
            agent.id
            for agent in SPECIALISTS
            if agent.id not in {subtask.agent for subtask in subtasks}
        ]:
            yield OrchestratorMessage(message=f"Not needed: {', '.join(idle)}.")
        at_once = self.work.meter.caps.fan_out if self.plan.mode == "parallel" else 1
        if self.plan.mode == "parallel" and len(subtasks) > at_once:
            yield OrchestratorMessage(
                message=f"At most {at_once} agents work at once; the others follow."
            )
        for start in range(0, len(subtasks), at_once):
            if start and (cap := self.work.meter.reached(keep=1)):
                left = ", ".join(subtask.agent for subtask in subtasks[start:])
                yield OrchestratorMessage(
                    message=f"The limit of {cap} is reached. Not done: {left}."
                )
                return
            batch = subtasks[start : start + at_once]
            for subtask in batch:
                self.findings.append((subtask, self._specialist(subtask)))
            turns = [turn for _, turn in self.findings[-len(batch) :]]
            async with aclosing(self._work(*turns, forgiving=ModelError)) as events:
                async for event in events:
                    yield event

    async def _write(self) -> AsyncGenerator[StreamEvent]:
        """The draft; or its revision, when there is a verdict."""
        review = (
            [("Draft", self.draft), ("Missing or wrong in it", "\n".join(self.verdict.missing))]
            if self.verdict
            else []
        )
        writer = self._turn(WRITER, *review, *self._notes())
        async with aclosing(self._work(writer, forgiving=ModelError)) as events:
            async for event in events:
                yield event
        self.draft = writer.text or self.draft

    async def _review(self) -> AsyncGenerator[StreamEvent]:
        if not self.draft:
            yield OrchestratorMessage(message="There is no draft to review.")
            return
        reviewer = self._turn(REVIEWER, ("Draft", self.draft), schema=Verdict)
        async with aclosing(self._work(reviewer, forgiving=ModelError)) as events:
            async for event in events:
                yield event
        self.verdict = parsed(reviewer.text, Verdict)
        if self.verdict is None:
            yield OrchestratorMessage(
                message="The review could not be read, so the draft stands as it is."
            )
            return
        missing = "".join(f"\n- {point}" for point in self.verdict.missing)
        words = f"Score: {self.verdict.score} of 10.{missing}"
        yield AgentMessage(agent_id=REVIEWER.id, author=REVIEWER.name, message=words)
        if not self.is_weak:
            yield OrchestratorMessage(message="The draft is good enough, so there is no revision.")

    async def _finish(self) -> AsyncGenerator[StreamEvent]:
        open_points = "\n".join(self.verdict.missing) if self.verdict else ""
        material = [
            ("Draft", self.draft),
            ("Open points of the review", open_points),
            *self._notes(),
        ]
        editor = self._turn(EDITOR, *material, is_answer=True)
        async with aclosing(editor.events()) as events:
            async for event in events:
                yield event

    # --- What the steps are made of

    def _specialist(self, subtask: Subtask) -> Turn:
        agent = next(agent for agent in SPECIALISTS if agent.id == subtask.agent)
        if earlier := sum(other.agent == subtask.agent for other, _ in self.findings):
            # Readers tell agents apart by their ids.
            agent = replace(
                agent, id=f"{agent.id}-{earlier + 1}", name=f"{agent.name} {earlier + 1}"
            )
        # One of a sequence builds on what was found before it; those at work side by side do not wait for each other.
        found = self._notes() if self.plan.mode == "sequential" else []
        tools = frozenset(subtask.tools) or self._tools_of(agent)
        rounds = max(1, min(RESEARCH_ROUNDS, self.work.meter.supersteps - 1))
        return self._turn(agent, ("Your subtask", subtask.task), *found, tools=tools, rounds=rounds)

    def _tools_of(self, agent: Agent) -> frozenset[str]:
        return agent.tools & self.work.toolbox.names

    def _notes(self) -> list[tuple[str, str]]:
        """What the specialists found, each cut to its share of what a model reads."""
        share = BYTES_PER_TOKEN * settings.FLEET_CONTEXT_TOKENS // (2 * max(1, len(self.findings)))
        return [
            (f"Notes of the {turn.agent.name.lower()} on: {subtask.task}", cut(turn.text, share))
            for subtask, turn in self.findings
        ]

    def _turn(
        self,
        agent: Agent,
        *sections: tuple[str, str],
        schema: type[Struct] | None = None,
        tools: frozenset[str] = frozenset(),
        rounds: int = 1,
        is_answer: bool = False,
    ) -> Turn:
        """An agent's turn on the question with what it is to read besides."""
        *before, asked = prompt(agent, self.work.question)
        parts = [
            f"Question:\n{asked.content}",
            *(f"{title}:\n{text}" for title, text in sections if text),
        ]
        return Turn(
            agent,
            self.work,
            [*before, ChatMessage("user", "\n\n".join(parts))],
            max_tokens=settings.FLEET_MAX_OUTPUT_TOKENS
            if is_answer
            else settings.FLEET_STEP_TOKENS,
            tools=tools,
            rounds=rounds,
            is_answer=is_answer,
            schema=msgspec.json.schema(schema) if schema else None,
        )

    async def _work(self, *turns: Turn, forgiving: type[ModelError]) -> AsyncGenerator[StreamEvent]:
        """Agents at work side by side until they are done, or the time of the team is up.

        One whose model fails in this way costs what it would have found, not the answer.
        """
        works = [forgiven(turn, forgiving) for turn in turns]
        async with aclosing(merged(works, until=self.work.meter.overdue_at)) as events:
            async for event in events:
                yield event
        for turn in turns:
            for event in turn.close():
                yield event
        self.work.meter.supersteps -= max(turn.rounds_used for turn in turns)


async def forgiven(turn: Turn, failure: type[ModelError]) -> AsyncGenerator[StreamEvent]:
    try:
        async with aclosing(turn.events()) as events:
            async for event in events:
                yield event
    except failure as exc:
        yield OrchestratorMessage(message=f"{turn.agent.name} could not finish: {exc}")
