"""Serve a small application with the server of this project, and with little patience.

A program of its own, because a process can run Twisted's reactor only once. It prints its port, and
then a line for each request that reaches the application.
"""

import asyncio
import socket
from typing import Any

from agenticfleet import incoming
from agenticfleet.server import Server

# Seconds
incoming.HEAD_TIMEOUT = 1.0
incoming.BODY_TIMEOUT = 2.0
incoming.IDLE_TIMEOUT = 1.5
incoming.LINGER = 5.0
incoming.CHECK_INTERVAL = 0.15

CHUNK = bytes(64 * 1024)
MAX_CHUNKS = 3200  # 200 MB


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the size of the request's body.

    /stream: with as many chunks as were asked. /status: with a status. Others fail: in mid-stream,
    or before the first byte; or they wait for the client to leave.
    """
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    print(scope["method"], scope["path"], size, flush=True)
    await answer(scope, receive, send, size)


async def answer(scope: dict[str, Any], receive: Any, send: Any, size: int) -> None:
    path = scope["path"]
    if path == "/connections":
        size = len(server.connections)
    if path == "/nothing":
        return
    if path == "/fails":
        raise ZeroDivisionError
    if path == "/cancelled":
        raise asyncio.CancelledError
    status = int(scope["query_string"]) if path == "/status" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    if path == "/fails-before-a-byte":
        raise ZeroDivisionError
    if path in ("/breaks", "/stops", "/waits"):
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        if path == "/breaks":
            raise ZeroDivisionError
        if path == "/waits":
            message = await receive()
            print("received", message["type"], flush=True)
        return
    if path == "/long":
        body = CHUNK * int(scope["query_string"])
        await send({"type": "http.response.body", "body": body})
        print("sent", path, flush=True)
        return
    if path == "/stream":
        for number in range(int(scope["query_string"] or MAX_CHUNKS)):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            if number % 100 == 0:
                print("sent", number, flush=True)
    await send({"type": "http.response.body", "body": str(size).encode()})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    print(listener.getsockname()[1], flush=True)
    server = Server(
        application=application, endpoints=[f"fd:fileno={listener.detach()}"], signal_handlers=False
    )
    server.run()
