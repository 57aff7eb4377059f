"""What the planner reads about the agents and their tools, within what its model reads."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tooling.choosing import Entry, entry_of, ranked
from tooling.names import ALL, matches
from tooling.registry import Tool
from tooling.untrusted import cut, one_line

from .agents import Agent

# Characters of what is said about a tool. Shortened evenly from the most to the least.
DESCRIPTIONS = (160, 120, 90, 70, 55, 40)
TOOLS_TITLE = "\n\nTools:\n"
FIRST_SENTENCE = re.compile(r".*?(?:[.!?؟](?=\s+[^\sa-z]|$)|[。！？]|$)")


@dataclass(frozen=True, slots=True)
class Roster:
    """Agents with their tools, as text. `agents` are those that it names."""

    text: str
    agents: tuple[Agent, ...]


def roster(
    agents: Sequence[Agent],
    tools_of: Mapping[str, Collection[str]],
    tools: Sequence[Tool],
    question: str,
    *,
    max_bytes: int,
) -> Roster:
    """Return what the planner reads of these agents, in at most `max_bytes`.

    `tools_of` names the tools of each agent, by its id. If not all fits, what is said about tools
    is shortened evenly; then tools that have nothing to do with the question lose it, the least
    related first; then agents lose names of tools. Ids and roles stay, until even those don't fit:
    then the agents that have least to do with the question are left out, except those that would
    have it without a plan. At least one agent stays.
    """
    known = [tool for tool in tools if any(tool.name in tools_of[agent.id] for agent in agents)]
    told = [line_of(agent, shown(agent, tools_of[agent.id])) for agent in agents]
    for max_chars in DESCRIPTIONS:
        text = joined(told, [described(tool, max_chars) for tool in known])
        if size(text) <= max_bytes:
            return Roster(text, tuple(agents))
    related = [name for name, score in ranked(map(entry_of, known), question).items() if score]
    by_name = {tool.name: described(tool, DESCRIPTIONS[-1]) for tool in known}
    few = [line_of(agent, named(agent, tools_of[agent.id], related)) for agent in agents]
    bare = [line_of(agent, "") for agent in agents]
    for lines in (told, few, bare):
        if size("\n".join(lines)) <= max_bytes:
            return Roster(
                filled(lines, [by_name[name] for name in related], max_bytes), tuple(agents)
            )
    return without_some(agents, bare, nearness(agents, tools_of, known, question), max_bytes)


def without_some(
    agents: Sequence[Agent], lines: Sequence[str], order: Sequence[int], max_bytes: int
) -> Roster:
    """Return the agents that fit, taken in the `order` of their places."""
    kept: set[int] = set()
    for place in order:
        if not kept or size("\n".join(lines[each] for each in {*kept, place})) <= max_bytes:
            kept.add(place)
    places = sorted(kept)
    text = "\n".join(lines[place] for place in places)
    return Roster(text, tuple(agents[place] for place in places))


def nearness(
    agents: Sequence[Agent],
    tools_of: Mapping[str, Collection[str]],
    tools: Sequence[Tool],
    question: str,
) -> list[int]:
    """Return the places of the agents, the nearest to the question first."""
    entries = [
        Entry(
            agent.id,
            " ".join([agent.role, *(t.description for t in tools if t.name in tools_of[agent.id])]),
        )
        for agent in agents
    ]
    found = ranked(entries, question)
    return sorted(
        range(len(agents)),
        key=lambda place: (
            not agents[place].is_in_default_plan(question),
            -found[agents[place].id],
        ),
    )


# --- Lines


def line_of(agent: Agent, tools: str) -> str:
    role = one_line(agent.role).rstrip(". ")
    return f"{agent.id}: {role}. Tools: {tools}" if tools else f"{agent.id}: {role}."


def shown(agent: Agent, names: Collection[str]) -> str:
    """Return the tools of an agent as it names them: those of one server by their pattern."""
    wide = [pattern for pattern in agent.tools if pattern.endswith(ALL)]
    matching = {p: {name for name in names if matches(name, [p])} for p in wide}
    covered = set().union(*matching.values())
    return ", ".join(sorted([*(set(names) - covered), *(p for p in wide if matching[p])])) or "none"


def named(agent: Agent, names: Collection[str], related: Collection[str]) -> str:
    """Return those of an agent's tools that have to do with the question, and how many others."""
    found = [name for name in related if name in names]
    others = len(names) - len(found)
    return ", ".join([*found, f"{others} more"] if others else found)


def described(tool: Tool, max_chars: int) -> str:
    sentence = FIRST_SENTENCE.match(one_line(tool.description))
    return f"{tool.name}: {cut(sentence[0] if sentence else '', max_chars)}"


def joined(lines: Iterable[str], tools: Sequence[str]) -> str:
    return "\n".join(lines) + (TOOLS_TITLE + "\n".join(tools) if tools else "")


def filled(lines: Sequence[str], tools: Iterable[str], max_bytes: int) -> str:
    """Return the lines, with as many of the tools as fit."""
    text, title = "\n".join(lines), TOOLS_TITLE
    for tool in tools:
        if size(longer := f"{text}{title}{tool}") <= max_bytes:
            text, title = longer, "\n"
    return text


def size(text: str) -> int:
    return len(text.encode())
