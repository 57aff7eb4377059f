"""Calls of a server's tools, and what their failures mean."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mcp_types
from mcp.client import Client
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from tooling.failures import MAY_BE_DONE
from tooling.results import Given, Output, ToolFailure
from tooling.schema import Arguments
from tooling.sentences import sentence

from .asking import NOT_POSSIBLE, REFUSED, Answer, Asking, asked_by, asked_in, pages_of
from .connecting import words
from .results import output_of

# In `_meta` of a call that acts: the same if the call is made again.
KEY_FIELD = "agenticfleet/key"

UNREACHABLE = sentence("%(server)s cannot be reached now.")
LOST = sentence("%(server)s was lost during the call.")
UNREADABLE = sentence("%(server)s sent a result that cannot be read.")
REPORTED = sentence("%(server)s reports an error.")
ANSWERED = sentence("%(server)s answered with status %(status)s.")

# How the SDK tells that it could not read events, after which the connection stays open.
BROKEN = "SSE stream failed"

Result = TypeAdapter[mcp_types.CallToolResult | mcp_types.InputRequiredResult](
    mcp_types.CallToolResult | mcp_types.InputRequiredResult
)


@dataclass(slots=True)
class Flight:
    """A call that its server has not answered yet. `wants` is what it asks instead."""

    sending: "asyncio.Future[mcp_types.CallToolResult | mcp_types.InputRequiredResult]"
    asking: Asking
    wants: Asking | None = None


class Calls:
    """The calls of one server. `hidden` takes its secrets out of a text."""

    def __init__(self, server: str, hidden: Callable[[str], str]) -> None:
        self._server = {"server": server}
        self._hidden = hidden
        self._running: set[asyncio.Task[Output]] = set()  # also those that nobody waits for
        self._flights: list[Flight] = []

    async def make(
        self,
        client: Client | None,
        tool: str,
        arguments: Arguments,
        key: str,
        given: Given | None,
        *,
        acts: bool,
    ) -> Output:
        """Return the result of a call. Raise ToolFailure, or NeedsInput before anything is done.

        A call that is cancelled is cancelled at the server, too, but doesn't wait for it.
        """
        asking = Asking.after(given)
        if asking.wanted:
            raise asking.needs(self._server, self._hidden)
        if asking.is_refused_page:
            raise ToolFailure(REFUSED % self._server)
        if client is None:
            raise ToolFailure(UNREACHABLE % self._server, temporary=True, stale_will_do=True)
        meta = cast("mcp_types.RequestParamsMeta", {KEY_FIELD: key}) if key else None
        params = mcp_types.CallToolRequestParams(name=tool, arguments=arguments, _meta=meta)
        call = asyncio.create_task(self.result_of(client, params, asking, acts=acts))
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
        self,
        client: Client,
        params: mcp_types.CallToolRequestParams,
        asking: Asking,
        *,
        acts: bool,
    ) -> Output:
        try:
            result = await self.sent(client, params, asking)
        except MCPError as exc:
            if pages := pages_of(asking, exc):
                raise pages.needs(self._server, self._hidden) from exc
            if asking.responses is not None and exc.error.code == mcp_types.INVALID_PARAMS:
                # The server has lost its state, as after a restart. It asks once more.
                return await self.result_of(client, params, Asking(), acts=acts)
            raise self.failure_of(exc, acts=acts) from exc
        except ValidationError as exc:
            raise ToolFailure(UNREADABLE % self._server, stale_will_do=True) from exc
        if isinstance(result, mcp_types.InputRequiredResult):
            wanted = asked_by(result)
            if wanted is None or not wanted.wanted:
                raise ToolFailure(NOT_POSSIBLE % self._server)
            raise wanted.needs(self._server, self._hidden)
        output = self.without_secrets(output_of(result))
        if result.is_error:
            raise ToolFailure(
                REPORTED % self._server,
                advice="Change the arguments, or answer without it.",
                outside=output.text,
            )
        return output

    def without_secrets(self, output: Output) -> Output:
        """Return the output as models and readers may see it: some tools tell the environment."""
        hidden = self._hidden
        passages = tuple(
            replace(each, title=hidden(each.title), url=hidden(each.url), text=hidden(each.text))
            for each in output.passages
        )
        return replace(output, text=hidden(output.text), passages=passages)

    async def sent(
        self, client: Client, params: mcp_types.CallToolRequestParams, asking: Asking
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        """Return what the server answers. Raise NeedsInput if it asks while it holds the call."""
        params = params.model_copy(
            update={"input_responses": asking.responses, "request_state": asking.state}
        )
        request = mcp_types.CallToolRequest(params=params)
        # Not `call_tool`, which checks the result against a schema without bounds.
        sending = asyncio.ensure_future(client.session.send_request(request, Result))
        flight = Flight(sending, asking)
        self._flights.append(flight)
        try:
            return await sending
        except asyncio.CancelledError:
            if flight.wants is None:
                raise
            raise flight.wants.needs(self._server, self._hidden) from None
        finally:
            self._flights.remove(flight)

    async def elicit(
        self, context: ClientRequestContext, params: mcp_types.ElicitRequestParams
    ) -> mcp_types.ElicitResult:
        """Answer what a server asks that holds a call open, or end the call to ask a person.

        The older protocol doesn't tell which call it belongs to, so there must be a single one.
        """
        if len(self._flights) == 1:
            [flight] = self._flights
            match asked_in(flight.asking, params):
                case Answer() as answer:
                    return answer.result
                case Asking() as wants:
                    flight.wants = wants
                    flight.sending.cancel()
        return mcp_types.ElicitResult(action="cancel")

    def failure_of(self, exc: MCPError, *, acts: bool) -> ToolFailure:
        match exc.error.code:
            case mcp_types.CONNECTION_CLOSED if not exc.error.message.startswith(BROKEN):
                return ToolFailure(
                    LOST % self._server,
                    advice=MAY_BE_DONE if acts else "",
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
