"""Give each HTTP request and each handshake an id, and log a line for each HTTP request.

Sockets log their own line when they end, because only they know the run.
"""

import logging
import re
import time
import uuid
from typing import Any
from urllib.parse import quote

from django.conf import settings

from chat.access.origins import below_root
from chat.logs import bind, without_key

logger = logging.getLogger(__name__)

HEADER = b"x-request-id"
# What a proxy may send as an id. Anything else could break a line of the log, or fill it.
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
MAX_PATH_CHARS = 200
# Asked for every few seconds by programs, and by pages while their reader types; logged only if
# FLEET_LOG_LEVEL is debug.
MACHINES = frozenset({"/healthz", "/readyz", "/metrics", "/answers/ahead/"})


class AccessLog:
    """An ASGI application around another one."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        request_id = request_id_of(scope)
        bind("request_id", request_id)
        if scope["type"] == "http":
            await self.answer(scope, receive, send, request_id)
        else:
            # Every delta of an answer passes `send` of a socket, so it stays as it is.
            await self.application(scope, receive, send)

    async def answer(self, scope: dict[str, Any], receive: Any, send: Any, request_id: str) -> None:
        """Answer an HTTP request and log it: method, path without its query, status and time."""
        started, status = time.perf_counter(), 0

        async def send_with_id(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (HEADER, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self.application(scope, receive, send_with_id)
        finally:
            # Quoted, because a path may hold line breaks. A status of 0: no response was begun.
            path = without_key(quote(scope["path"]))[:MAX_PATH_CHARS]
            duration_ms = round((time.perf_counter() - started) * 1000, 1)
            is_quiet = below_root(scope) in MACHINES or path.startswith(settings.STATIC_URL)
            logger.log(
                logging.DEBUG if is_quiet else logging.INFO,
                "%s %s %d %.1f ms",
                *(scope["method"], path, status, duration_ms),
                extra={
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "duration_ms": duration_ms,
                },
            )


def request_id_of(scope: dict[str, Any]) -> str:
    """Return the id that a proxy has given to a request, or a new one."""
    sent = next((value for name, value in scope["headers"] if name == HEADER), b"")
    return sent.decode() if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex[:16]
