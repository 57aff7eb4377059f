"""The floor's task in Channels on daphne, with uvloop: the cost of these two alone."""

import argparse
import asyncio

import uvloop
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

# Importing daphne.server creates the event loop.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from daphne.server import Server  # noqa: E402

from .floor import frames  # noqa: E402


class MinimalConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        assert text_data
        async for frame in frames(text_data):
            await self.send(frame)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    settings.configure()
    Server(
        MinimalConsumer.as_asgi(),
        endpoints=[f"tcp:port={parser.parse_args().port}:interface=127.0.0.1:backlog=1024"],
    ).run()
