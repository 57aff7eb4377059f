"""What a fleet finds out about the configured model server while it starts."""

import asyncio
import time
from threading import Thread

from django.conf import settings

from chat.llm.base_urls import normal
from chat.llm.listing import Listing
from chat.llm.offers import models_in_use

ASK_TIMEOUT = 2.0  # seconds


class Inquiry:
    """Asks the model server for its models, in a thread beside the start of the workers."""

    def __init__(self) -> None:
        self.proxy = ""  # on the way to the server
        self._listing = Listing(normal(settings.OPENAI_BASE_URL))
        self._deadline = time.monotonic() + ASK_TIMEOUT
        self._thread = Thread(target=self.ask, name="model server", daemon=True)
        self._thread.start()

    def result(self) -> Listing:
        """Return what the server has told. Wait for it until ASK_TIMEOUT after the start."""
        self._thread.join(max(0, self._deadline - time.monotonic()))
        return self._listing

    def ask(self) -> None:
        # To import the client takes 0.3 s, which a fleet with a model of its own doesn't need.
        from chat.llm.catalog import look  # noqa: PLC0415
        from chat.llm.connection import configured_connection  # noqa: PLC0415

        async def told() -> Listing:
            connection = configured_connection()
            self.proxy = connection.proxy
            try:
                async with asyncio.timeout(ASK_TIMEOUT):
                    return await look(connection, models_in_use())
            except TimeoutError:
                return Listing(connection.base_url, problem="does not answer in time")
            finally:
                await connection.aclose()

        self._listing = asyncio.run(told())
