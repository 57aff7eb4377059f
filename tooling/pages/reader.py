"""Reads pages of the public web for the tools of one event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tooling.clusters import beginning
from tooling.results import Passage, ToolFailure
from tooling.untrusted import web_host
from tooling.urls import page_key

from .fetching import TOO_MANY, Fetcher, joined
from .guard import page_address
from .reading import text_of

MAX_TITLE_CHARS = 300
MAX_PAGES = 3  # that lead from one to the next by themselves
AT_ONCE = 2  # pages whose text is looked for


class PageReader:
    """Fetches pages and finds their text."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="texts of pages")

    async def read(self, url: str) -> tuple[Passage, bool]:
        """Return a page, and True if only its beginning was read. Raise ToolFailure without one."""
        loop = asyncio.get_running_loop()
        for _ in range(MAX_PAGES):
            fetched = await self._fetcher.fetch(page_address(url))
            page = await loop.run_in_executor(self._threads, text_of, fetched)
            following = joined(fetched.url, page.leads_to) if page.leads_to else ""
            # A page that is loaded again and again, to show news, stays where it is.
            if not following or (page_key(following) == page_key(fetched.url) and page.text):
                title = beginning(page.title, MAX_TITLE_CHARS) or web_host(fetched.url)
                return Passage(title, fetched.url, page.text), page.is_cut
            url = following
        raise ToolFailure(TOO_MANY % {"host": web_host(fetched.url)})

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)
