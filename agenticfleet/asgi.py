"""The ASGI application: pages over HTTP, and one WebSocket per message."""

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
http_application = get_asgi_application()


async def no_such_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a WebSocket at an unknown path. URLRouter would raise, which logs a traceback."""
    await receive()
    await send({"type": "websocket.close"})


# Models can be imported only after Django is set up.
from chat.urls import websocket_urlpatterns  # noqa: E402

sockets = URLRouter([*websocket_urlpatterns, re_path("", no_such_socket)])  # type: ignore[arg-type]
application = ProtocolTypeRouter({"http": http_application, "websocket": sockets})
