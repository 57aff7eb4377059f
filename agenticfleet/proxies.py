"""Clients behind proxies: where a request really comes from, by which scheme, and for which path.

Only proxies in FLEET_TRUSTED_PROXIES are believed, because every client can send the same headers.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port
from django.urls import set_script_prefix

from agenticfleet.access import MACHINES
from agenticfleet.environment import is_of_this_machine
from chat.access.addresses import Address, parsed_address
from chat.access.origins import below_root, is_trusted
from chat.logs import Once

logger = logging.getLogger(__name__)

FORWARDED_FOR, FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"
ENCRYPTED = {"http": "https", "ws": "wss"}
MAX_LOGGED_CHARS = 100  # of a header
_hinted = Once(20)  # of what proxies lack, each with an address or a host


class RealClient:
    """An ASGI application around another one, whose scopes get the real client, scheme and path."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            root = settings.FORCE_SCRIPT_NAME or ""
            # Django does so for pages alone. Sockets get addresses, too, in markup.
            set_script_prefix(f"{root}/")
            scope = {**scope, "path": path_of(scope, root), "root_path": root}
            hint_of_host(scope)
            scope |= {"client": client_of(scope), "scheme": scheme_of(scope)}
        await self.application(scope, receive, send)


def client_of(scope: dict[str, Any]) -> tuple[str, int] | None:
    """Return address and port of the client; the port is 0 if a proxy named the client.

    Each proxy adds to X-Forwarded-For who asked it. So the client is the last one that is no
    trusted proxy; what stands before it is only the client's word.
    """
    if not (client := scope.get("client")):
        return None
    peer = address = parsed(client[0])
    told = listed(scope, FORWARDED_FOR)
    if told and not is_proxy(address):
        hint_once(client[0])
    while told and is_proxy(address) and (named := parsed(told.pop())):
        address = named
    return (client[0], client[1]) if address == peer else (str(address), 0)


def scheme_of(scope: dict[str, Any]) -> str:
    """Return the scheme that the client uses: http or https, ws or wss for a socket.

    That is the proxy's word. Without one, a site whose address begins with https is asked for so:
    a redirect would never end.
    """
    plain: str = scope.get("scheme") or ("ws" if scope["type"] == "websocket" else "http")
    if plain not in ENCRYPTED:
        return plain
    told = listed(scope, FORWARDED_PROTO)
    if told and (proxy := proxy_of(scope)):
        is_encrypted = told[-1].lower() in ("https", "wss")
        if not is_encrypted and is_proof_of_https(scope):
            hint_of_scheme(proxy)
            is_encrypted = True
    else:
        hosts = listed(scope, b"host")
        is_encrypted = settings.FLEET_PUBLIC_URL.startswith("https://") or (
            len(hosts) == 1 and is_trusted(f"https://{hosts[0]}")
        )
    return ENCRYPTED[plain] if is_encrypted else plain


def is_proof_of_https(scope: dict[str, Any]) -> bool:
    """Return True if a browser came by https, whatever a proxy behind another one says.

    Browsers tell what they ask for only by https and, by http, to their own machine.
    """
    if not settings.FLEET_PUBLIC_URL.startswith("https://"):
        return False
    hosts = listed(scope, b"host")
    return bool(listed(scope, b"sec-fetch-mode")) and not any(
        is_of_this_machine(split_domain_port(host)[0]) for host in hosts
    )


def path_of(scope: dict[str, Any], root: str) -> str:
    """Return the path as browsers ask for it: some proxies strip what all paths begin with."""
    path: str = scope["path"]
    return path if f"{path}/".startswith(f"{root}/") else root + path


def listed(scope: dict[str, Any], name: bytes) -> list[str]:
    """Return the values of a header that is a list, which may be sent in several lines."""
    lines = (value for key, value in scope["headers"] if key == name)
    values = b",".join(lines).decode("latin-1").split(",")
    return [value.strip() for value in values if value.strip()]


def parsed(text: str) -> Address | None:
    """Return the address in an entry, which may have a port; None if there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parsed_address(text)


def is_proxy(address: Address | None) -> bool:
    return address is not None and any(address in each for each in settings.FLEET_TRUSTED_PROXIES)


def proxy_of(scope: dict[str, Any]) -> str:
    """Return the address of the trusted proxy that asks; empty if none does."""
    peer: str = client[0] if (client := scope.get("client")) else ""
    return peer if is_proxy(parsed(peer)) else ""


# --- What operators are told, once


def hint_once(peer: str) -> None:
    """Tell the operator of a proxy that isn't trusted: all its clients count as one."""
    address = parsed(peer)
    if address and address.is_private and _hinted.is_first(("clients", peer)):
        logger.warning(
            "%s names other clients in X-Forwarded-For; if it is your proxy, limits need"
            " FLEET_TRUSTED_PROXIES=%s to tell them apart",
            *(peer, address),
        )


def hint_of_scheme(peer: str) -> None:
    if _hinted.is_first(("scheme", peer)):
        logger.warning(
            "the proxy %s says http in X-Forwarded-Proto, but browsers come by https; it must pass"
            " on what the proxy before it says, or say https",
            peer,
        )


def hint_of_host(scope: dict[str, Any]) -> None:
    """Tell of a proxy that names itself or no port: then the Host leads nobody back here."""
    proxy = proxy_of(scope)
    if not settings.FLEET_PUBLIC_URL or not proxy:
        return
    host, place = ", ".join(listed(scope, b"host")), urlsplit(settings.FLEET_PUBLIC_URL).netloc
    domain = split_domain_port(host)[0]
    is_changed = host.lower() != place and (
        domain == split_domain_port(place)[0] or is_of_this_machine(domain)
    )
    if is_changed and below_root(scope) not in MACHINES and _hinted.is_first(("host", host)):
        logger.warning(
            "the proxy %s asks for %s, but people for %s: it must pass the Host on as it is (nginx:"
            " proxy_set_header Host $http_host)",
            *(proxy, ascii(host[:MAX_LOGGED_CHARS]), place),
        )
