"""Clients of a storm: they follow chat/protocol/README.md, but vanish as planned."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from tests.chatting import AS_SCRIPT

from .doors import EventStream
from .journal import Journal
from .plans import EVENTS, Probe, ProbeKind, ReaderPlan, RunPlan

Frame = dict[str, Any]
Fate = Literal["ended", "refused", "vanished", "lost", "silent", "unreachable", "stopped"]

SILENCE_TIMEOUT = 4.0  # seconds without a frame until the connection counts as lost; heartbeat 1 s
OPEN_TIMEOUT = 5.0  # seconds
CLOSE_TIMEOUT = 0.5  # seconds; the close frame stays unread behind frames that were not read
NO_LIMIT: None = None
ASIDES = ("heartbeat", "notice")
TRY_AGAIN = ("shutting_down", "storage_unavailable")
PROBE_TIMEOUT = 1.5  # seconds
ODDITIES: dict[ProbeKind, dict[str, Any]] = {
    # Beyond the seqs of any epoch that a run may reach.
    "beyond the end": {"after": 2_100_000_000},
    "negative cursor": {"after": -1},
    "another text": {"after": 0, "message": "something else"},
}
OMITTED = ("log_line", "ui_hint", "category")  # from recorded frames, to save memory


def is_refusal(frame: Frame) -> bool:
    """Return True for an error of this socket only: no run yet, or no answer from the database."""
    return frame["type"] == "error" and (
        not frame["workflow_id"] or frame["error"]["code"] == "storage_unavailable"
    )


def is_terminal(frame: Frame) -> bool:
    return frame["type"] == "done" or (frame["type"] == "error" and not is_refusal(frame))


@dataclass(slots=True)
class Socket:
    """The frames of one connection, and how it ended."""

    after: int
    opened: float
    frames: list[Frame] = field(default_factory=list)
    fate: Fate = "lost"
    close: str = ""

    @property
    def cursor(self) -> int:
        """Return the `after` of the next socket: the seq of the run's last event."""
        seqs = [
            frame["seq"]
            for frame in self.frames
            if frame["type"] not in ASIDES and not is_refusal(frame)
        ]
        return int(seqs[-1]) if seqs else self.after


class Wire:
    """Opens sockets on the fleet, as the owner that these headers tell."""

    def __init__(self, address: Callable[[], str], headers: Mapping[str, str] = AS_SCRIPT) -> None:
        self._address = address
        self._headers = headers

    async def open(self, subprotocol: str) -> ClientConnection | EventStream:
        if subprotocol == EVENTS:
            return EventStream(self._address(), self._headers)
        url = self._address().replace("http", "ws", 1) + "ws/chat/"
        names = [Subprotocol(subprotocol)]
        return await connect(
            url,
            subprotocols=names,
            additional_headers=self._headers,
            max_size=NO_LIMIT,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            proxy=None,
            compression=None,
        )


def request_of(plan: RunPlan, *, after: int, **changes: Any) -> str:
    """Return the first frame of each socket of this run: a question, or a reply."""
    if reply := plan.reply:
        return json.dumps(
            {
                "type": "reply",
                "message_id": str(plan.message_id),
                "continues": str(reply.continues),
                "replies": reply.replies,
                "after": after,
                **changes,
            }
        )
    return json.dumps(
        {
            "message": plan.question,
            "message_id": str(plan.message_id),
            "mode": plan.play.mode,
            "after": after,
            **changes,
        }
    )


@dataclass(slots=True)
class CancelSent:
    """A cancel that was sent over an open socket."""

    at: float
    was_joined: bool


