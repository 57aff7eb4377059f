"""The socket of one message: a reader whose frames travel over a WebSocket."""

import asyncio
import logging
import time
from typing import Any, ClassVar

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from .access.credentials import token_of
from .access.origins import refusal_of
from .logs import bind_run
from .protocol.errors import HANDSHAKE_TIMEOUT, MAX_REQUEST_CHARS, TOO_LARGE, ProtocolError
from .protocol.requests import parse_command, parse_request
from .protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from .readers import Reader

access_logger = logging.getLogger("chat.access")

REQUEST_TIMEOUT = 15.0  # seconds until the first frame. A page sends it at once
LINGER = 10.0  # seconds between an ending and a close by the server. Clients close before


class ChatConsumer(Reader, AsyncWebsocketConsumer):  # type: ignore[misc]
    """One WebSocket per message."""

    # With a channel layer of its own an idle socket would die with Redis. Commands to other
    # workers go through the Worker's listener.
    channel_layer_alias: ClassVar[None] = None

    def __init__(self) -> None:
        super().__init__()
        self._handshake: asyncio.Task[None] | None = None
        self._opened_at = time.monotonic()
        self._close_code: int | None = None  # None if no close arrived

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Channels skips disconnect() after an error in a handler.
        try:
            with self.present():
                await super().__call__(scope, receive, send)
        finally:
            self.log_end()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message.

        Channels' own method first closes old database connections in a thread that all sockets
        share. This consumer holds no connection, so it saves the trip.
        """
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                self._close_code = message.get("code")
                raise StopConsumer

    async def connect(self) -> None:
        offered = self.scope["subprotocols"]
        subprotocol = next(
            (name for name in offered if name in (SUBPROTOCOL_HTML, SUBPROTOCOL_JSON)), None
        )
        self.is_html = subprotocol == SUBPROTOCOL_HTML
        await self.accept(subprotocol)
        # Before anything else is done for the socket.
        try:
            await self.admit()
        except ProtocolError as exc:
            await self.refuse(exc.error)
            return
        if refusal := refusal_of(self.scope, shows_token=token_of(self.scope) is not None):
            await self.refuse(refusal)
        else:
            self._handshake = self.spawn(self.await_request())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a frame without waiting.

        Channels reads the next frame, perhaps a cancel, only after this returns.
        """
        if self._is_over:
            return
        is_first = self._handshake is not None
        try:
            if text_data and len(text_data) > MAX_REQUEST_CHARS:
                raise ProtocolError(TOO_LARGE)
            if self._handshake is not None:
                self._handshake.cancel()
                self._handshake = None
                self.begin(parse_request(text_data))
            else:
                parse_command(text_data)
                self.cancel()
        except ProtocolError as exc:
            if is_first:
                await self.refuse(exc.error)
            else:
                self.tell(exc.error.code, exc.error.message)

    async def await_request(self) -> None:
        await asyncio.sleep(REQUEST_TIMEOUT)
        await self.refuse(HANDSHAKE_TIMEOUT)

    async def carry(self, payload: bytes) -> None:
        await self.base_send({"type": "websocket.send", "text": payload.decode()})

    async def finish(self) -> None:
        await asyncio.sleep(LINGER)
        # The client closes on the terminal event. A close by the server would overtake, and lose,
        # frames that are still on their way.
        await self.close()

    async def close(self, code: int | None = None) -> None:
        await AsyncWebsocketConsumer.close(self, code)

    def log_end(self) -> None:
        """Log one line for the socket, when it has ended."""
        if self._run:
            bind_run(self._run)
        duration_ms = round((time.monotonic() - self._opened_at) * 1000, 1)
        access_logger.info(
            "socket code=%s %.1f ms %d frames",
            *(self._close_code or "-", duration_ms, self._frames),
            extra={
                "close_code": self._close_code,
                "duration_ms": duration_ms,
                "frames": self._frames,
            },
        )
