"""Cancel a run that another worker answers: send that worker a command, and receive such commands.

Commands travel through the channel layer, so Redis may lose them. They only save time: a cancel is
in the run's row first, and the run's worker reads it there when it next renews its leases.
"""

import asyncio
import logging
from collections.abc import Mapping
from uuid import UUID

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from chat.protocol.terms import CANCELLED
from tooling.bounded import CALL_TIMEOUT

from .supervisor import LiveRun

logger = logging.getLogger(__name__)

LISTEN_RETRY_INTERVAL = 1.0  # seconds between tries to listen while Redis is away


async def send_cancel(worker: str, run_id: UUID) -> None:
    """Notify a worker that one of its runs is cancelled. Log if the command can't be sent."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            await get_channel_layer().send(worker, {"type": "cancel", "run_id": str(run_id)})
    except (RedisError, OSError, TimeoutError, ChannelFull) as exc:
        logger.warning(
            "run=%s could not notify %s of the cancel (it reads the row at its next renewal): %s",
            run_id,
            worker,
            str(exc) or type(exc).__name__,
        )


async def receive_commands(worker: str, live: Mapping[UUID, LiveRun]) -> None:
    """Stop the live runs that other workers send cancels for, for as long as the worker lives."""
    layer = get_channel_layer()
    while True:
        try:
            message = await layer.receive(worker)
        except (RedisError, OSError) as exc:
            logger.debug("%s receives no commands: %s", worker, exc)
            await asyncio.sleep(LISTEN_RETRY_INTERVAL)
            continue
        # The run may have ended while the command was on its way.
        if run := live.get(UUID(message["run_id"])):
            run.stop(CANCELLED)
