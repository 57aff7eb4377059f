"""Reads pages of the public web for the tools of one event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tooling.clusters import beginning
from tooling.results import Passage
from tooling.untrusted import web_host

from .fetching import Fetcher
from .guard import page_address
from .reading import text_of

MAX_TITLE_CHARS = 300
AT_ONCE = 2  # pages whose text is looked for


class PageReader:
    """Fetches pages and finds their text."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="texts of pages")

    async def read(self, url: str) -> tuple[Passage, bool]:
        """Return a page, and True if only its beginning was read. Raise ToolFailure without one."""
        fetched = await self._fetcher.fetch(page_address(url))
        loop = asyncio.get_running_loop()
        title, text = await loop.run_in_executor(self._threads, text_of, fetched)
        title = beginning(title, MAX_TITLE_CHARS) or web_host(fetched.url)
        return Passage(title, fetched.url, text), fetched.is_cut

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)
