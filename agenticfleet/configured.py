"""What a fleet has from its fleet.toml, as the terminal shows it."""

import os
import re
import sys
from collections.abc import Iterator
from shutil import which

from django.conf import settings

from chat.config.effective import approver_of
from chat.config.places import quoted
from chat.config.reading import FILE, TOOLS_FILE
from chat.config.sent import public_part
from chat.workflow.agents import Agent
from chat.workflow.crew import crew
from tooling.known import BUILT_IN_NAMES, SWITCHED_OFF, TOOLS
from tooling.loading import MODULE, tools_in
from tooling.registry import MADE, Tool

from .columns import aligned

# Names of the files in other letters, or with the ending that some editors add.
MISSPELT = re.compile(rf"({FILE}|{TOOLS_FILE})(?:\.txt)?", re.IGNORECASE)


def config_line() -> str:
    """Return in one line what was read."""
    config = settings.FLEET_FILE
    found = [str(path) for path in (config.path, config.tools_path) if path]
    if not found:
        return f"no {FILE} and no {TOOLS_FILE}: agents and tools are those of the product"
    file = config.file
    added = [name for name in TOOLS if name not in BUILT_IN_NAMES]
    parts = [
        counted(len(file.agents), "agent"),
        counted(len(file.models), "model"),
        counted(len(added), "added tool"),
        counted(sum(server.enabled for server in file.mcp.values()), "MCP server"),
        counted(len(file.apps), "app"),
    ]
    return f"{' and '.join(found)}: {', '.join(filter(None, parts)) or 'nothing in it'}"


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""


def config_text() -> str:
    """Return what is in force: agents, models, tools and servers, with where they are from."""
    file = settings.FLEET_FILE.file
    parts: dict[str, list[tuple[str, ...]]] = {
        "Agents": [agent_row(agent, phase) for phase, agent in crew().posts],
        "Models": [
            (name, model.model, public_part(model.base_url) or "the fleet's own server")
            for name, model in file.models.items()
        ],
        "Tools": [(tool.name, source_of(tool), *bounds_of(tool)) for tool in TOOLS.values()]
        + [(name, "switched off") for name in sorted(SWITCHED_OFF)],
        "MCP servers": [
            (
                name,
                public_part(server.url) or " ".join(server.command),
                "its tools are known once it runs" if server.enabled else "switched off",
            )
            for name, server in file.mcp.items()
        ],
        "Apps": [(name,) for name in file.apps],
    }
    shown = [
        "\n".join([title, *(f"  {line}" for line in aligned(rows))])
        for title, rows in parts.items()
        if rows
    ]
    return "\n\n".join(["\n".join([f"All is right. {config_line()}", *doubts()]), *shown])


def doubts() -> Iterator[str]:
    """Yield what is allowed, and yet hardly meant."""
    config = settings.FLEET_FILE
    if config.tools_path and not tools_in(sys.modules[MODULE], MADE):
        yield f"But {config.tools_path} has no function with @tool."
    for folder in dict.fromkeys(path.parent for path in config.places):
        for found in sorted(folder.iterdir()) if os.access(folder, os.R_OK) else ():
            meant = MISSPELT.fullmatch(found.name)
            name = meant[1].lower() if meant else found.name
            if meant and name != found.name and not (folder / name).exists():
                yield f"But {found} is not read: its name must be {name}."
    for name, server in config.servers.items():
        program = server.command[0] if server.command else ""
        if program and which(program, path=server.env.get("PATH")) is None:
            yield f"But there is no program {quoted(program)}, which mcp.{name}.command starts."


def agent_row(agent: Agent, phase: str) -> tuple[str, ...]:
    tools = ", ".join(sorted(agent.tools)) or ("" if agent.takes_added_tools else "no tools")
    added = "what is added" if agent.takes_added_tools else ""
    return agent.id, phase, agent.model or "default model", ", ".join(filter(None, (tools, added)))


def source_of(tool: Tool) -> str:
    """Return who has added a tool."""
    if tool.name in BUILT_IN_NAMES:
        return "built in"
    module = tool.function.__module__
    return TOOLS_FILE if module == MODULE else module


def bounds_of(tool: Tool) -> Iterator[str]:
    yield f"{tool.timeout:g} s"
    approver = approver_of(tool)
    if approver == "owner":
        yield "the person who asked approves each call"
    elif approver:
        yield f"staff with {approver.removeprefix('perm:')} approve each call"
