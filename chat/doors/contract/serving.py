"""The documents of the contract, served at the doors with this server's address."""

import json
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from chat.access.origins import header
from chat.doors.calls import Call, Reply, Route

from .schemas import Schema

WRITTEN = Path(__file__).parent / "written"
ENCRYPTED = {"http": "ws", "https": "wss"}


async def openapi(call: Call) -> Reply:
    document = written("openapi.json")
    return Reply({**document, "servers": [{"url": address_of(call)}]})


async def asyncapi(call: Call) -> Reply:
    document = written("asyncapi.json")
    address = urlsplit(address_of(call))
    server = {**document["servers"]["fleet"], "host": address.netloc}
    server |= {"protocol": ENCRYPTED[address.scheme]}
    if address.path:
        server["pathname"] = address.path
    return Reply({**document, "servers": {"fleet": server}})


async def events(call: Call) -> Reply:
    return Reply(written("events.schema.json"))


@cache
def written(name: str) -> Schema:
    document: Schema = json.loads((WRITTEN / name).read_text())
    return document


def address_of(call: Call) -> str:
    """Return the address of this server, without a slash at its end."""
    if settings.FLEET_PUBLIC_URL:
        return str(settings.FLEET_PUBLIC_URL).rstrip("/")
    root = call.scope.get("root_path", "")
    return f"{call.scope['scheme']}://{header(call.scope, b'host')}{root}"


ROUTES = [
    Route(
        "GET",
        f"/api/v1/{name}",
        function,
        summary,
        None,
        gives=dict,
        tag="contract",
    )
    for name, function, summary in (
        ("openapi.json", openapi, "This document: all that is asked over HTTP."),
        ("asyncapi.json", asyncapi, "AsyncAPI of the socket."),
        ("events.schema.json", events, "JSON Schema of all events and requests."),
    )
]
