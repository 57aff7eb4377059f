"""Calls of a server's tools, and what their failures mean."""

import asyncio
from collections.abc import Callable
from typing import cast

import mcp_types
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from tooling.results import Output, ToolFailure
from tooling.schema import Arguments
from tooling.sentences import sentence

from .connecting import words
from .results import output_of

# In `_meta` of a call that acts: the same if the call is made again.
KEY_FIELD = "agenticfleet/key"

UNREACHABLE = sentence("%(server)s cannot be reached now.")
LOST = sentence("%(server)s was lost during the call.")
UNREADABLE = sentence("%(server)s sent a result that cannot be read.")
REPORTED = sentence("%(server)s reports an error.")
ANSWERED = sentence("%(server)s answered with status %(status)s.")
NO_INPUT = sentence("%(server)s wants to ask something, which is not possible here.")

# How the SDK tells that it could not read events, after which the connection stays open.
BROKEN = "SSE stream failed"

Result = TypeAdapter[mcp_types.CallToolResult | mcp_types.InputRequiredResult](
    mcp_types.CallToolResult | mcp_types.InputRequiredResult
)


class Calls:
    """The calls of one server. `hidden` takes its secrets out of a text."""

    def __init__(self, server: str, hidden: Callable[[str], str]) -> None:
        self._server = {"server": server}
        self._hidden = hidden
        self._running: set[asyncio.Task[Output]] = set()  # also those that nobody waits for

    async def make(
        self, client: Client | None, tool: str, arguments: Arguments, key: str, *, acts: bool
    ) -> Output:
        """Return the result of a call. Raise ToolFailure.

        A call that is cancelled is cancelled at the server, too, but doesn't wait for it.
        """
        if client is None:
            raise ToolFailure(UNREACHABLE % self._server, temporary=True, stale_will_do=True)
        call = asyncio.create_task(self.result_of(client, tool, arguments, key, acts=acts))
        self._running.add(call)
        call.add_done_callback(self.forget)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def forget(self, call: asyncio.Task[Output]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            # Taken also if nobody waits for it any more.
            call.exception()

    async def result_of(
        self, client: Client, tool: str, arguments: Arguments, key: str, *, acts: bool
    ) -> Output:
        meta = cast("mcp_types.RequestParamsMeta", {KEY_FIELD: key}) if key else None
        request = mcp_types.CallToolRequest(
            params=mcp_types.CallToolRequestParams(name=tool, arguments=arguments, _meta=meta)
        )
        try:
            # Not `call_tool`, which checks the result against a schema without bounds.
            result = await client.session.send_request(request, Result)
        except MCPError as exc:
            raise self.failure_of(exc, acts=acts) from exc
        except ValidationError as exc:
            raise ToolFailure(UNREADABLE % self._server, stale_will_do=True) from exc
        if isinstance(result, mcp_types.InputRequiredResult):
            raise ToolFailure(NO_INPUT % self._server)
        output = output_of(result)
        if result.is_error:
            raise ToolFailure(
                REPORTED % self._server,
                advice="Change the arguments, or answer without it.",
                outside=self._hidden(output.text),
            )
        return output

    def failure_of(self, exc: MCPError, *, acts: bool) -> ToolFailure:
        match exc.error.code:
            case mcp_types.CONNECTION_CLOSED if not exc.error.message.startswith(BROKEN):
                return ToolFailure(
                    LOST % self._server,
                    advice="It may have been done. Do not repeat this call." if acts else "",
                    temporary=not acts,
                    stale_will_do=True,
                )
            case mcp_types.PARSE_ERROR | mcp_types.CONNECTION_CLOSED:
                return ToolFailure(UNREADABLE % self._server, stale_will_do=True)
        match exc.error.data:
            case {"status": int(status)}:
                return ToolFailure(
                    ANSWERED % {**self._server, "status": status},
                    temporary=not acts and (status >= 500 or status == 429),
                    stale_will_do=True,
                )
        return ToolFailure(
            REPORTED % self._server,
            stale_will_do=True,
            outside=self._hidden(words(exc.error.message)),
        )
