"""Plain requests for the address of the socket: a proxy passes only half of a handshake on.

A browser doesn't tell its page why a socket can't be opened. So the page then follows its answer
without one, at the same address, and the log shows what to set.
"""

import logging
from typing import Any

from chat.access.forms import fields_of
from chat.access.origins import header
from chat.logs import Once
from chat.pagestreams import stream
from chat.protocol.errors import NEEDS_UPGRADE
from chat.protocol.events import Error, encode, stamp

logger = logging.getLogger(__name__)

MAX_LOGGED_CHARS = 60  # of a header
_logged = Once(20)  # addresses
UNOPENED = (
    "a WebSocket cannot be opened through %s: the proxy in front must pass Upgrade and Connection"
    " on (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header"
    ' Connection "upgrade"); it asked with Connection: %s, Host: %s, Via: %s'
)
UNHEARD = (
    "a page hears nothing on the WebSocket that it has opened through %s: a proxy in front, or on"
    " the way, holds frames back, and must not buffer (nginx: proxy_buffering off); it asked with"
    " Connection: %s, Host: %s, Via: %s"
)
# By what the page says of its sockets (static/chat/connection.js).
COMPLAINTS = {"unopened": UNOPENED, "unheard": UNHEARD}


async def without_upgrade(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Let a page follow its answer without a socket, and tell the operator once."""
    complain_once(scope)
    if scope["method"] == "POST":
        await stream(scope, receive, send)
    else:
        await needs_upgrade(scope, send)


async def needs_upgrade(scope: dict[str, Any], send: Any) -> None:
    """Answer 426 with the refusal that a socket would get."""
    refusal = Error(error=NEEDS_UPGRADE)
    stamp(refusal, seq=0, workflow_id="")
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
    ]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else encode(refusal)
    await send({"type": "http.response.body", "body": body})


def complain_once(scope: dict[str, Any]) -> None:
    said = fields_of(scope.get("query_string", b"")).get("socket", "")
    # Proxies that drop Upgrade pass the rest of a handshake on.
    complaint = UNOPENED if header(scope, b"sec-websocket-key") else COMPLAINTS.get(said)
    peer = scope["client"][0] if scope.get("client") else "a proxy"
    if complaint and _logged.is_first((complaint, peer)):
        sent = (header(scope, name) for name in (b"connection", b"host", b"via"))
        shown = (ascii(each[:MAX_LOGGED_CHARS]) if each else "none" for each in sent)
        logger.warning(complaint, peer, *shown)
