"""What is in force in this process, as one text: agents, models, tools, servers and limits.

Runs are stored with its digest, so that people can see later which prompt has answered. It has no
secrets. It has nothing either that differs between workers of one fleet, or between two starts.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import isinf
from typing import Any

from django.conf import settings
from msgspec import structs

from chat.workflow.agents import Agent
from chat.workflow.crew import crew
from tooling.known import TOOLS
from tooling.registry import Tool
from tooling.tables import McpTable

from .places import BARE
from .sent import public_part
from .tables import ModelTable

HIDDEN = "(hidden)"
MAX_LINE = 100
SENTENCES = re.compile(r"(?<=[.!?:;] )(?=\S)")
SETTINGS = (
    "FLEET_MAX_OUTPUT_TOKENS",
    "FLEET_CONTEXT_TOKENS",
    "FLEET_THINKING_TOKENS",
    "FLEET_SEARCH",
    "FLEET_QUESTIONS",
    "FLEET_TIME_ZONE",
    "FLEET_LIGHT_MODE",
    "FLEET_LIGHT_THRESHOLD",
)

type Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force, and the digest by which runs refer to it."""

    digest: str
    text: str


def in_force() -> InForce:
    """Return what this process answers with, as its settings and its tools are now."""
    text = written(
        {
            "version": settings.FLEET_VERSION,
            "agents": {agent.id: of_agent(agent, phase) for phase, agent in crew().posts},
            "server": of_own_server(),
            "models": {
                name: of_model(each) for name, each in settings.FLEET_FILE.file.models.items()
            },
            "tools": {name: of_tool(tool) for name, tool in sorted(TOOLS.items())},
            "mcp": {name: of_server(each) for name, each in settings.FLEET_FILE.file.mcp.items()},
            "limits": {
                "light": asdict(settings.FLEET_LIGHT_CAPS),
                "full": asdict(settings.FLEET_FULL_CAPS),
            },
            "settings": {name: getattr(settings, name) for name in SETTINGS},
        }
    )
    return InForce(sha256(text.encode()).hexdigest()[:12], text)


def of_agent(agent: Agent, phase: str) -> Table:
    return {
        "name": agent.name,
        "phase": phase,
        "role": agent.role,
        "instructions": agent.instructions,
        "model": agent.model or None,
        "tools": sorted(agent.tools),
        "takes_added_tools": agent.takes_added_tools or None,
        "by_default": agent.by_default if phase == "research" else None,
    }


def of_own_server() -> Table:
    server = settings.OPENAI_BASE_URL
    return {
        "model": settings.FLEET_MODEL,
        "light_model": settings.FLEET_LIGHT_MODEL,
        "router_model": settings.FLEET_ROUTER_MODEL,
        # A fleet that serves its model itself does so at another port at each start.
        "base_url": "" if settings.FLEET_SERVES_MODEL else public_part(server) if server else "",
    }


def of_model(model: ModelTable) -> Table:
    said = said_in(model)
    if model.base_url:
        said["base_url"] = public_part(model.base_url)
    return said | {"headers": without_words(model.headers)} if model.headers else said


def of_tool(tool: Tool) -> Table:
    return {
        "description": tool.description,
        "paths": sorted(tool.paths),
        "approver": approver_of(tool) or None,
        "acts": tool.acts or None,
        "timeout": tool.timeout,
        "max_chars": tool.max_chars,
        "calls_per_run": None if isinf(tool.calls_per_run) else tool.calls_per_run,
    }


def approver_of(tool: Tool) -> str:
    """Return who must approve each call; empty for no one."""
    return tool.approver or ("owner" if tool.name in settings.FLEET_APPROVE else "")


def of_server(server: McpTable) -> Table:
    said = said_in(server)
    if server.url:
        said["url"] = public_part(server.url)
    for name, values in (("env", server.env), ("headers", server.headers)):
        if values:
            said[name] = without_words(values)
    return said


def said_in(table: Any) -> Table:
    """Return what the operator has said in a table, without what is left out."""
    defaults = {field.name: field.default for field in structs.fields(table)}
    return {
        name: value
        for name, value in structs.asdict(table).items()
        if value not in (defaults[name], None, [], {}, "")
    }


def without_words(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of headers and variables that name a secret. Others may be one."""
    return {name: value if "$" in value else HIDDEN for name, value in values.items()}


# --- As text


def written(table: Table, place: tuple[str, ...] = ()) -> str:
    """Return a table as TOML: its values, then the tables in it. What is None is left out."""
    values = {key: each for key, each in table.items() if not isinstance(each, dict)}
    tables = {key: each for key, each in table.items() if isinstance(each, dict)}
    lines = [f"{bare(key)} = {literal(each)}" for key, each in values.items() if each is not None]
    parts = ["\n".join(lines)] if lines else []
    if place and lines:
        parts = [f"[{'.'.join(map(bare, place))}]\n{parts[0]}"]
    parts += [text for key, each in tables.items() if (text := written(each, (*place, key)))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n" if parts else ""


def bare(key: str) -> str:
    return key if BARE.fullmatch(key) else quoted(key)


def literal(value: Any) -> str:
    if isinstance(value, str):
        return long_text(value) if "\n" in value or len(value) > MAX_LINE else quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def long_text(text: str) -> str:
    """Return the text as TOML with a sentence in each line, so that changes of it are found."""
    lines = ("\\\n".join(map(inner, SENTENCES.split(line))) for line in text.split("\n"))
    return '"""\n{}"""'.format("\n".join(lines))


def inner(text: str) -> str:
    """Return the text as it stands within three quotation marks."""
    return quoted(text)[1:-1].replace('\\"', '"').replace('""', '"\\"')
