"""One MCP server: its connection, which is opened again whenever it is lost, and its tools."""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

import mcp_types
from mcp.client import Client, IncomingMessage, Transport
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tooling.known import TOOLS
from tooling.loading import limited
from tooling.names import matches
from tooling.registry import CacheRule, Tool
from tooling.results import Given, Output
from tooling.schema import Arguments
from tooling.tables import McpTable, ToolTable
from tooling.watching import Watcher

from .calling import UNREACHABLE, Calls
from .connecting import Ending, Report, Unreachable, reason_of
from .definitions import MAX_TOOLS, Definition, Listing, listing_of, name_of
from .http import address
from .pins import Judge, all_open
from .stdio import program

logger = logging.getLogger(__name__)

# Seconds
OPENING_TIMEOUT = 10.0
LONGEST_OPENING = 60.0  # after tries that took too long: the first start may fetch packages
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0  # before the next try
STEADY_AFTER = 60.0  # so long open, a server is not one that fails at once
LISTING_INTERVAL = 5.0  # at least, between two looks at its tools
MAX_PAGES = 20
MAX_SHOWN = 5  # names in a line of the log
MIN_SECRET_CHARS = 8
KEY_PARAMETER, GIVEN_PARAMETER = "\0key", "\0given"  # no parameter can have these names

CLIENT = mcp_types.Implementation(name="agenticfleet", version="1")


