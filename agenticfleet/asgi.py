"""The ASGI application: pages over HTTP, and one WebSocket per message."""

import os
from typing import Any

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
django.setup(set_prefix=False)


async def no_such_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a WebSocket at an unknown path. URLRouter would raise, which logs a traceback."""
    await receive()
    # Accepted first: a browser can't read why a handshake was refused.
    await send({"type": "websocket.accept"})
    refusal = Error(error=NO_SUCH_SOCKET)
    stamp(refusal, seq=0, workflow_id="")
    await send({"type": "websocket.send", "text": encode(refusal).decode()})
    await send({"type": "websocket.close", "code": CLOSE_OF[NO_SUCH_SOCKET.code]})


async def plain(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a probe or a page without a socket, or pass the request to the doors or to Django."""
    path = below_root(scope)
    answer = doors if path.startswith(PREFIXES) else PLAIN.get(path, http_application)
    await answer(scope, receive, send)


# Models can be imported only after Django is set up.
from agenticfleet.access import AccessLog  # noqa: E402
from agenticfleet.handshakes import without_upgrade  # noqa: E402
from agenticfleet.health import PROBES  # noqa: E402
from agenticfleet.pages import Pages  # noqa: E402
from agenticfleet.proxies import RealClient  # noqa: E402
from chat.access.origins import below_root  # noqa: E402
from chat.doors.http import Doors  # noqa: E402
from chat.doors.routes import PREFIXES, ROUTES  # noqa: E402
from chat.pagestreams import cancel  # noqa: E402
from chat.postgresql import IS_SERVING  # noqa: E402
from chat.protocol.errors import CLOSE_OF, NO_SUCH_SOCKET  # noqa: E402
from chat.protocol.events import Error, encode, stamp  # noqa: E402
from chat.urls import CANCEL_PATH, SOCKET_PATH, websocket_urlpatterns  # noqa: E402

IS_SERVING.set()
http_application = Pages()
doors = Doors(ROUTES)
PLAIN = {**PROBES, f"/{SOCKET_PATH}": without_upgrade, f"/{CANCEL_PATH}": cancel}
sockets = URLRouter([*websocket_urlpatterns, re_path("", no_such_socket)])  # type: ignore[arg-type]
application = RealClient(AccessLog(ProtocolTypeRouter({"http": plain, "websocket": sockets})))
