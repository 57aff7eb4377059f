"""What the clients of all search providers share: their failures, attempts and results."""

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .clusters import beginning
from .results import Output, Passage, ToolFailure
from .sentences import sentence
from .untrusted import cut, visible, web_host, without_markup

if TYPE_CHECKING:
    # Imported only where search is on.
    import httpx

MAX_BODY_BYTES = 2 * 2**20
MAX_TITLE_CHARS = 300
MAX_CONTENT_CHARS = 4000
RETRY_AFTER = 0.3  # seconds, plus up to as much again at random
MAX_RETRY_WAIT = 1.5  # seconds; if the provider asks for more, the call fails
MAX_CLOSED_BY_RATE = 300.0  # seconds for which a rate limit closes the tool
SERVICE_BUSY = sentence("The search service is busy.")
NOT_TAKEN = sentence("The search service did not take this query.")
SERVICE_UNREADABLE = sentence("The search service sent something unreadable.")
SERVICE_FAILED = sentence("The search service failed (status %(status)s).")
SERVICE_LATE = sentence("The search service did not answer in time.")
SERVICE_TOO_LARGE = sentence("The search service sent more than %(size)s MB.")
UNREACHABLE = sentence("The search service cannot be reached.")


class TooLarge(Exception):
    """Raised for a body of more than MAX_BODY_BYTES."""


class Unreadable(Exception):
    """Raised for a body that is not what the provider documents."""


class TryAgain(Exception):
    """Raised if a second attempt may succeed; `failure` is the result if that fails too."""

    def __init__(self, failure: ToolFailure, *, wait: float = 0) -> None:
        super().__init__()
        self.failure = failure
        self.wait = wait


async def twice(
    attempt: Callable[[], Awaitable[Output]], *, sleep: Callable[[float], Awaitable[None]]
) -> Output:
    """Return the result of an attempt, or of a second one if that may help."""
    try:
        return await attempt()
    except TryAgain as exc:
        await sleep(max(exc.wait, RETRY_AFTER) + random.uniform(0, RETRY_AFTER))  # noqa: S311
    try:
        return await attempt()
    except TryAgain as exc:
        raise exc.failure from exc


class SearchProvider(ABC):
    """The client of one provider in one event loop."""

    def __init__(
        self,
        http: "httpx.AsyncClient",
        *,
        account: str,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._http = http
        self.account = account  # part of the cache's keys, without secrets
        self._sleep = sleep

    async def search(self, request: dict[str, Any]) -> Output:
        """Return the pages found, or raise ToolFailure, after a second attempt if that may help.

        `request` is in Tavily's words.
        """
        return await twice(lambda: self.attempt(request), sleep=self._sleep)

    @abstractmethod
    async def attempt(self, request: dict[str, Any]) -> Output:
        """Return the pages found. Raise TryAgain if a second attempt may help, or ToolFailure."""

    async def aclose(self) -> None:
        await self._http.aclose()


def closed(message: str, seconds: float) -> ToolFailure:
    """Return the failure of a call that no other call can avoid for so long."""
    return ToolFailure(
        message,
        advice="Answer without searching, and say so.",
        stale_will_do=True,
        closed_for=seconds,
    )


def rate_limited(seconds: float | None) -> Exception:
    """Return TryAgain for a short wait, or the failure that closes the tool for a long one."""
    wait = seconds or 0
    closed_for = min(wait, MAX_CLOSED_BY_RATE) if wait > MAX_RETRY_WAIT else 0
    failure = ToolFailure(SERVICE_BUSY, temporary=True, stale_will_do=True, closed_for=closed_for)
    return failure if wait > MAX_RETRY_WAIT else TryAgain(failure, wait=wait)


def passage_of(result: Any) -> Passage | None:
    """Return one result as plain text, or None if it has no text or no safe address."""
    match result:
        case {"url": str(url), "content": str(content)} if web_host(url):
            title = result.get("title")
            title = (
                without_markup(beginning(title, MAX_TITLE_CHARS)) if isinstance(title, str) else ""
            )
            text = visible(cut(content, MAX_CONTENT_CHARS)).strip()
            return Passage(title or web_host(url), url, text, day(result.get("published_date")))
    return None


def day(written: Any) -> str | None:
    """Return an ISO date, or None if the provider's date cannot be read."""
    if not isinstance(written, str) or len(written) > 60:
        return None
    for reading in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return reading(written).date().isoformat()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
