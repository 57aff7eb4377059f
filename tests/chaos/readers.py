"""Clients of the storm: they follow chat/protocol/README.md, but vanish when their plan says so."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from .journal import Journal
from .plans import Probe, ProbeKind, ReaderPlan, RunPlan

Frame = dict[str, Any]
Fate = Literal["ended", "refused", "vanished", "lost", "silent", "unreachable", "stopped"]

SILENCE = 4.0  # seconds without any frame, at a heartbeat of 1 s: the connection is taken for lost
OPENING = 5.0
GOING = 0.5  # seconds for a good-bye; who has not read everything does not see the answer to it
NO_LIMIT: None = None
ASIDES = ("heartbeat", "notice")
TRY_AGAIN = ("shutting_down", "storage_unavailable")
PROBE_LISTENS = 1.5  # seconds
ODDITIES: dict[ProbeKind, dict[str, Any]] = {
    "beyond the end": {"after": 1_000_000},
    "negative cursor": {"after": -1},
    "another text": {"after": 0, "message": "something else"},
}
UNSEEN = ("log_line", "ui_hint", "category")  # left out of what is kept, to keep it small


def is_refusal(frame: Frame) -> bool:
    """An error of this socket and not of the run: before there is a run, or because the database does not answer."""
    return frame["type"] == "error" and (
        not frame["workflow_id"] or frame["error"]["code"] == "storage_unavailable"
    )


def is_terminal(frame: Frame) -> bool:
    return frame["type"] == "done" or (frame["type"] == "error" and not is_refusal(frame))


@dataclass(slots=True)
class Socket:
    """What came over one connection."""

    after: int
    opened: float
    frames: list[Frame] = field(default_factory=list)
    fate: Fate = "lost"
    close: str = ""

    @property
    def cursor(self) -> int:
        """What a client sends as `after` next: the seq of the last event of the run."""
        seqs = [
            frame["seq"]
            for frame in self.frames
            if frame["type"] not in ASIDES and not is_refusal(frame)
        ]
        return int(seqs[-1]) if seqs else self.after


class Wire:
    """How a socket of the fleet is opened."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address

    async def open(self, subprotocol: str) -> ClientConnection:
        url = self._address().replace("http", "ws", 1) + "ws/chat/"
        names = [Subprotocol(subprotocol)]
        return await connect(
            url,
            subprotocols=names,
            max_size=NO_LIMIT,
            open_timeout=OPENING,
            close_timeout=GOING,
            ping_interval=None,
            proxy=None,
            compression=None,
        )


def request_of(plan: RunPlan, *, after: int, **changes: Any) -> str:
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
    """A cancel that went out over an open socket whose run had begun."""

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
        self._connection: ClientConnection | None = None

    @property
    def cursor(self) -> int:
        return self.sockets[-1].cursor if self.sockets else 0

    @property
    def is_joined(self) -> bool:
        return any(socket.cursor for socket in self.sockets)

    async def follow(self) -> None:
        """Read to the terminal, over as many sockets as it takes."""
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
        """Press stop; nothing happens if there is no connection at this moment."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(WebSocketException):
            for _ in range(times):
                await connection.send('{"type":"cancel"}')
            self.cancels.append(CancelSent(time.monotonic(), self.is_joined))
            self._journal.count("client: cancel" if times == 1 else "client: cancel twice")

    async def _read(self, socket: Socket, frames_until_gone: int | None) -> None:
        try:
            connection = await self._wire.open(self.plan.subprotocol)
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as exc:
            socket.fate, socket.close = "unreachable", repr(exc)
            return
        try:
            await connection.send(request_of(self._run, after=socket.after))
            self._connection = connection
            await self._take_frames(connection, socket, frames_until_gone)
            if socket.fate == "ended":
                await connection.close()
        except WebSocketException as exc:
            socket.close = str(exc)
        finally:
            self._connection = None
            connection.transport.abort()

    async def _take_frames(
        self, connection: ClientConnection, socket: Socket, frames_until_gone: int | None
    ) -> None:
        while len(socket.frames) != frames_until_gone:
            try:
                async with asyncio.timeout(SILENCE):
                    frame = kept(await connection.recv())
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

    async def _listen_on(self, connection: ClientConnection, socket: Socket) -> None:
        """Behind a terminal there must be nothing."""
        with contextlib.suppress(TimeoutError, WebSocketException):
            async with asyncio.timeout(self.plan.stays):
                while True:
                    socket.frames.append(kept(await connection.recv()))


def kept(raw: str | bytes) -> Frame:
    """A frame without what no check looks at; of its html only whether there is some."""
    frame: Frame = json.loads(raw)
    if "html" in frame:
        frame["html"] = isinstance(frame["html"], str)
    for name in UNSEEN:
        assert name in frame
        del frame[name]
    frame["at"] = time.monotonic()
    return frame


async def cancel_from_elsewhere(
    run: RunPlan, wire: Wire, journal: Journal, times: int
) -> CancelSent | None:
    """Join with a socket that only cancels, and goes."""
    with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, WebSocketException):
        connection = await wire.open("fleet.json.v1")
        try:
            async with asyncio.timeout(SILENCE):
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
    """What an odd request was answered with."""

    probe: Probe
    socket: Socket
    code: int | None = None


async def probe(
    run: RunPlan,
    what: Probe,
    wire: Wire,
    journal: Journal,
    *,
    listens: float = PROBE_LISTENS,
    stays: float = PROBE_LISTENS,
) -> Probed:
    """Ask for something odd, listen for a moment, behind a terminal for no longer than `stays`, and go."""
    journal.count(f"client: {what.kind}")
    changes = ODDITIES[what.kind]
    found = Probed(what, Socket(changes["after"], time.monotonic()))
    with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, WebSocketException):
        connection = await wire.open("fleet.json.v1")
        try:
            await connection.send(request_of(run, **changes))
            async with asyncio.timeout(listens):
                while not (found.socket.frames and is_terminal(found.socket.frames[-1])):
                    found.socket.frames.append(kept(await connection.recv()))
            async with asyncio.timeout(stays):
                while True:
                    found.socket.frames.append(kept(await connection.recv()))
        finally:
            found.code = connection.close_code
            connection.transport.abort()
    return found
