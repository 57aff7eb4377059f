"""What must be true of the fleet before it answers: system checks, and names in fleet.toml."""

import sqlite3
from contextlib import closing
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import connection

from tooling.known import SWITCHED_OFF, TOOLS
from tooling.names import ALL, PARTING, matches

from .config.places import quoted
from .config.wording import meant
from .workflow.agents import Agent
from .workflow.crew import crew

TOOLS_TAG = "tools"  # of the checks without which no command answers questions


def refuse_unknown_names() -> None:
    """Raise ImproperlyConfigured if fleet.toml names an agent's model, or a tool, that isn't there.

    At run time such a name would silently be left out of what the agent's model is offered.
    """
    config = settings.FLEET_FILE
    for agent in crew().agents:
        table = config.file.agents.get(agent.id)
        for number, name in enumerate((table and table.tools) or ()):
            if problem := fault(agent, name):
                config.reject(("agents", agent.id, "tools", number), problem)
    for name in config.file.tools:
        if not exists(name):
            config.reject(("tools", name), f"there is no such tool{meant(name, known_tools())}")


def agents_name_callable_tools(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each tool of an agent that does not exist or is not for its path."""
    return [
        Error(f"The agent {agent.id!r}: {problem}", obj=agent.id, id="chat.E001")
        for agent in crew().agents
        for name in sorted(agent.tools)
        if (problem := fault(agent, name))
    ]


def approvals_name_tools(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each tool in FLEET_APPROVE that does not exist."""
    # At run time such a name would leave the tool that was meant without approval.
    return [
        Error(
            f"FLEET_APPROVE names the tool {name!r}, which does not exist.",
            hint=f"The tools are: {', '.join(known_tools())}.",
            id="chat.E003",
        )
        for name in sorted(settings.FLEET_APPROVE)
        if not exists(name)
    ]


def fault(agent: Agent, name: str) -> str:
    """Return what is wrong with this tool of the agent; empty if nothing is."""
    if not exists(name):
        return f"there is no tool {quoted(name)}{meant(name, known_tools())}"
    if name in TOOLS and agent.tier not in TOOLS[name].paths:
        return f"the tool {quoted(name)} is not for the light path: it says light=False."
    return ""


def exists(name: str) -> bool:
    """Return True if there is such a tool, or one that the name matches, or if there may be.

    Which tools an MCP server has is known only when it runs.
    """
    if any(matches(tool, [name]) for tool in known_tools()):
        return True
    begins = name.removesuffix(ALL)
    has_wild = begins != name
    beginnings = [f"{server}{PARTING}" for server in settings.FLEET_FILE.file.mcp]
    return any(
        (begins.startswith(each) and (has_wild or begins != each))
        or (has_wild and each.startswith(begins))
        for each in beginnings
    )


def known_tools() -> list[str]:
    """Return the names of the tools that are known at the start, also of those switched off."""
    return [*TOOLS, *sorted(SWITCHED_OFF)]


def questions_can_be_indexed(**kwargs: Any) -> list[CheckMessage]:
    """Return a warning if this SQLite has no full-text index."""
    if connection.vendor != "sqlite" or has_fts5():
        return []
    return [
        checks.Warning(
            "This Python's SQLite has no FTS5, so the admin's search reads all questions.",
            hint="Use a Python whose SQLite has FTS5, or PostgreSQL. A database whose questions are"
            " indexed already counts and deletes no runs without FTS5.",
            id="chat.W001",
        )
    ]


def has_fts5() -> bool:
    with closing(sqlite3.connect(":memory:")) as memory:
        return ("ENABLE_FTS5",) in memory.execute("PRAGMA compile_options").fetchall()
