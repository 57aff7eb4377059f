"""Clients behind proxies: where a request really comes from, by which scheme, and for which path.

Only proxies in FLEET_TRUSTED_PROXIES are believed, because every client can send the same headers.
"""

import logging
from typing import Any

from django.conf import settings
from django.urls import set_script_prefix

from chat.access.addresses import Address, parsed_address
from chat.access.origins import is_trusted
from chat.logs import Once

logger = logging.getLogger(__name__)

FORWARDED_FOR, FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"
ENCRYPTED = {"http": "https", "ws": "wss"}
_hinted = Once(20)  # addresses


class RealClient:
    """An ASGI application around another one, whose scopes get the real client, scheme and path."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            root = settings.FORCE_SCRIPT_NAME or ""
            # Django does so for pages alone. Sockets get addresses, too, in markup.
            set_script_prefix(f"{root}/")
            scope = {
                **scope,
                "client": client_of(scope),
                "scheme": scheme_of(scope),
                "path": path_of(scope, root),
                "root_path": root,
            }
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
    if told and (client := scope.get("client")) and is_proxy(parsed(client[0])):
        is_encrypted = told[-1].lower() in ("https", "wss")
    else:
        hosts = listed(scope, b"host")
        is_encrypted = settings.FLEET_PUBLIC_URL.startswith("https://") or (
            len(hosts) == 1 and is_trusted(f"https://{hosts[0]}")
        )
    return ENCRYPTED[plain] if is_encrypted else plain


def path_of(scope: dict[str, Any], root: str) -> str:
    """Return the path as browsers ask for it: some proxies strip what all paths begin with."""
    path: str = scope["path"]
    return path if f"{path}/".startswith(f"{root}/") else root + path


def below_root(scope: dict[str, Any]) -> str:
    """Return the path without what all paths of this site begin with."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


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


def hint_once(peer: str) -> None:
    """Tell the operator of a proxy that isn't trusted: all its clients count as one."""
    address = parsed(peer)
    if address and address.is_private and _hinted.is_first(peer):
        logger.warning(
            "%s names other clients in X-Forwarded-For; if it is your proxy, limits need"
            " FLEET_TRUSTED_PROXIES=%s to tell them apart",
            *(peer, address),
        )
