"""The full path: a plan, notes of specialists, a draft, a review, one revision, the answer."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import batched
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import BYTES_PER_TOKEN, estimated_tokens
from chat.protocol.events import AgentMessage
from tooling.sentences import sentence
from tooling.untrusted import cut, one_line

from .agent_models import window_of
from .agents import Agent
from .crew import crew
from .prompt import prompt
from .replies import parsed
from .roster import Roster, roster
from .said import Said
from .together import side_by_side
from .turn import Turn
from .work import Work

# Before the answer; after a weak review there is a revision too.
PHASES = ("analysis", "research", "writing", "review")
MAX_SUBTASKS = 4
MAX_ROSTER_TOKENS = 6000  # of agents and tools that the planner reads, however much it could
TITLES_TOKENS = 64  # around them, and for the template
NEAR = 0.75  # of the letters of two names
RESEARCH_ROUNDS = 3  # model calls of one specialist, with tools between them
GOOD_ENOUGH = 7  # of 10; a draft below this score is revised once

type Section = tuple[str, str]  # title and text
WEAK_DRAFT = sentence("The score is below %(score)s, so the draft is revised once.")
CAP_BEFORE_PHASE = sentence(
    "The limit of %(cap)s is reached before %(phase)s. The answer is written from what there is."
)
FEWER_AGENTS = sentence(
    "The planner's model reads too little for all %(all)s agents, so it chose among %(count)s."
)
OTHER_AGENTS = sentence("The plan names agents that do not exist. Others take over: %(agents)s.")
UNUSABLE_PLAN = sentence("The plan could not be used, so the default plan is followed.")
LONG_PLAN = sentence("The plan has %(count)s subtasks; the first %(most)s are done.")
UNKNOWN_TOOLS = sentence(
    "The plan names tools that its agents do not have, which are dropped: %(tools)s."
)
NOT_NEEDED = sentence("Not needed: %(agents)s.")
OTHERS_FOLLOW = sentence("At most %(count)s agents work at once; the others follow.")
CAP_IN_RESEARCH = sentence("The limit of %(cap)s is reached. Not done: %(agents)s.")
SCORE = sentence("Score: %(score)s of 10.")
NO_DRAFT = sentence("There is no draft to review.")
UNREADABLE_REVIEW = sentence("The review could not be read, so the draft stands as it is.")
NO_REVISION = sentence("The draft is good enough, so there is no revision.")
CAP_IN_STEP = sentence("The limit of %(seconds)s seconds is reached in mid-step.")


# The structs below are read by models: their names, docstrings and fields are in JSON Schemas.


class Subtask(Struct, frozen=True):
    """A part of the question for one agent. Without `tools` it may use all that the agent has."""

    agent: str
    task: Annotated[str, Meta(min_length=1)]
    tools: list[str] = []


class Plan(Struct, frozen=True):
    subtasks: Annotated[list[Subtask], Meta(min_length=1)]
    mode: Literal["delegated", "sequential", "parallel"] = "parallel"


class Review(Struct, frozen=True):
    score: Annotated[int, Meta(ge=0, le=10)]
    missing: list[str] = []

    @property
    def is_weak(self) -> bool:
        return self.score < GOOD_ENOUGH


@dataclass(frozen=True, slots=True)
class Note:
    """What a specialist found out about its subtask, perhaps cut short."""

    author: str
    task: str
    text: str


PLANS: dict[str, str] = {
    "delegated": sentence("Plan (delegated):"),
    "sequential": sentence("Plan (sequential):"),
    "parallel": sentence("Plan (parallel):"),
}
# Why a plan's subtasks are worked on in this way.
REASONS: dict[str, str] = {
    "delegated": sentence("The planner found that one agent can do everything."),
    "sequential": sentence(
        "A subtask needs the result of the one before, so they follow one another."
    ),
    "parallel": sentence(
        "No subtask needs the result of another, so they are worked on side by side."
    ),
}


class Spent(Exception):
    """A cap has been reached: nothing but the answer may follow."""


class Team:
    """A full answer: plan, notes, draft, review, at most one revision, answer."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.crew = crew()

    async def answer(self) -> Said:
        """Prepare the answer within the caps, and write it. Raise ModelError if that fails."""
        plan, notes, draft = (
            default_plan(self.work.question.text, self.crew.specialists),
            list[Note](),
            "",
        )
        review: Review | None = None
        with suppress(Spent):
            with self.phase("analysis"):
                plan = await self.plan() or plan
                self.show_plan(plan)
            with self.phase("research"):
                notes = await self.research(plan)
            with self.phase("writing"):
                draft = await self.write(notes)
            with self.phase("review"):
                review = await self.review(draft)
            if review and review.is_weak:
                self.work.explain(WEAK_DRAFT % {"score": GOOD_ENOUGH})
                with self.phase("revision"):
                    draft = await self.write(notes, draft, review) or draft
        with self.work.phase("final"):
            open_points = "\n".join(review.missing) if review else ""
            sections = [("Draft", draft), ("Open points of the review", open_points)]
            editor = self.crew.editor
            notes_read = self.sections(editor, notes)
            return await self.turn(editor, *sections, *notes_read, is_answer=True).take()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Begin a phase of the preparation. Raise Spent if only the answer may follow."""
        # A phase that an earlier worker has begun was within the caps.
        if not self.work.has_begun(name) and (cap := self.work.meter.reached(keep=1)):
            self.work.say(CAP_BEFORE_PHASE % {"cap": cap, "phase": name})
            raise Spent
        return self.work.phase(name)

    # --- Steps

    async def plan(self) -> Plan | None:
        """Return the planner's plan without surplus subtasks, unknown agents and unknown tools.

        Return None if it can't be used.
        """
        # To take in the words of hundreds of tools takes a while, the first time.
        known = await asyncio.to_thread(self.roster)
        if len(known.agents) < len(self.crew.specialists):
            counts = {"count": len(known.agents), "all": len(self.crew.specialists)}
            self.work.say(FEWER_AGENTS % counts)
        schema = plan_schema([agent.id for agent in known.agents])
        planner = self.turn(self.crew.planner, ("Agents", known.text), schema=schema)
        # Treat an empty plan like an unreadable one. Let other model errors end the run: if the
        # first call fails, the others would fail too.
        await self.take([planner], forgiving=EmptyAnswer)
        plan = parsed(planner.said.text, Plan)
        if plan is None:
            self.work.say(UNUSABLE_PLAN)
            return None
        return self.cleaned(plan)

    def roster(self) -> Roster:
        """Return what the planner reads of the agents and their tools."""
        planner, question = self.crew.planner, self.work.question.text
        context = self.context_of(planner)
        room = context - estimated_tokens(planner.instructions) - estimated_tokens(question)
        # If the question is too long, it is what gets shorter.
        room = max(room - TITLES_TOKENS, context // 4)
        return roster(
            self.crew.specialists,
            {agent.id: self.tools_of(agent) for agent in self.crew.specialists},
            self.work.toolbox.usable_tools(),
            question,
            max_bytes=BYTES_PER_TOKEN * min(room, context * 2 // 3, MAX_ROSTER_TOKENS),
        )

    def cleaned(self, plan: Plan) -> Plan:
        subtasks = self.with_known_agents(plan.subtasks[:MAX_SUBTASKS])
        if len(plan.subtasks) > len(subtasks):
            self.work.say(LONG_PLAN % {"count": len(plan.subtasks), "most": MAX_SUBTASKS})
        has = {agent.id: self.tools_of(agent) for agent in self.crew.specialists}
        missing = {tool for task in subtasks for tool in task.tools if tool not in has[task.agent]}
        if missing:
            self.work.say(UNKNOWN_TOOLS % {"tools": cut(", ".join(sorted(missing)), 200)})
        return Plan(
            [
                msgspec.structs.replace(
                    task, tools=[tool for tool in task.tools if tool in has[task.agent]]
                )
                for task in subtasks
            ],
            plan.mode,
        )

    def with_known_agents(self, subtasks: Sequence[Subtask]) -> list[Subtask]:
        """Return the subtasks, those of agents that don't exist for the one of the nearest name.

        If none is near, the first agent that would have the question without a plan has them.
        """
        ids = [agent.id for agent in self.crew.specialists]
        [first, *_] = default_plan(self.work.question.text, self.crew.specialists).subtasks
        takers = {
            name: next(iter(get_close_matches(name.casefold(), ids, n=1, cutoff=NEAR)), first.agent)
            for name in dict.fromkeys(subtask.agent for subtask in subtasks)
            if name not in ids
        }
        if takers:
            pairs = (f"{cut(one_line(name), 60)} → {taker}" for name, taker in takers.items())
            self.work.say(OTHER_AGENTS % {"agents": ", ".join(pairs)})
        return [
            msgspec.structs.replace(subtask, agent=takers.get(subtask.agent, subtask.agent))
            for subtask in subtasks
        ]

    def show_plan(self, plan: Plan) -> None:
        tasks = "\n".join(
            f"- {agent.name}: {subtask.task}"
            for agent, subtask in assigned(plan.subtasks, self.crew.specialists)
        )
        self.tell_message(self.crew.planner, f"{PLANS[plan.mode]}\n\n{tasks}")
        if len(plan.subtasks) > 1:
            self.work.explain(REASONS[plan.mode])

    async def research(self, plan: Plan) -> list[Note]:
        """Work on the plan's subtasks and return a note for each, in the plan's order.

        If a cap is reached between two batches, return the notes found so far.
        """
        assignments = assigned(plan.subtasks, self.crew.specialists)
        busy = {subtask.agent for subtask in plan.subtasks}
        if idle := [agent.name for agent in self.crew.specialists if agent.id not in busy]:
            self.work.say(NOT_NEEDED % {"agents": cut(", ".join(idle), 200)})
        batch_size = self.work.meter.caps.fan_out if plan.mode == "parallel" else 1
        if plan.mode == "parallel" and len(assignments) > batch_size:
            self.work.say(OTHERS_FOLLOW % {"count": batch_size})
        notes: list[Note] = []
        for batch in batched(assignments, batch_size, strict=False):
            is_begun = any(self.work.has_kept(f"{agent.id}/1") for agent, _ in batch)
            if notes and not is_begun and (cap := self.work.meter.reached(keep=1)):
                # Return, don't raise Spent: the notes that are paid for would be lost.
                left = ", ".join(agent.name for agent, _ in assignments[len(notes) :])
                self.work.say(CAP_IN_RESEARCH % {"cap": cap, "agents": left})
                break
            # In a sequence an agent reads the notes before its own. Parallel agents don't wait.
            earlier = notes if plan.mode == "sequential" else []
            turns = [self.specialist(agent, subtask, earlier) for agent, subtask in batch]
            await self.take(turns, forgiving=ModelError)
            notes += [
                Note(turn.agent.name, subtask.task, turn.said.text)
                for turn, (_, subtask) in zip(turns, batch, strict=True)
            ]
        return notes

    async def write(self, notes: list[Note], draft: str = "", review: Review | None = None) -> str:
        """Return a draft, or after a review the revised one; an empty string if there is none."""
        sections = (
            [("Draft", draft), ("Missing or wrong in it", "\n".join(review.missing))]
            if review
            else []
        )
        writer = self.turn(self.crew.writer, *sections, *self.sections(self.crew.writer, notes))
        await self.take([writer], forgiving=ModelError)
        # Half a draft is better than none, but not than a whole one.
        return writer.said.text if writer.is_done or not draft else ""

    async def review(self, draft: str) -> Review | None:
        """Return the reviewer's review, or None if there is none that can be read."""
        if not draft:
            self.work.say(NO_DRAFT)
            return None
        schema = msgspec.json.schema(Review)
        reviewer = self.turn(self.crew.reviewer, ("Draft", draft), schema=schema)
        await self.take([reviewer], forgiving=ModelError)
        review = parsed(reviewer.said.text, Review)
        if review is None:
            self.work.say(UNREADABLE_REVIEW)
            return None
        missing = "".join(f"\n- {point}" for point in review.missing)
        self.tell_message(self.crew.reviewer, f"{SCORE % {'score': review.score}}{missing}")
        if not review.is_weak:
            self.work.say(NO_REVISION)
        return review

    # --- What the steps are made of

    def specialist(self, agent: Agent, subtask: Subtask, earlier: Sequence[Note]) -> Turn:
        return self.turn(
            agent,
            ("Your subtask", subtask.task),
            ("Tools for it", ", ".join(subtask.tools)),
            *self.sections(agent, earlier),
            task=subtask.task,
            tools=self.tools_of(agent),
            wanted=frozenset(subtask.tools),
            # One superstep is left for the answer.
            rounds=max(1, min(RESEARCH_ROUNDS, self.work.meter.supersteps - 1)),
        )

    def sections(self, agent: Agent, notes: Sequence[Note]) -> list[Section]:
        """Return the notes as sections of a prompt, each cut to its share of what `agent` reads."""
        share = BYTES_PER_TOKEN * self.context_of(agent) // (2 * max(1, len(notes)))
        return [
            (f"Notes of {note.author} on: {note.task}", cut(note.text, share)) for note in notes
        ]

    def context_of(self, agent: Agent) -> int:
        """Return how many tokens of messages the agent reads in one call."""
        return window_of(agent, self.work).context_tokens

    def tools_of(self, agent: Agent) -> frozenset[str]:
        return self.crew.tools_of(agent, self.work.toolbox.names)

    def turn(
        self,
        agent: Agent,
        *sections: Section,
        schema: dict[str, Any] | None = None,
        tools: frozenset[str] = frozenset(),
        wanted: frozenset[str] = frozenset(),
        rounds: int = 1,
        is_answer: bool = False,
        task: str = "",
    ) -> Turn:
        """Return a turn for `agent` that reads the question and behind it `sections`."""
        window = window_of(agent, self.work)
        read = prompt(agent, self.work.question, window.context_tokens)
        for title, text in sections:
            if text:
                read.add_to_question(f"{title}:\n{text}")
        return Turn(
            agent,
            self.work,
            read,
            max_tokens=window.output_tokens if is_answer else window.step_tokens,
            tools=tools,
            wanted=wanted,
            rounds=rounds,
            is_answer=is_answer,
            task=task,
            schema=schema,
        )

    async def take(self, turns: Sequence[Turn], *, forgiving: type[ModelError]) -> None:
        """Let agents work side by side until they are done or the team's time is up."""
        meter = self.work.meter
        if not await side_by_side(turns, until=meter.overdue_at, forgiving=forgiving):
            self.work.is_phase_cut = True
            self.work.say(CAP_IN_STEP % {"seconds": f"{meter.caps.seconds:g}"})
        # Agents side by side share a superstep, so charge only the longest turn.
        meter.supersteps -= max(turn.rounds_used for turn in turns)

    def tell_message(self, agent: Agent, message: str) -> None:
        self.work.tell(AgentMessage(agent_id=agent.id, author=agent.name, message=message))


