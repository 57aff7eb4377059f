"""HTTP to one model server: addresses, headers, proxies, certificates, and how that fails."""

import asyncio
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
import msgspec
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError
from django.conf import settings
from yarl import URL

from tooling.proxies import proxy_for, socks_url

from .base_urls import joined, normal
from .faults.verdicts import ServerError, not_an_answer, still_starting, unreachable
from .servers import Server, own_server

MAX_BODY_BYTES = 8 * 1024 * 1024  # of a whole reply, such as a list of thousands of models
MAX_CONNECTIONS = 1000
MAX_REDIRECTS = 5
SECRET_NAME = re.compile(r"key|token|secret|pass|auth|sig", re.I)  # of a parameter in a URL
COMPLETIONS = "chat/completions"
# A redirect with one of these keeps the method and the body of a request.
SAME_METHOD = (HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT)
OTHER_METHOD = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response. The body is cut at MAX_BODY_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """The connections of one event loop to one model server.

    `base_url` may change: it may lack a /v1 that the server needs.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        may_be_starting: bool = False,
    ) -> None:
        url = URL(base_url, encoded=True)
        self.base_url = normal(base_url)
        # A server that refuses connections has not finished starting: it will answer.
        self.may_be_starting = may_be_starting
        self.proxy = proxy_for(URL(self.base_url, encoded=True), proxies or {})
        own = {**authorization(url, api_key), **(headers or {})}
        self._headers = {
            # Compression would make proxies on the way wait for more bytes.
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **own,
        }
        # What errors must not show.
        places = [url, *([URL(self.proxy)] if self.proxy else [])]
        in_urls = [secret for place in places for secret in secrets_in(place)]
        self.secrets = [*filter(None, (api_key, *in_urls)), *header_secrets(own)]
        # Sessions belong to an event loop, so it is made by the first request.
        self._session: ClientSession | None = None

    @property
    def server(self) -> str:
        """The host and port, as people know it."""
        return URL(self.base_url, encoded=True).authority

    def at(self, base_url: str) -> Self:
        """Return a connection to another base URL of the same server, over the same sockets."""
        other = copy(self)
        other.base_url, other._session = base_url, self.session
        return other

    async def open(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str]
    ) -> ClientResponse:
        """Post a request and return its response, which the caller closes.

        Raise ServerError if there is no response.
        """
        with self.faults():
            return await self._request("POST", path, msgspec.json.encode(body), headers)

    async def get(self, path: str, *, timeout: float) -> Reply:  # noqa: ASYNC109
        """Return what the server has at this path. Raise ServerError if it can't be reached."""
        return await self._fetch("GET", path, None, timeout)

    async def post(self, path: str, body: Mapping[str, Any], *, timeout: float) -> Reply:  # noqa: ASYNC109
        """Return the reply to a request. Raise ServerError if the server can't be reached."""
        return await self._fetch("POST", path, msgspec.json.encode(body), timeout)

    async def _fetch(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                with self.faults():
                    response = await self._request(method, path, body, {})
                    try:
                        content = await start_of(response)
                    finally:
                        response.close()
        except TimeoutError as exc:
            raise self.unreachable("no reply in time") from exc
        return Reply(response.status, response.headers, content)

    async def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> ClientResponse:
        """Send a request, and again where the server redirects it to."""
        url = URL(joined(self.base_url, path), encoded=True)
        headers = {**self._headers, **headers}
        for _ in range(MAX_REDIRECTS):
            response = await self.session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                # The connector knows a SOCKS proxy.
                proxy=None if self.proxy.startswith("socks") else self.proxy or None,
            )
            if self.proxy and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                response.close()
                raise self.unreachable(f"the proxy answers {response.status}")
            location = response.headers.get("Location")
            if location is None or response.status not in SAME_METHOD + OTHER_METHOD:
                return response
            response.close()
            try:
                target = url.join(URL(location))
            except ValueError as exc:
                raise self.unreachable("it redirects to what is no URL") from exc
            if not may_get_key(target, url):
                headers = {"Content-Type": "application/json"}
            # A server that moves everything, as to https, means the request. One that sends
            # elsewhere shows a page, perhaps to sign in.
            if response.status in OTHER_METHOD and target.raw_path.rstrip("/") != url.raw_path:
                method, body = "GET", None
            url = target
        raise self.unreachable("it redirects too often")

    @property
    def session(self) -> ClientSession:
        if self._session is None:
            # The context reads SSL_CERT_FILE.
            options: dict[str, Any] = {
                "limit": MAX_CONNECTIONS,
                "ssl": ssl.create_default_context(),
            }
            # Through SOCKS the proxy finds the server by its name, as with an HTTP proxy.
            connector = (
                ProxyConnector.from_url(socks_url(self.proxy), rdns=True, **options)
                if self.proxy.startswith("socks")
                else TCPConnector(**options)
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=ClientTimeout(total=None, sock_connect=None),
            )
        return self._session

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Translate what aiohttp raises before there is a response."""
        try:
            yield
        except aiohttp.ClientHttpProxyError as exc:
            raise self.unreachable(f"the proxy answers {exc.status}") from exc
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as exc:
            raise self.unreachable("the proxy does not let it through") from exc
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
            # No HTTP, or an impossible address to redirect to.
            raise not_an_answer("", self.server) from exc
        except aiohttp.ClientConnectorError as exc:
            if self.may_be_starting:
                raise still_starting(self.server) from exc
            raise self.unreachable(reason_of(exc)) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self.unreachable(reason_of(exc)) from exc

    def unreachable(self, reason: str) -> ServerError:
        proxy = self.proxy and str(URL(self.proxy).with_user(None))
        return unreachable(self.server, proxy=proxy, reason=reason)

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()


def connection_to(server: Server) -> Connection:
    """Return a connection to a model server, as it is configured."""
    return Connection(
        server.base_url,
        api_key=server.api_key,
        headers=dict(server.headers),
        proxies=settings.PROXIES,
        may_be_starting=settings.FLEET_SERVES_MODEL and server == own_server(),
    )


async def start_of(response: ClientResponse, *, within: float | None = None) -> bytes:
    """Return the first MAX_BODY_BYTES of a body, or what comes `within` so many seconds."""
    parts: list[bytes] = []
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while size < MAX_BODY_BYTES and (part := await response.content.readany()):
                parts.append(part)
                size += len(part)
    return b"".join(parts)[:MAX_BODY_BYTES]


def reason_of(exc: BaseException) -> str:
    """Return why a connection failed, without addresses."""
    match exc:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            why = getattr(exc.__cause__ or exc.__context__, "verify_message", "") or "no TLS"
            return f"it cannot be trusted ({why}); SSL_CERT_FILE names the file of an authority"
        case aiohttp.ClientConnectorDNSError():
            return "its name is unknown"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            return "it closed the connection"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
    return type(exc).__name__


def secrets_in(url: URL) -> list[str]:
    """Return what a URL has of credentials, also in its query."""
    asked = [value for name, value in url.query.items() if SECRET_NAME.search(name)]
    password = url.raw_password or url.raw_user or ""
    return [password, unquote(password), *asked]


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the values of headers, also without the scheme before them, such as "Bearer"."""
    return [
        part for value in headers.values() for part in (value, value.rpartition(" ")[2]) if part
    ]


def authorization(url: URL, api_key: str) -> dict[str, str]:
    """Return the header for the user of a URL, or else for the key."""
    if url.raw_user is not None or url.raw_password is not None:
        user = f"{unquote(url.raw_user or '')}:{unquote(url.raw_password or '')}"
        return {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def may_get_key(target: URL, url: URL) -> bool:
    """Return True if a redirect stays at its server, perhaps with TLS. Others must not get keys."""
    if target.host != url.host:
        return False
    is_upgrade = (url.scheme, target.scheme) == ("http", "https")
    if target.port != url.port:
        return is_upgrade and (url.port, target.port) == (80, 443)
    return is_upgrade or target.scheme == url.scheme
