"""The tools of this process: the product's own, and those that the operator has added."""

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

from .calculator import calculator
from .clock import clock
from .pages.tool import read_page
from .person import ask_person
from .registry import Tool
from .services import Services
from .untrusted import one_line
from .websearch import web_search

logger = logging.getLogger(__name__)

# In this order the first one is taken whose phrases a question has.
BUILT_IN = (calculator, clock, read_page, web_search, ask_person)
BUILT_IN_NAMES = frozenset(tool.name for tool in BUILT_IN)
# Filled in once, when Django starts (`loading`). Those of MCP servers come and go, so `Services`
# has them.
TOOLS: dict[str, Tool] = {tool.name: tool for tool in BUILT_IN}
SWITCHED_OFF: set[str] = set()  # the names of tools that fleet.toml has switched off


def tools_of(services: Services) -> Mapping[str, Tool]:
    """Return all tools that runs of this event loop know, by name."""
    tools = {**TOOLS, **services.mcp.tools} if services.mcp else TOOLS
    if services.only is None:
        return tools
    return {name: tool for name, tool in tools.items() if name in services.only}


def harmless_tools() -> frozenset[str]:
    """Return the names of tools of this process that may be called when nobody is there.

    They change nothing outside, need no person, and bring nothing from outside.
    """
    return frozenset(
        name
        for name, tool in TOOLS.items()
        if not (tool.acts or tool.approver or tool.untrusted or tool.opens or tool is ask_person)
    )


def allowed_on(path: Literal["light", "full"], services: Services) -> frozenset[str]:
    """Return the names of the tools that this path may use."""
    return frozenset(name for name, tool in tools_of(services).items() if path in tool.paths)


def phrases_of(names: Collection[str]) -> dict[str, re.Pattern[str]]:
    """Return the phrases that obviously ask for one of these tools. The first that occur count."""
    return {
        tool.name: tool.phrases for tool in added_first() if tool.name in names and tool.phrases
    }


def sufficient_tools(names: Collection[str]) -> frozenset[str]:
    """Return those of the tools whose phrases show that a question needs no team."""
    return frozenset(name for name, tool in TOOLS.items() if name in names and tool.suffices)


def exact_tools(names: Collection[str], question: str) -> tuple[str, ...]:
    """Return those of the tools that answer this question exactly. The first is to be called."""
    return tuple(
        tool.name
        for tool in added_first()
        if tool.name in names and tool.phrases is None and found_in(tool, question, "") is not None
    )


def added_first() -> list[Tool]:
    """Return the tools, with the operator's before the product's: their phrases mean more."""
    return sorted(TOOLS.values(), key=lambda tool: tool.name in BUILT_IN_NAMES)


def arguments_for(name: str, question: str, *, follows: str = "") -> dict[str, Any] | None:
    """Return the arguments of the one call that answers this question, or None if there are none.

    `follows` is the earlier question without which this one cannot be understood. The call is made
    for models that are too weak to ask for it.
    """
    tool = TOOLS.get(name)
    return found_in(tool, question, follows) if tool else None


def found_in(tool: Tool, question: str, follows: str) -> dict[str, Any] | None:
    """Return what `from_question` of a tool returns; None if it fails, which the log says."""
    if tool.from_question is None:
        return None
    try:
        found = tool.from_question(question, follows)
        problem = "" if found is None or isinstance(found, dict) else "returned no dict"
    except Exception as exc:  # noqa: BLE001 - the answer can do without the call
        found, problem = None, f"raised {type(exc).__name__}: {one_line(str(exc))}"
    if problem:
        logger.error("tool=%s: from_question %s (%s)", tool.name, problem, tool.place)
        return None
    return found