class Follower:
    """One reader of one run, from the first socket to the terminal."""

    def __init__(
        self, run: RunPlan, plan: ReaderPlan, wire: Wire, journal: Journal, rng: Random
    ) -> None:
        self.plan = plan
        self.sockets: list[Socket] = []
        self.cancels: list[CancelSent] = []
        self.over = asyncio.Event()
        self._run = run
        self._wire = wire
        self._journal = journal
        self._rng = rng
        self._connection: ClientConnection | EventStream | None = None

    @property
    def cursor(self) -> int:
        return self.sockets[-1].cursor if self.sockets else 0

    @property
    def is_joined(self) -> bool:
        return any(socket.cursor for socket in self.sockets)

    async def follow(self) -> None:
        """Read up to the terminal, over as many sockets as needed."""
        await asyncio.sleep(self.plan.joins_after)
        vanishes = list(self.plan.vanishes)
        while True:
            socket = Socket(self.cursor, time.monotonic())
            self.sockets.append(socket)
            await self._read(socket, vanishes.pop(0) if vanishes else None)
            if socket.fate == "ended" or (
                socket.fate == "refused" and socket.frames[-1]["error"]["code"] not in TRY_AGAIN
            ):
                break
            await asyncio.sleep(
                self._rng.uniform(0, 0.1)
                if socket.fate == "vanished"
                else self._rng.uniform(0.1, 0.6)
            )
        self.over.set()

    async def cancel(self, times: int) -> None:
        """Send cancels; do nothing if no connection is open."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(WebSocketException):
            for _ in range(times):
                await connection.send('{"type":"cancel"}')
            self.cancels.append(CancelSent(time.monotonic(), self.is_joined))
            self._journal.count("client: cancel" if times == 1 else "client: cancel twice")

    async def _read(self, socket: Socket, max_frames: int | None) -> None:
        try:
            connection = await self._wire.open(self.plan.subprotocol)
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as exc:
            socket.fate, socket.close = "unreachable", repr(exc)
            return
        try:
            await connection.send(request_of(self._run, after=socket.after))
            self._connection = connection
            await self._take_frames(connection, socket, max_frames)
            if socket.fate == "ended":
                await connection.close()
        except WebSocketException as exc:
            socket.close = str(exc)
        finally:
            self._connection = None
            connection.transport.abort()

    async def _take_frames(
        self, connection: ClientConnection | EventStream, socket: Socket, max_frames: int | None
    ) -> None:
        while len(socket.frames) != max_frames:
            try:
                async with asyncio.timeout(SILENCE_TIMEOUT):
                    frame = reduced(await connection.recv())
            except TimeoutError:
                socket.fate = "silent"
                self._journal.count("client: gave up on a silent socket")
                return
            socket.frames.append(frame)
            if is_refusal(frame):
                socket.fate = "refused"
                return
            if is_terminal(frame):
                socket.fate = "ended"
                await self._listen_on(connection, socket)
                return
        socket.fate = "vanished"
        self._journal.count("client: vanished")

    async def _listen_on(self, connection: ClientConnection | EventStream, socket: Socket) -> None:
        """Record frames after the terminal: there must be none."""
        with contextlib.suppress(TimeoutError, WebSocketException):
            async with asyncio.timeout(self.plan.stays):
                while True:
                    socket.frames.append(reduced(await connection.recv()))


def reduced(raw: str | bytes) -> Frame:
    """Return a frame without fields that no check needs, and with `html` reduced to a flag."""
    frame: Frame = json.loads(raw)
    if "html" in frame:
        frame["html"] = isinstance(frame["html"], str)
    for name in OMITTED:
        assert name in frame
        del frame[name]
    frame["at"] = time.monotonic()
    return frame


async def cancel_from_elsewhere(
    run: RunPlan, wire: Wire, journal: Journal, times: int
) -> CancelSent | None:
    """Join on a new socket, cancel, and close it."""
    with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, WebSocketException):
        connection = await wire.open("fleet.json.v1")
        try:
            async with asyncio.timeout(SILENCE_TIMEOUT):
                await connection.send(request_of(run, after=0))
                joined = not is_refusal(json.loads(await connection.recv()))
                for _ in range(times):
                    await connection.send('{"type":"cancel"}')
                journal.count("client: cancel from elsewhere")
                return CancelSent(time.monotonic(), joined)
        finally:
            await connection.close()
    return None


@dataclass(slots=True)
class Probed:
    """An odd request with the frames of its answer."""

    probe: Probe
    socket: Socket
    code: int | None = None


async def probe(
    run: RunPlan,
    what: Probe,
    wire: Wire,
    journal: Journal,
    *,
    listens: float = PROBE_TIMEOUT,
    stays: float = PROBE_TIMEOUT,
) -> Probed:
    """Send an odd request and record the answer for `listens` seconds.

    After a terminal, record `stays` seconds at most.
    """
    journal.count(f"client: {what.kind}")
    changes = ODDITIES[what.kind]
    found = Probed(what, Socket(changes["after"], time.monotonic()))
    with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, WebSocketException):
        connection = await wire.open("fleet.json.v1")
        try:
            await connection.send(request_of(run, **changes))
            async with asyncio.timeout(listens):
                while not (found.socket.frames and is_terminal(found.socket.frames[-1])):
                    found.socket.frames.append(reduced(await connection.recv()))
            async with asyncio.timeout(stays):
                while True:
                    found.socket.frames.append(reduced(await connection.recv()))
        finally:
            found.code = connection.close_code
            connection.transport.abort()
    return found
