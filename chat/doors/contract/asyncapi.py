"""AsyncAPI 3.0 of the socket. Its messages are those of the JSON Schema."""

from chat.protocol.errors import CLOSE_OF, TRY_AGAIN_LATER, UNAUTHENTICATED
from chat.protocol.events import EVENT_TYPES
from chat.protocol.terms import SUBPROTOCOL_JSON, SUBPROTOCOL_TOKEN

from .schemas import SENT, Schema

EVENTS = "events.schema.json"
SOCKET = "/ws/chat/"


def asyncapi(version: str) -> Schema:
    sent = [struct.__name__ for struct in SENT]
    got = [struct.__name__ for struct in EVENT_TYPES]
    closes = sorted({*CLOSE_OF.values(), TRY_AGAIN_LATER, UNAUTHENTICATED})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AgenticFleet: the socket",
            "version": version,
            "description": (
                "One socket for each question. The first frame asks, replies or rejoins; the server"
                " sends events until one `done` or `error`; the client closes. Programs must skip"
                " types and fields that they don't know."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {"fleet": {"host": "127.0.0.1:8000", "protocol": "ws", "security": [TOKEN]}},
        "channels": {
            "chat": {
                "address": SOCKET,
                "description": (
                    f"Subprotocol {SUBPROTOCOL_JSON}. Scripts of pages may offer"
                    f" {SUBPROTOCOL_TOKEN}… beside it. Refusals close with one of"
                    f" {', '.join(map(str, closes))}."
                ),
                "messages": {
                    name: {
                        "name": name,
                        "payload": {
                            "schemaFormat": "application/schema+json;version=draft-2020-12",
                            "schema": {"$ref": f"{EVENTS}#/$defs/{name}"},
                        },
                    }
                    for name in [*sent, *got]
                },
            }
        },
        "operations": {
            # As the fleet sees it, which is what AsyncAPI asks for.
            "getFrame": operation("receive", "A frame of a client.", sent),
            "sendEvent": operation("send", "An event of the run, or of this socket.", got),
        },
    }


TOKEN: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of this server; not needed for single questions with FLEET_API=open.",
}


def operation(action: str, summary: str, names: list[str]) -> Schema:
    messages = [{"$ref": f"#/channels/chat/messages/{name}"} for name in names]
    channel = {"$ref": "#/channels/chat"}
    return {"action": action, "channel": channel, "summary": summary, "messages": messages}
