"""The agents of this fleet: those of the product, as its operator has changed them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

from django.conf import settings
from django.utils.text import capfirst

from chat.config.reading import Config
from chat.config.tables import AgentTable, Post
from chat.config.wording import meant
from tooling.known import BUILT_IN_NAMES
from tooling.names import matches

from .agents import ASSISTANT, EDITOR, PLANNER, REVIEWER, SPECIALISTS, WRITER, Agent

# The product's agent of each post that has one.
POSTS: dict[Post, Agent] = {
    "answer": ASSISTANT,
    "analysis": PLANNER,
    "writing": WRITER,
    "review": REVIEWER,
    "final": EDITOR,
}

# All agents of the product, and the posts that they keep.
PRODUCTS = {agent.id: agent for agent in (*POSTS.values(), *SPECIALISTS)}
OWN_POSTS: dict[str, Post] = {
    **{agent.id: post for post, agent in POSTS.items()},
    **{agent.id: "research" for agent in SPECIALISTS},
}
WITH_TOOLS: tuple[Post, ...] = ("answer", "research")
IN_JSON: tuple[Post, ...] = ("analysis", "review")
JSON_ALONE = "Reply with the JSON object alone."


@dataclass(frozen=True, slots=True)
class Crew:
    """All agents of a fleet, each in its place."""

    assistant: Agent
    planner: Agent
    specialists: tuple[Agent, ...]
    writer: Agent
    reviewer: Agent
    editor: Agent

    @property
    def posts(self) -> list[tuple[Post, Agent]]:
        """All agents with the parts of an answer that they have, in its order."""
        return [
            ("answer", self.assistant),
            ("analysis", self.planner),
            *(("research", agent) for agent in self.specialists),
            ("writing", self.writer),
            ("review", self.reviewer),
            ("final", self.editor),
        ]

    @property
    def agents(self) -> list[Agent]:
        return [agent for _, agent in self.posts]

    def tools_of(self, agent: Agent, names: Collection[str]) -> frozenset[str]:
        """Return which of the tools with these `names` the agent may call."""
        return frozenset(name for name in names if self.may_call(agent, name))

    def may_call(self, agent: Agent, name: str) -> bool:
        if matches(name, agent.tools):
            return True
        if not agent.takes_added_tools or name in BUILT_IN_NAMES:
            return False
        # What the light path may use, a tool says itself.
        return agent.tier == "light" or not any(matches(name, each.tools) for each in self.agents)


def crew() -> Crew:
    """Return the agents of this fleet."""
    return crew_of(settings.FLEET_FILE)


@lru_cache(maxsize=4)
def crew_of(config: Config) -> Crew:
    """Return the agents that a fleet.toml makes. Raise ImproperlyConfigured if it can't be."""
    posts: dict[Post, Agent] = dict(POSTS)
    specialists = {agent.id: agent for agent in SPECIALISTS}
    taken: dict[Post, str] = {}  # by agents that the operator has added
    for name, table in config.file.agents.items():
        post = post_of(config, name, table)
        agent = agent_of(config, name, table, post)
        if post == "research":
            specialists[name] = agent
            if not table.enabled:
                del specialists[name]
        elif name == POSTS[post].id:
            if post not in taken:
                posts[post] = agent
        elif table.enabled:
            if post in taken:
                config.reject(("agents", name, "phase"), f"{taken[post]} has this phase already.")
            taken[post], posts[post] = name, agent
    for post, agent in POSTS.items():
        said = config.file.agents.get(agent.id)
        if said and not said.enabled and post not in taken:
            config.reject(
                ("agents", agent.id, "enabled"),
                f'another agent must have phase = "{post}" instead of this one.',
            )
    if not specialists:
        config.reject(("agents",), "at least one agent must be left for research.")
    return Crew(
        posts["answer"],
        posts["analysis"],
        tuple(specialists.values()),
        posts["writing"],
        posts["review"],
        posts["final"],
    )


def post_of(config: Config, name: str, table: AgentTable) -> Post:
    """Return in which part of an answer an agent works."""
    own = OWN_POSTS.get(name)
    if own and table.phase not in (None, own):
        config.reject(("agents", name, "phase"), f"the product's {name} stays in {own}.")
    return own or table.phase or "research"


def agent_of(config: Config, name: str, table: AgentTable, post: Post) -> Agent:
    """Return the agent that a table makes, or changes."""
    if table.model and table.model not in config.file.models:
        config.reject(
            ("agents", name, "model"),
            f"there is no [models.{table.model}]{meant(table.model, config.file.models)}",
        )
    base = PRODUCTS.get(name) or POSTS.get(post)
    if name not in PRODUCTS:
        if not table.instructions:
            config.reject(("agents", name), "needs instructions, which its model reads.")
        if not table.role and base is None:
            config.reject(("agents", name), "needs a role, which the planner reads.")
    if table.by_default and post != "research":
        config.reject(("agents", name, "by_default"), "is for agents of the phase research.")
    if table.tools is not None and post not in WITH_TOOLS:
        config.reject(
            ("agents", name, "tools"),
            f"is for agents of the phases {' and '.join(WITH_TOOLS)}.",
        )
    if base is None:
        base = Agent(name, "", "", "")
    shown = table.name or ("" if name not in PRODUCTS else base.name)
    return replace(
        base,
        id=name,
        name=shown or capfirst(name.replace("_", " ")),
        role=table.role or base.role,
        instructions=instructions_of(post, table) or base.instructions,
        model=table.model or base.model,
        tools=base.tools if table.tools is None else frozenset(table.tools),
        takes_added_tools=base.takes_added_tools and table.tools is None,
        by_default=table.by_default or base.by_default,
    )


def instructions_of(post: Post, table: AgentTable) -> str:
    """Return what a table says that the agent is told. Some posts must reply in JSON."""
    if post in IN_JSON and table.instructions and "JSON" not in table.instructions:
        return f"{table.instructions.rstrip()} {JSON_ALONE}"
    return table.instructions