def plan_schema(agents: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a plan, with the agents that it may name.

    Servers that enforce a schema then can't invent one.
    """
    schema = msgspec.json.schema(Plan)
    schema["$defs"]["Subtask"]["properties"]["agent"]["enum"] = list(agents)
    return schema


def default_plan(question: str, specialists: Sequence[Agent]) -> Plan:
    """Return the plan that is followed if the planner made none."""
    chosen = [agent for agent in specialists if agent.is_in_default_plan(question)]
    return Plan([Subtask(agent.id, question) for agent in chosen or specialists[:1]])


def assigned(
    subtasks: Iterable[Subtask], specialists: Sequence[Agent]
) -> list[tuple[Agent, Subtask]]:
    """Return each subtask with its agent. An agent's second subtask goes to its namesake.

    Followers tell agents apart by their ids.
    """
    known = {agent.id: agent for agent in specialists}
    counts: dict[str, int] = {}
    pairs: list[tuple[Agent, Subtask]] = []
    for subtask in subtasks:
        agent = known[subtask.agent]
        number = counts[agent.id] = counts.get(agent.id, 0) + 1
        if number > 1:
            agent = replace(agent, id=f"{agent.id}-{number}", name=f"{agent.name} {number}")
        pairs.append((agent, subtask))
    return pairs
