"""The client of fastmcp. Prints the tools, an answer and its steps."""

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

address, token, question = sys.argv[1:]
steps: list[str | None] = []


async def note(progress: float, total: float | None, message: str | None) -> None:
    steps.append(message)


async def main() -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with Client(StreamableHttpTransport(f"{address}mcp", headers=headers)) as client:
        tools = [tool.name for tool in await client.list_tools()]
        result = await client.call_tool("ask", {"question": question}, progress_handler=note)
        return {"tools": tools, "text": result.content[0].text, "value": result.structured_content}


print(json.dumps({**asyncio.run(main()), "steps": steps}))
