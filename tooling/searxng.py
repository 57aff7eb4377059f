"""Search the web with a SearXNG of the operator's own, by its JSON."""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import msgspec
from yarl import URL

from .decoding import UNREADABLE_JSON
from .proxies import proxy_for, socks_url
from .results import Output, Passage, ToolFailure
from .searching import (
    MAX_BODY_BYTES,
    NOT_TAKEN,
    SERVICE_FAILED,
    SERVICE_LATE,
    SERVICE_TOO_LARGE,
    SERVICE_UNREADABLE,
    UNREACHABLE,
    SearchProvider,
    TryAgain,
    closed,
    passage_of,
    rate_limited,
)
from .sentences import sentence

logger = logging.getLogger(__name__)

ATTEMPT_TIMEOUT = 5.0  # seconds; its engines have 3 by default
CLOSED_BY_SETTINGS = 60.0  # until an operator has changed them
NO_PROGRAMS = sentence("The search service does not answer programs.")
NO_ENGINE = sentence("None of the search engines answered.")

# It has no category of its own for prices and markets.
CATEGORIES = {"general": "general", "news": "news", "finance": "general"}
# Words that begin so are commands to SearXNG: an engine, a language, a time limit.
COMMAND = re.compile(r"(?:(?<=\s)|^)[!:?<]+(?=\S)")


class Found(msgspec.Struct, frozen=True):
    """What SearXNG sends. Each result is read by itself: engines send all kinds of things."""

    results: list[Any]
    infoboxes: list[Any] = []
    unresponsive_engines: list[Any] = []


class SearxngClient(SearchProvider):
    """The client of one event loop. The address is the operator's, so it may be a private one."""

    def __init__(
        self,
        *,
        base_url: str,
        proxies: Mapping[str, str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        url = URL(base_url, encoded=True)
        proxy = proxy_for(url, proxies)
        http = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # Read above, as for all servers; the context reads SSL_CERT_FILE.
            trust_env=False,
            proxy=(socks_url(proxy) if proxy.startswith("socks") else proxy) or None,
            verify=ssl.create_default_context(),
            timeout=None,  # noqa: S113 - the whole attempt has one
        )
        super().__init__(http, account=url.authority.rpartition("@")[2], sleep=sleep)

    async def attempt(self, request: dict[str, Any]) -> Output:
        try:
            async with (
                asyncio.timeout(ATTEMPT_TIMEOUT),
                self._http.stream("GET", "search", params=parameters(request)) as response,
            ):
                self.check(response)
                body = await bounded(response)
        except TimeoutError as exc:
            raise TryAgain(ToolFailure(SERVICE_LATE, temporary=True, stale_will_do=True)) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TryAgain(ToolFailure(UNREACHABLE, temporary=True, stale_will_do=True)) from exc
        try:
            found = msgspec.json.decode(body, type=Found)
        except UNREADABLE_JSON as exc:
            # A page, perhaps: an address of something else.
            logger.error("what %s sent is no result of SearXNG (FLEET_SEARCH)", self.account)
            raise ToolFailure(SERVICE_UNREADABLE, temporary=True, stale_will_do=True) from exc
        return output(found, request)

    def check(self, response: httpx.Response) -> None:
        """Raise what a status that comes without results means."""
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.FORBIDDEN:
            logger.error(
                "web search is closed: %s does not send JSON; add json to search.formats in its"
                " settings.yml",
                self.account,
            )
            raise closed(NO_PROGRAMS, CLOSED_BY_SETTINGS)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            logger.warning(
                "%s limits searches: its limiter must let this machine pass (limiter.toml)",
                self.account,
            )
            wait = response.headers.get("retry-after", "").strip()
            raise rate_limited(float(wait[:9]) if wait.isdecimal() else None)
        if status == httpx.codes.BAD_REQUEST:
            raise ToolFailure(NOT_TAKEN, advice="Ask for something shorter or simpler.")
        failure = ToolFailure(
            SERVICE_FAILED % {"status": status},
            temporary=response.is_server_error,
            stale_will_do=True,
        )
        raise TryAgain(failure) if response.is_server_error else failure


def parameters(request: dict[str, Any]) -> dict[str, str]:
    """Return a request for Tavily as one for SearXNG, which has no length and no depth."""
    asked = {
        "q": COMMAND.sub("", request["query"]) or request["query"],
        "format": "json",
        "categories": CATEGORIES[request["topic"]],
    }
    return asked | ({"time_range": request["time_range"]} if "time_range" in request else {})


async def bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            # Not temporary: the same query would have the same answer.
            raise ToolFailure(
                SERVICE_TOO_LARGE % {"size": MAX_BODY_BYTES // 2**20}, stale_will_do=True
            )
    return bytes(body)


def output(found: Found, request: dict[str, Any]) -> Output:
    """Return the pages found, which cost nothing. Leave out results that cannot be read."""
    passages: dict[str, Passage] = {}
    for result in [*map(of_infobox, found.infoboxes), *map(of_result, found.results)]:
        if passage := passage_of(result):
            passages.setdefault(passage.url, passage)
    if not passages and found.unresponsive_engines:
        logger.warning("search engines did not answer: %s", str(found.unresponsive_engines)[:300])
        raise TryAgain(ToolFailure(NO_ENGINE, temporary=True, stale_will_do=True))
    return Output(passages=tuple(passages.values())[: request["max_results"]])


def of_infobox(box: Any) -> Any:
    """Return what an engine knows of the thing that was asked about, as a result."""
    match box:
        case {"id": url, "infobox": title, "content": content}:
            return {"url": url, "title": title, "content": content}
    return None


def of_result(result: Any) -> Any:
    """Return a result in Tavily's words. Some engines have a title alone."""
    match result:
        case {"url": url, "title": title}:
            content = result.get("content") or title
            dated = result.get("publishedDate")
            return {"url": url, "title": title, "content": content, "published_date": dated}
    return None
