"""Make a search through the toolbox, as a model asks for it."""

from datetime import UTC, datetime
from typing import Any

from tooling.calls import Call, ToolResult
from tooling.toolbox import Toolbox

NOW = datetime(2026, 11, 22, 19, 5, tzinfo=UTC)


async def called(toolbox: Toolbox, query: str = "q", **arguments: Any) -> ToolResult:
    call = toolbox.check("web_search", {"query": query, **arguments})
    assert isinstance(call, Call), call
    return await toolbox.make(call)
