"""Search the web with Tavily's library, and turn each of its failures into a ToolFailure.

Importing the library takes 0.5 s, so this module is imported only if this search is on.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import tavily.errors
from tavily import AsyncTavilyClient

from .results import Output, ToolFailure
from .searching import (
    MAX_BODY_BYTES,
    NOT_TAKEN,
    SERVICE_FAILED,
    SERVICE_LATE,
    SERVICE_TOO_LARGE,
    SERVICE_UNREADABLE,
    UNREACHABLE,
    SearchProvider,
    TooLarge,
    TryAgain,
    Unreadable,
    closed,
    passage_of,
    rate_limited,
)
from .sentences import sentence

logger = logging.getLogger(__name__)

ATTEMPT_TIMEOUT = 5.0  # seconds; two attempts and a pause fit into the tool's timeout
MAX_RESULTS = 20
CLOSED_BY_PLAN = 4 * 3600.0  # the limit is daily or monthly
CLOSED_BY_KEY = 24 * 3600.0
KEY_REFUSED = sentence("The search service refused the key.")
PLAN_USED_UP = sentence("The limit of the search plan is reached.")


class RateLimited(Exception):
    """Raised for a status of 429, with the seconds to wait if the provider says how many."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds


class SearchClient(SearchProvider):
    """The client of one event loop and one account. Without a key it uses Tavily's keyless mode."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        keyless = {} if api_key else {"X-Tavily-Access-Mode": "keyless"}
        http = httpx.AsyncClient(
            base_url=base_url,
            # A compressed body could be larger than the bytes that `Bounded` counts.
            headers={"Accept-Encoding": "identity", **keyless},
            event_hooks={"response": [inspect]},
        )
        # Pass an empty key rather than None, for which the library reads the environment.
        self._tavily = AsyncTavilyClient(api_key=api_key, api_base_url=base_url, client=http)
        # Tells accounts apart without revealing the key.
        account = hashlib.sha256(f"{base_url}\n{api_key}".encode()).hexdigest()[:12]
        super().__init__(http, account=account, sleep=sleep)

    async def attempt(self, request: dict[str, Any]) -> Output:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                answer = await self._tavily.search(**request, timeout=ATTEMPT_TIMEOUT)
            return output(answer, request)
        except tavily.errors.InvalidAPIKeyError as exc:
            logger.error("web search is closed: the provider refused the key (TAVILY_API_KEY)")
            raise closed(KEY_REFUSED, CLOSED_BY_KEY) from exc
        except tavily.errors.ForbiddenError as exc:
            logger.error(
                "web search is closed for hours: the limit of the plan is reached,"
                " or the account is blocked"
            )
            raise closed(PLAN_USED_UP, CLOSED_BY_PLAN) from exc
        except RateLimited as exc:
            raise rate_limited(exc.seconds) from exc
        except tavily.errors.BadRequestError as exc:
            raise ToolFailure(
                NOT_TAKEN,
                advice="Ask for something shorter or simpler.",
            ) from exc
        except httpx.HTTPStatusError as exc:
            failure = ToolFailure(
                SERVICE_FAILED % {"status": exc.response.status_code},
                temporary=exc.response.is_server_error,
                stale_will_do=True,
            )
            raise (TryAgain(failure) if exc.response.is_server_error else failure) from exc
        except (tavily.errors.TimeoutError, TimeoutError) as exc:
            raise TryAgain(ToolFailure(SERVICE_LATE, temporary=True, stale_will_do=True)) from exc
        except TooLarge as exc:
            # Not temporary: the same query would have the same answer.
            raise ToolFailure(
                SERVICE_TOO_LARGE % {"size": MAX_BODY_BYTES // 2**20},
                stale_will_do=True,
            ) from exc
        except httpx.HTTPError as exc:
            raise TryAgain(ToolFailure(UNREACHABLE, temporary=True, stale_will_do=True)) from exc
        except (Unreadable, ValueError, TypeError, AttributeError, RecursionError) as exc:
            # The library raises these for a body of another shape, and for any success but 200.
            raise ToolFailure(SERVICE_UNREADABLE, temporary=True, stale_will_do=True) from exc


# --- What comes over the wire ---------------------------------------------------------------------


class Bounded(httpx.AsyncByteStream):
    """A body of bounded size, converted to UTF-8."""

    def __init__(self, stream: httpx.AsyncByteStream, charset: str) -> None:
        self._stream = stream
        self._charset = charset

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = bytearray()
        async for chunk in self._stream:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise TooLarge
        yield as_utf8(bytes(body), self._charset)

    async def aclose(self) -> None:
        await self._stream.aclose()


def as_utf8(body: bytes, charset: str) -> bytes:
    if charset in {"", "utf-8", "utf8"}:
        return body
    try:
        return body.decode(charset, errors="replace").encode()
    except (LookupError, UnicodeError) as exc:
        raise Unreadable from exc


async def inspect(response: httpx.Response) -> None:
    """Bound the body, and raise RateLimited, because the library drops the time to wait."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unreadable
    assert isinstance(response.stream, httpx.AsyncByteStream)
    # The library reads the whole body, so bound it before.
    response.stream = Bounded(response.stream, (response.charset_encoding or "").lower())
    if response.status_code == 429:
        raise RateLimited(
            retry_after(response.headers.get("retry-after", ""), await response.aread())
        )


def retry_after(header: str, body: bytes) -> float | None:
    """Return the seconds to wait: from the header, or from the body in keyless mode."""
    if header.strip().isdecimal():
        return float(header[:9])
    try:
        seconds = json.loads(body)["error"]["retry_after_seconds"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else None


def output(answer: dict[str, Any], request: dict[str, Any]) -> Output:
    """Return the pages of an answer and its price. Leave out results that cannot be read."""
    results = answer["results"]
    if not isinstance(results, list):
        raise Unreadable
    passages = {
        passage.url: passage for passage in map(passage_of, results[:MAX_RESULTS]) if passage
    }
    return Output(passages=tuple(passages.values()), credits=price(answer, request))


def price(answer: dict[str, Any], request: dict[str, Any]) -> float:
    """Return the credits of a call, or the list price if the answer has no plausible figure."""
    match answer.get("usage"):
        case {"credits": int() | float() as spent} if 0 <= spent <= 100:
            return float(spent)
    return 2.0 if request["search_depth"] == "advanced" else 1.0
