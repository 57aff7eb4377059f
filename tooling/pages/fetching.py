"""Fetch what is at an address of the public web, within bounds of time and size."""

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import ada_url
import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError
from yarl import URL

from tooling.proxies import proxy_for, socks_url
from tooling.results import ToolFailure
from tooling.sentences import sentence

from . import guard
from .guard import IsPublic, LookUp, PublicResolver

MAX_BYTES = 2 * 2**20  # of a page, unpacked
MAX_REDIRECTS = 5
FIRST_BYTE_TIMEOUT = 5.0  # seconds until the head of a response
FETCH_TIMEOUT = 8.0  # seconds, with all redirects. What has come of a page by then is read.
USER_AGENT = "AgenticFleet (reads a page that a person asked about)"
HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,application/json;q=0.8,*/*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
}
REDIRECTS = (301, 302, 303, 307, 308)
SIGN_IN = re.compile(
    r"(?:^|[/_.-])(?:log-?in|sign-?in|sso|saml2?|oauth2?|openid)(?:$|[/_.?-])", re.I
)

TOO_MANY = sentence("%(host)s redirects too often.")
WANTS_SIGN_IN = sentence("%(host)s shows this page only to people who sign in there.")
REFUSES = sentence("%(host)s does not let programs read this page.")
NOT_THERE = sentence("%(host)s has no such page.")
BUSY = sentence("%(host)s gets too many requests.")
BROKEN = sentence("%(host)s has a problem (status %(status)s).")
NO_PAGE = sentence("%(host)s has no page there (status %(status)s).")
LATE = sentence("%(host)s did not answer in time.")
UNREACHABLE = sentence("%(host)s cannot be reached.")
UNTRUSTED = sentence("The certificate of %(host)s is not valid.")
NOT_HTTP = sentence("What %(host)s sent cannot be read.")
PROXY_REFUSES = sentence("The proxy does not let %(host)s through.")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was found at an address."""

    url: str  # the last one, after redirects
    content_type: str  # in lower case, without parameters
    charset: str
    body: bytes
    is_cut: bool  # there was more


class Fetcher:
    """The connections of one event loop to the public web.

    Each request has a connection of its own, without cookies, keys and a Referer. Tests say what
    counts as public, and where names lead.
    """

    def __init__(
        self,
        *,
        proxies: Mapping[str, str],
        is_public: IsPublic = guard.is_public,
        look_up: LookUp = guard.system_addresses,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._proxies = proxies
        self._is_public = is_public
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="names of pages")
        self._resolver = PublicResolver(is_public=is_public, look_up=look_up, threads=self._threads)
        # The default reads SSL_CERT_FILE.
        self._trusted = trusted or ssl.create_default_context()

    async def fetch(self, url: str) -> Fetched:
        """Return what is at this address, or raise ToolFailure."""
        host = guard.parsed(url).host
        try:
            async with asyncio.timeout(FETCH_TIMEOUT) as deadline:
                return await self._follow(url, deadline)
        except TimeoutError as exc:
            raise temporary(LATE, host) from exc

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, url: str, deadline: asyncio.Timeout) -> Fetched:
        asked = url
        # A person may ask about a page on signing in.
        may_be_sign_in = SIGN_IN.search(guard.parsed(url).pathname) is not None
        for _ in range(MAX_REDIRECTS + 1):
            # Anew for each redirect: it may lead inside.
            url = guard.page_address(url)
            host = guard.parsed(url).host
            async with self._response(url, host) as response:
                location = response.headers.get("Location")
                if response.status in REDIRECTS and location is not None:
                    url = joined(url, location)
                    continue
                if not may_be_sign_in and SIGN_IN.search(guard.parsed(url).pathname):
                    raise ToolFailure(WANTS_SIGN_IN % {"host": host})
                refuse(response.status, host)
                return await received(response, url, deadline)
        raise ToolFailure(TOO_MANY % {"host": guard.parsed(asked).host})

    @asynccontextmanager
    async def _response(self, url: str, host: str) -> AsyncIterator[ClientResponse]:
        """Open an address that has been checked. Translate how that fails."""
        target = URL(url, encoded=True)
        proxy = proxy_for(target, self._proxies)
        try:
            async with self._session(proxy) as session:
                async with asyncio.timeout(FIRST_BYTE_TIMEOUT):
                    if proxy:
                        await self._check_before_proxy(target)
                    response = await session.get(
                        target,
                        allow_redirects=False,
                        proxy=None if proxy.startswith("socks") else proxy or None,
                    )
                try:
                    yield response
                finally:
                    response.close()
        except (
            *(aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError),
            *(ProxyError, ProxyConnectionError, ProxyTimeoutError),
        ) as exc:
            raise temporary(PROXY_REFUSES, host) from exc
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as exc:
            raise ToolFailure(UNTRUSTED % {"host": host}) from exc
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
            raise ToolFailure(NOT_HTTP % {"host": host}) from exc
        except (aiohttp.ClientError, OSError) as exc:
            if isinstance(exc, TimeoutError):
                raise
            raise temporary(UNREACHABLE, host) from exc

    def _session(self, proxy: str) -> ClientSession:
        """Return a session for one request: connections are never used again."""
        # Through a proxy, the proxy finds the site.
        if proxy.startswith("socks"):
            connector: aiohttp.BaseConnector = ProxyConnector.from_url(
                socks_url(proxy), rdns=True, ssl=self._trusted
            )
        elif proxy:
            connector = TCPConnector(ssl=self._trusted)
        else:
            connector = TCPConnector(
                ssl=self._trusted,
                resolver=self._resolver,
                use_dns_cache=False,
                force_close=True,
                socket_factory=guard.public_sockets(self._is_public),
            )
        return ClientSession(
            connector=connector,
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Unpacked here, within bounds.
            auto_decompress=False,
            timeout=ClientTimeout(total=None, sock_connect=None),
        )

    async def _check_before_proxy(self, target: URL) -> None:
        """Refuse what is inside as far as can be seen from here; the proxy resolves the name.

        In a network whose names only the proxy knows, its rules are what keeps pages out.
        """
        host = target.host or ""
        port = target.port or 443
        if guard.as_ip(host) is not None:
            if not self._is_public(host, port):
                raise guard.inside(host)
            return
        with suppress(guard.UnknownName):
            await self._resolver.resolve(host, port)


def joined(url: str, location: str) -> str:
    try:
        return ada_url.join_url(url, location)
    except ValueError as exc:
        raise ToolFailure(guard.NO_ADDRESS) from exc


def temporary(message: str, host: str, **values: object) -> ToolFailure:
    return ToolFailure(message % {"host": host, **values}, temporary=True, stale_will_do=True)


def refuse(status: int, host: str) -> None:
    """Raise ToolFailure for a status that comes without the page."""
    if status in (HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION):
        return
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        raise ToolFailure(WANTS_SIGN_IN % {"host": host})
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS):
        raise ToolFailure(REFUSES % {"host": host})
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise ToolFailure(NOT_THERE % {"host": host})
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise temporary(BUSY, host)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise temporary(BROKEN, host, status=status)
    raise ToolFailure(NO_PAGE % {"host": host, "status": status})


async def received(response: ClientResponse, url: str, deadline: asyncio.Timeout) -> Fetched:
    """Return the body of a response, or what of it comes in time and has room."""
    host = guard.parsed(url).host
    unpack = unpacker(response.headers.get("Content-Encoding", ""), host)
    body, is_cut = bytearray(), False
    when = deadline.when()
    assert when is not None, "fetch sets a time"
    try:
        # A moment earlier than the whole, whose end would lose what has come.
        async with asyncio.timeout_at(when - 0.1):
            async for chunk in response.content.iter_any():
                body += unpack(chunk, MAX_BYTES + 1 - len(body))
                if len(body) > MAX_BYTES:
                    is_cut = True
                if is_cut or unpack.is_complete:
                    break
    except TimeoutError as exc:
        if not body:
            raise temporary(LATE, host) from exc
        is_cut = True
    except (aiohttp.ClientPayloadError, zlib.error) as exc:
        if not body:
            raise ToolFailure(NOT_HTTP % {"host": host}) from exc
        is_cut = True
    return Fetched(
        url,
        response.content_type if "Content-Type" in response.headers else "",
        charset_in(response.headers.get("Content-Type", "")),
        bytes(body[:MAX_BYTES]),
        is_cut,
    )


class Unpack(Protocol):
    """Unpacks a body as it comes, never more than there is room for."""

    @property
    def is_complete(self) -> bool:
        """True if the body has ended, whatever a server still sends."""
        ...

    def __call__(self, chunk: bytes, room: int) -> bytes: ...


class Plain:
    """Leaves a body as it is."""

    is_complete = False

    def __call__(self, chunk: bytes, room: int) -> bytes:
        return chunk[: max(1, room)]


class Gzipped:
    """Unpacks what zlib can unpack, in the form that `wbits` says."""

    def __init__(self, *, wbits: int = zlib.MAX_WBITS | 16) -> None:
        self._packed = zlib.decompressobj(wbits)

    @property
    def is_complete(self) -> bool:
        return self._packed.eof

    def __call__(self, chunk: bytes, room: int) -> bytes:
        return self._packed.decompress(chunk, max(1, room))


class Deflated:
    """Unpacks what is called deflate, which some servers send without zlib's head."""

    def __init__(self) -> None:
        self._packed: Gzipped | None = None

    @property
    def is_complete(self) -> bool:
        return self._packed is not None and self._packed.is_complete

    def __call__(self, chunk: bytes, room: int) -> bytes:
        if self._packed is None:
            has_head = chunk[:1] and chunk[0] & 0x0F == 8
            self._packed = Gzipped(wbits=zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
        return self._packed(chunk, room)


def unpacker(encoding: str, host: str) -> Unpack:
    """Return what unpacks the chunks of a body, each into at most so many bytes."""
    match encoding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip":
            return Gzipped()
        case "deflate":
            return Deflated()
    raise ToolFailure(NOT_HTTP % {"host": host})


def charset_in(content_type: str) -> str:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:+-]+)", content_type[:300], re.I)
    return found[1].lower() if found else ""
