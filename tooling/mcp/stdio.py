"""MCP over the standard input and output of a program, in bounds.

The SDK's own transport reads lines of any length, and keeps the loop busy with them.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter
from pydantic import ValidationError

from tooling.untrusted import cut, one_line
from tooling.watching import Watcher

from .connecting import (
    LINES_PER_MINUTE,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGES,
    MAX_TOKENS,
    MAX_WORDS,
    Ending,
    Inbox,
    Pace,
    Report,
    TransportStreams,
    Unreachable,
    has_too_many_tokens,
    to_the_end,
)

# What a program gets of this process's environment: what finding other programs, their caches and
# the certificates takes. Proxies may hold passwords.
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "UV_CACHE_DIR", "npm_config_cache"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
)
# Seconds
TERM_TIMEOUT = 2.0
KILL_TIMEOUT = 2.0
EXIT_TIMEOUT = 0.03  # of a program that has closed its output
WRITE_TIMEOUT = 10.0
POLL_INTERVAL = 0.01
# In bytes
MAX_UNREAD = 256 * 1024  # that it doesn't read of what we have written
OUT_PER_SECOND = 4 * 2**20
ERR_PER_SECOND = 2**20
MAX_LOG_LINE = 500


class Pipe:
    """What comes out of a program, a piece at a time: the next is read when this one is taken."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._transport: asyncio.ReadTransport | None = None
        self._piece = b""
        self._is_open = True
        self._woken = asyncio.Event()

    def open(self, transport: asyncio.BaseTransport | None) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def feed(self, piece: bytes) -> None:
        assert self._transport
        self._piece += piece
        self._transport.pause_reading()
        self._woken.set()

    def end(self) -> None:
        self._is_open = False
        self._woken.set()

    def expire(self) -> None:
        """End when nothing has come for a moment: others may hold the pipe open."""
        if self._piece:
            asyncio.get_running_loop().call_later(EXIT_TIMEOUT, self.expire)
        else:
            self.end()

    async def read(self) -> bytes:
        """Return the next piece; nothing at the end."""
        await self._woken.wait()
        piece, self._piece = self._piece, b""
        await asyncio.sleep(self._pace.delay(len(piece)))
        if self._is_open:
            assert self._transport
            self._woken.clear()
            self._transport.resume_reading()
        return piece


class Program(asyncio.SubprocessProtocol):
    """A process with a group of its own, and its pipes."""

    def __init__(self) -> None:
        self.out = Pipe(Pace(OUT_PER_SECOND))
        self.err = Pipe(Pace(ERR_PER_SECOND))
        self.last_words = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self.transport.get_pid()
        self.out.open(self.transport.get_pipe_transport(1))
        self.err.open(self.transport.get_pipe_transport(2))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.out if fd == 1 else self.err).feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd in (1, 2):
            (self.out if fd == 1 else self.err).end()

    def process_exited(self) -> None:
        asyncio.get_running_loop().call_later(EXIT_TIMEOUT, self.out.expire)

    async def write(self, line: bytes) -> None:
        """Write a line. Raise Unreachable if the program doesn't read."""
        pipe = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))
        if pipe.is_closing():
            return
        pipe.write(line)
        started = time.monotonic()
        while pipe.get_write_buffer_size() > MAX_UNREAD:
            if time.monotonic() - started > WRITE_TIMEOUT:
                raise Unreachable("it does not read what it is sent")
            await asyncio.sleep(POLL_INTERVAL)

    async def ended(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while self.transport.get_returncode() is None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_INTERVAL)
        return True

    async def stop(self) -> None:
        """End the program with all that it has started in its group."""
        cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0)).close()
        self.signal(signal.SIGTERM)
        await self.ended(TERM_TIMEOUT)
        # Also if it has ended: others of its group may not have.
        self.signal(signal.SIGKILL)
        await self.ended(KILL_TIMEOUT)
        self.transport.close()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def exit_reason(self) -> str:
        code = self.transport.get_returncode()
        if code is None:
            return "it closed its output"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"it ended ({': '.join(filter(None, [how, self.last_words]))})"