class Server:
    """A configured server.

    `tools` are those that it had when it was last open, by the names that models read; `closed`
    says why they can't be called now. `judge` returns why definitions must not be used, by name.
    `secrets` are taken out of all that the server says. Of the `wanted` tools and those of `limits`
    it should have those that begin with its name.
    """

    def __init__(
        self,
        name: str,
        table: McpTable,
        *,
        limits: Mapping[str, ToolTable],
        judge: Judge = all_open,
        secrets: Collection[str] = (),
        wanted: Collection[str] = (),
    ) -> None:
        self.name = name
        self.table = table
        self.tools: dict[str, Tool] = {}
        self.definitions: Sequence[Definition] = ()
        self.closed = UNREACHABLE % {"server": name}
        self.tried = asyncio.Event()  # set when it has been open, or has failed
        self.judge = judge
        self.is_leaving = False  # set before its task is cancelled
        self._limits = limits
        self._reasons: Mapping[str, str] = {}
        self._client: Client | None = None
        self._report = Report(name, self.hidden)
        self._calls = Calls(name, self.hidden)
        self._woken = asyncio.Event()  # the connection has ended, or the tools have changed
        self._is_changed = False
        self._patience = OPENING_TIMEOUT
        self._said = ""  # of the last state, in the log
        self._secrets = secrets_in(table, secrets)
        self._wanted = sorted(
            each for each in {*wanted, *limits} if each.startswith(name_of(name, ""))
        )

    # --- Its life -----------------------------------------------------------------------------

    async def keep(self, watcher: Watcher | None) -> None:
        """Keep the connection open; after a failure, try again in a while."""
        failures, self.is_leaving = 0, False
        # A cancel may be lost in the task groups of a connection that is just being closed.
        while not self.is_leaving:
            started = time.monotonic()
            try:
                await self.connect(watcher)
            except Exception as exc:
                if (reason := reason_of(exc)) is None:
                    logger.exception("MCP server %s failed", self.name)
                    reason = type(exc).__name__
                self._report.has_failed()
                self.say_closed(reason)
            finally:
                self.close()
            if time.monotonic() - started > STEADY_AFTER:
                failures = 0
            delay = min(FIRST_DELAY * 2**failures, LONGEST_DELAY)
            failures = min(failures + 1, 10)
            if not self.is_leaving:
                await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311

    async def connect(self, watcher: Watcher | None) -> None:
        """Open the connection and use it until it ends. Raise Unreachable, or what the SDK does."""
        self._woken.clear()
        ending = Ending(self._woken)
        try:
            async with AsyncExitStack() as stack:
                await self.follow(await self.opened(stack, ending, watcher), ending)
        except Exception as exc:
            # What the transport told before says more than how the SDK ended.
            if ending.reason:
                raise Unreachable(ending.reason) from exc
            raise

    async def opened(
        self, stack: AsyncExitStack, ending: Ending, watcher: Watcher | None
    ) -> Client:
        started = time.monotonic()
        client = Client(
            self.transport(ending, watcher),
            cache=None,
            client_info=CLIENT,
            elicitation_callback=self._calls.elicit,
            message_handler=self.hear,
        )
        try:
            async with asyncio.timeout(self._patience):
                await stack.enter_async_context(client)
                await self.list_tools(client)
        except TimeoutError as exc:
            late = f"it does not answer within {self._patience:g} s"
            self._patience = min(self._patience * 2, LONGEST_OPENING)
            raise Unreachable(late) from exc
        self._patience = OPENING_TIMEOUT
        self._client, self.closed, self._said = client, "", "open"
        self._report.is_open()
        self.tried.set()
        logger.info(
            "MCP server %s is open after %.1f s: %d tools",
            self.name,
            time.monotonic() - started,
            len(self.tools),
        )
        return client

    def transport(self, ending: Ending, watcher: Watcher | None) -> Transport:
        if self.table.command:
            assert watcher
            return program(
                self.table.command,
                self.table.env,
                ending=ending,
                report=self._report,
                watcher=watcher,
            )
        return address(self.table.url, self.table.headers, ending=ending, report=self._report)

    async def follow(self, client: Client, ending: Ending) -> None:
        """Look at the tools again when they change, until the connection ends."""
        listening = asyncio.create_task(self.listen(client))
        try:
            while not ending.reason:
                await self._woken.wait()
                self._woken.clear()
                if self._is_changed and not ending.reason:
                    self._is_changed = False
                    async with asyncio.timeout(OPENING_TIMEOUT):
                        await self.list_tools(client)
                    # A change in the meantime is looked at then.
                    await self.pause(LISTING_INTERVAL, ending)
            # Now: ending the program may take seconds.
            self.say_closed(ending.reason)
            raise Unreachable(ending.reason)
        finally:
            # Calls must not begin on a connection that is being closed.
            self.close()
            listening.cancel()

    async def pause(self, seconds: float, ending: Ending) -> None:
        until = time.monotonic() + seconds
        while not ending.reason and (left := until - time.monotonic()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()
        if self._is_changed:
            self._woken.set()

    async def listen(self, client: Client) -> None:
        """Hear of changes from servers of the newer protocol, which tell only those who ask."""
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        tools = client.server_capabilities.tools
        while tools and tools.list_changed:
            with suppress(SubscriptionLost, MCPError, TimeoutError, ListenNotSupportedError):
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.look_again()
            await asyncio.sleep(LISTING_INTERVAL)
            self.look_again()

    async def hear(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.look_again()

    def look_again(self) -> None:
        self._is_changed = True
        self._woken.set()

    def close(self) -> None:
        self._client, self.closed = None, UNREACHABLE % {"server": self.name}
        self.tried.set()

    def say_closed(self, reason: str) -> None:
        """Log why the server is closed, once until it is open again."""
        if self._said != "closed":
            self._said = "closed"
            self._report.is_lost()
            logger.warning(
                "MCP server %s cannot be reached: %s. It is tried again.",
                self.name,
                self.hidden(reason),
            )

    def hidden(self, text: str) -> str:
        """Return the text without the secrets that the server was given."""
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return text

    # --- Its tools ----------------------------------------------------------------------------

    async def list_tools(self, client: Client) -> None:
        """Ask for the tools, and make those of ours that may be used."""
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.session.list_tools(
                params=mcp_types.PaginatedRequestParams(cursor=cursor)
            )
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) > MAX_TOOLS * 10:
                break
        listing = await asyncio.to_thread(
            partial(
                listing_of,
                self.name,
                self.table,
                found,
                taken=frozenset(TOOLS),
                is_cut=cursor is not None,
            )
        )
        self._reasons = await self.judge(self.name, listing.definitions)
        self.definitions = listing.definitions
        self.tools = {
            definition.name: tool
            for definition in listing.definitions
            if (tool := self.tool_of(definition))
        }
        self.log_listing(listing)

    async def judge_again(self) -> None:
        """Look again at definitions that were not accepted, in case somebody has accepted them."""
        definitions = self.definitions
        if not self._reasons:
            return
        reasons = await self.judge(self.name, definitions)
        # Others may have been listed, and judged, in the meantime.
        if definitions is self.definitions:
            self._reasons = reasons

    def log_listing(self, listing: Listing) -> None:
        if left_out := listing.left_out:
            shown = "; ".join(f"{name} ({why})" for name, why in list(left_out.items())[:MAX_SHOWN])
            more = f"; and {len(left_out) - MAX_SHOWN} more" if len(left_out) > MAX_SHOWN else ""
            self._report.once(f"lists tools that are left out: {shown}{more}")
        there = [definition.tool for definition in listing.definitions]
        for key, patterns in (
            ("read", self.table.read),
            ("tools", self.table.tools),
            ("cache", self.table.cache),
        ):
            unknown = [each for each in patterns if not any(matches(one, [each]) for one in there)]
            if unknown:
                names = ", ".join(unknown[:MAX_SHOWN])
                self._report.once(f"has no tool of the names in mcp.{self.name}.{key}: {names}")
        known = [definition.name for definition in listing.definitions]
        for each in self._wanted:
            if not any(matches(name, [each]) for name in known):
                near = get_close_matches(each, known, n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                self._report.once(f"has no tool {each}, which an agent or a setting names{meant}")

    def tool_of(self, definition: Definition) -> Tool | None:
        """Return the tool that models may call; None if the operator has switched it off."""
        limits = self._limits.get(definition.name, ToolTable())
        if not limits.enabled:
            return None
        reads = matches(definition.tool, self.table.read)
        is_kept = reads and matches(definition.tool, self.table.cache)
        tool = Tool(
            name=definition.name,
            description=definition.description,
            parameters=definition.parameters,
            function=partial(call, self, definition.tool, not reads),
            takes_services=False,
            key_parameter="" if reads else KEY_PARAMETER,
            timeout=self.table.timeout,
            max_chars=4000,
            paths=frozenset({"light", "full"}),
            cache=self.cache_rule() if is_kept else None,
            untrusted=True,
            reason_off=lambda services: self.why_off(definition.name),
            phrases=None,
            from_question=None,
            acts=not reads,
            approver="" if reads else "owner",
            given_parameter=GIVEN_PARAMETER,
        )
        return limited(tool, limits)

    def why_off(self, name: str) -> str:
        """Return why a tool can't be called now, or an empty string."""
        return self.closed or self._reasons.get(name, "")

    def cache_rule(self) -> CacheRule:
        # Another server by the same name has other results.
        account = sha256(repr(self.table).encode()).hexdigest()[:12]
        return CacheRule(
            parameters=lambda arguments, services: arguments,
            ttl=lambda arguments: "general",
            query=lambda arguments: ", ".join(map(str, arguments.values()))[:200],
            topic=lambda arguments: "general",
            account=lambda services: account,
        )

    async def call(
        self, tool: str, arguments: Arguments, key: str, given: Given | None, *, acts: bool
    ) -> Output:
        return await self._calls.make(self._client, tool, arguments, key, given, acts=acts)


def secrets_in(table: McpTable, known: Collection[str]) -> list[str]:
    """Return the `known` secrets, and what else may be one in the table, the longest first.

    Of a header such as "Bearer …" a server may tell a part alone. A variable that isn't known to be
    a secret may be a folder, which results name.
    """
    parts = (part for value in table.headers.values() for part in (value, *value.split()[1:]))
    place = urlsplit(table.url)
    values = {*known, *parts, unquote(place.password or ""), place.password or ""}
    return sorted((each for each in values if len(each) >= MIN_SECRET_CHARS), key=len, reverse=True)


async def call(server: Server, tool: str, acts: bool, /, **arguments: Any) -> Output:
    """Call a tool of a server, whose arguments may have any names."""
    key = arguments.pop(KEY_PARAMETER, "")
    given = arguments.pop(GIVEN_PARAMETER)
    return await server.call(tool, arguments, key, given, acts=acts)
