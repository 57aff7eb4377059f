"""Serve a small application with the server of this project, and with little patience.

A program of its own, because a process can run Twisted's reactor only once. It prints its port, and
then a line for each request that reaches the application.
"""

import socket
from typing import Any

from agenticfleet import incoming
from agenticfleet.server import Server

# Seconds
incoming.HEAD_TIMEOUT = 1.0
incoming.BODY_TIMEOUT = 2.0
incoming.IDLE_TIMEOUT = 1.5
incoming.LINGER = 5.0

CHUNK = bytes(64 * 1024)
MAX_CHUNKS = 3200  # 200 MB


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the size of the request's body; at /stream with as many chunks as were asked."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    print(scope["method"], scope["path"], size, flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        for number in range(int(scope["query_string"] or MAX_CHUNKS)):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            if number % 100 == 0:
                print("sent", number, flush=True)
    await send({"type": "http.response.body", "body": str(size).encode()})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    print(listener.getsockname()[1], flush=True)
    Server(
        application=application, endpoints=[f"fd:fileno={listener.detach()}"], signal_handlers=False
    ).run()