@asynccontextmanager
async def program(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    ending: Ending,
    report: Report,
    watcher: Watcher,
) -> AsyncIterator[TransportStreams]:
    """Start a server, and yield the streams of its messages. End it with the block.

    Raise Unreachable if it can't be started.
    """
    process = await started(command, env)
    watcher.watch(process.pid, "service")
    into, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    # A call that is cancelled must not wait for a server that doesn't read.
    sent, outgoing = anyio.create_memory_object_stream[SessionMessage](64)
    async with into, messages, sent, outgoing, anyio.create_task_group() as tasks:
        tasks.start_soon(read_messages, process, into, ending, report)
        tasks.start_soon(write_messages, process, outgoing, ending)
        tasks.start_soon(log_errors, process, report)
        try:
            yield Inbox(messages, ending, report), sent
        finally:
            ending.close()
            await to_the_end(process.stop())
            watcher.forget(process.pid)
            tasks.cancel_scope.cancel()


async def started(command: Sequence[str], env: Mapping[str, str]) -> Program:
    own = {key: value for key, value in {**os.environ}.items() if key in INHERITED}
    loop = asyncio.get_running_loop()
    try:
        _, process = await loop.subprocess_exec(
            Program, *command, env={**own, **env}, start_new_session=True
        )
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise Unreachable(f"{command[0]} cannot be started ({why})") from exc
    return process


async def read_messages(
    process: Program,
    into: MemoryObjectSendStream[SessionMessage | Exception],
    ending: Ending,
    report: Report,
) -> None:
    rest = b""
    others = Pace(MAX_MESSAGES)  # lines, of which a piece may have tens of thousands
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with into:
            while piece := await process.out.read():
                *lines, rest = (rest + piece).split(b"\n")
                if max(map(len, (rest, *lines))) > MAX_MESSAGE_BYTES:
                    ending.tell(f"it sent a line of more than {MAX_MESSAGE_BYTES // 2**20} MB")
                    return
                for line in lines:
                    if has_too_many_tokens(line):
                        ending.tell(f"it sent a line of more than {MAX_TOKENS} values")
                        return
                    await asyncio.sleep(0)
                    if message := read_message(line):
                        await into.send(message)
                        continue
                    if line.strip():
                        report.once("writes lines that are no messages to its standard output")
                    await asyncio.sleep(others.delay(1))
            # Calls in flight fail when the stream closes, and then want to know why.
            await process.ended(EXIT_TIMEOUT)
            ending.tell(process.exit_reason())


def read_message(line: bytes) -> SessionMessage | None:
    """Return the message on a line; None if it holds none.

    In place of an unreadable response it is an error, so that its call doesn't wait for it.
    """
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        pass
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"id": int() | str() as id_} if "method" not in found:
            error = ErrorData(code=PARSE_ERROR, message="unreadable")
            return SessionMessage(JSONRPCError(jsonrpc="2.0", id=id_, error=error))
    return None


async def write_messages(
    process: Program, outgoing: MemoryObjectReceiveStream[SessionMessage], ending: Ending
) -> None:
    try:
        async for each in outgoing:
            line = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            await process.write(line.encode() + b"\n")
    except Unreachable as exc:
        ending.tell(str(exc))


async def log_errors(process: Program, report: Report) -> None:
    """Log what a program writes to its standard error."""
    rest = b""
    while piece := await process.err.read():
        *lines, rest = (rest + piece).split(b"\n")
        # Of a line without an end only the beginning is shown.
        rest = rest[:MAX_LOG_LINE]
        # A piece may have tens of thousands, most of which are not logged. The last one tells most.
        for line in (*lines[:LINES_PER_MINUTE], *lines[LINES_PER_MINUTE:][-1:]):
            if text := report.hidden(one_line(line[:MAX_LOG_LINE].decode(errors="replace"))):
                process.last_words = cut(text, MAX_WORDS)
                report.says(text)
