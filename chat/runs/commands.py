"""Commands between workers: cancel a run of another one, end sockets, and look for readers.

Commands travel through the channel layer, so Redis may lose them. They only save time: a cancel is
in the run's row first, and the run's worker reads it there when it next renews its leases. Sockets
look from time to time whether they may still be there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

from chat.protocol.terms import CANCELLED
from tooling.bounded import CALL_TIMEOUT, patience

if TYPE_CHECKING:
    from .supervisor import LiveRun

logger = logging.getLogger(__name__)

LISTEN_RETRY_INTERVAL = 1.0  # seconds between tries to listen while Redis is away
# The group of all workers' channels. Installations may share a Redis.
ALL_WORKERS = f"workers.{settings.FLEET_INSTALLATION}"
LISTED_INTERVAL = 10.0  # seconds. A Redis that was started anew has forgotten the group
UNREACHED = (RedisError, OSError, TimeoutError, ChannelFull)


class Tagged(Protocol):
    """A socket that can be ended by a tag."""

    tags: Collection[str]

    def end(self) -> None:
        """Send a refusal and close; send nothing else."""


async def send_cancel(worker: str, run_id: UUID) -> None:
    """Notify a worker that one of its runs is cancelled. Log if the command can't be sent."""
    try:
        async with patience(CALL_TIMEOUT):
            await get_channel_layer().send(worker, {"type": "cancel", "run_id": str(run_id)})
    except UNREACHED as exc:
        logger.warning(
            "run=%s could not notify %s of the cancel (it reads the row at its next renewal): %s",
            run_id,
            worker,
            str(exc) or type(exc).__name__,
        )


async def send_end_of_sockets(tag: str) -> None:
    """Have all workers end their sockets with this tag. Log if the command can't be sent."""
    try:
        async with patience(CALL_TIMEOUT):
            command = {"type": "end_sockets", "tag": tag}
            await get_channel_layer().group_send(ALL_WORKERS, command)
    except UNREACHED as exc:
        logger.warning(
            "could not have sockets ended (they look for themselves soon): %s",
            str(exc) or type(exc).__name__,
        )


async def send_look_for_readers(run_id: UUID, look: UUID) -> None:
    """Have all workers that have a reader of this run mark this look.

    Log if the command can't be sent.
    """
    try:
        async with patience(CALL_TIMEOUT):
            command = {"type": "look_for_readers", "run_id": str(run_id), "look": str(look)}
            await get_channel_layer().group_send(ALL_WORKERS, command)
    except UNREACHED as exc:
        logger.warning(
            "run=%s could not ask workers for its readers: %s",
            run_id,
            str(exc) or type(exc).__name__,
        )


async def keep_listed(worker: str) -> None:
    """Keep the worker among those that get commands for all, for as long as it lives."""
    while True:
        try:
            async with patience(CALL_TIMEOUT):
                await get_channel_layer().group_add(ALL_WORKERS, worker)
        except UNREACHED as exc:
            logger.debug("%s is not listed: %s", worker, exc)
        await asyncio.sleep(LISTED_INTERVAL)


async def receive_commands(
    worker: str,
    live: "Mapping[UUID, LiveRun]",
    sockets: Collection[Tagged],
    mark_if_read_here: Callable[[UUID, UUID], Awaitable[None]],
) -> None:
    """Do what other workers send commands for, for as long as the worker lives."""
    layer = get_channel_layer()
    while True:
        try:
            message = await layer.receive(worker)
        except (RedisError, OSError) as exc:
            logger.debug("%s receives no commands: %s", worker, exc)
            await asyncio.sleep(LISTEN_RETRY_INTERVAL)
            continue
        match message["type"]:
            case "cancel":
                # The run may have ended while the command was on its way.
                if run := live.get(UUID(message["run_id"])):
                    run.stop(CANCELLED)
            case "end_sockets":
                for socket in [each for each in sockets if message["tag"] in each.tags]:
                    socket.end()
            case "look_for_readers":
                await mark_if_read_here(UUID(message["run_id"]), UUID(message["look"]))
