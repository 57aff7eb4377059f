"""What is in force in this process: its text is stored, so that runs can refer to it."""

import asyncio
import logging

from django.db import Error as DatabaseProblem

from chat.config.effective import in_force
from chat.config.texts import ConfigText
from chat.database import in_database, reason_of

logger = logging.getLogger(__name__)

# Seconds
RETRY_INTERVAL = 2.0
CHECK_INTERVAL = 3600.0  # A text that no run has had for a day may be pruned.


class Configuration:
    """The configuration of this worker. Its runs have the digest, whether the text is stored."""

    def __init__(self) -> None:
        now = in_force()
        self.digest, self.text = now.digest, now.text

    async def keep(self) -> None:
        """Store the text, and store it again if it is gone, for as long as the worker lives."""
        has_failed = False
        while True:
            try:
                await in_database(ConfigText.objects.store, self.digest, self.text)
            except DatabaseProblem as exc:
                if not has_failed:
                    logger.warning("the configuration is stored later: %s", reason_of(exc))
                has_failed = True
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                has_failed = False
                await asyncio.sleep(CHECK_INTERVAL)
