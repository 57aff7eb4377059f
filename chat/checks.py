"""System checks: what must be true of the fleet before it answers."""

import sqlite3
from contextlib import closing
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import connection

from tooling.known import TOOLS

from .workflow.agents import Agent
from .workflow.crew import crew

TOOLS_TAG = "tools"  # of the checks without which no command answers questions


def agents_name_callable_tools(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each tool of an agent that does not exist or is not for its path."""
    # At run time such a name is silently left out of what the agent's model is offered.
    return [
        error
        for agent in crew().agents
        for name in sorted(agent.tools)
        if (error := fault(agent, name)) is not None
    ]


def approvals_name_tools(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for each tool in FLEET_APPROVE that does not exist."""
    # At run time such a name would leave the tool that was meant without approval.
    return [
        Error(
            f"FLEET_APPROVE names the tool {name!r}, which does not exist.",
            hint=f"The tools are: {', '.join(TOOLS)}.",
            id="chat.E003",
        )
        for name in sorted(settings.FLEET_APPROVE - TOOLS.keys())
    ]


def fault(agent: Agent, name: str) -> Error | None:
    """Return what is wrong with this tool of the agent, or None."""
    if name not in TOOLS:
        known = ", ".join(TOOLS)
        nearest = get_close_matches(name, TOOLS, n=1)
        return Error(
            f"The agent {agent.id!r} names the tool {name!r}, which does not exist.",
            hint=f"Did you mean {nearest[0]!r}?" if nearest else f"The tools are: {known}.",
            obj=agent.id,
            id="chat.E001",
        )
    if agent.tier not in TOOLS[name].paths:
        return Error(
            f"The agent {agent.id!r} names the tool {name!r}, which is not for the"
            f" {agent.tier} path.",
            hint=f"Add {agent.tier!r} to the tool's `paths`, or take the tool from the agent.",
            obj=agent.id,
            id="chat.E002",
        )
    return None


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
