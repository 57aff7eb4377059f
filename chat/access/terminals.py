"""How a command on the same machine says that it is the terminal of a running fleet.

It signs the message_id of what it asks with a key that the fleet keeps in the file that announces
it, which only the fleet's user can read. The signature counts for that one message, for a short
time, and never from another machine. Nothing here needs a model: the command must begin quickly.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.signing import BadSignature, TimestampSigner
from django.utils.crypto import salted_hmac

from chat.protocol.errors import UNKNOWN_TOKEN, ProtocolError

from .addresses import parsed_address
from .origins import header
from .owners import PROXY_HEADERS, TERMINAL, Asker

PREFIX = "terminal:"
SALT = "chat.access.terminals"
MAX_AGE = timedelta(minutes=10)  # when a socket is opened with it
ACCEPTED = "fleet.terminal"  # in the scope of a socket that has shown one


def terminal_key() -> str:
    """Return the key of this fleet's terminal. All its processes can make it, and no other."""
    return salted_hmac(SALT, "key", algorithm="sha256").hexdigest()


def credential_for(message_id: UUID, key: str) -> str:
    """Return what shows, as a Bearer, that the terminal sends the message with this id."""
    return PREFIX + TimestampSigner(key=key, salt=SALT).sign(str(message_id))


def is_terminal(bearer: str) -> bool:
    """Return True if somebody says to be the terminal, rightly or not."""
    return bearer.startswith(PREFIX)


def terminal_of(scope: dict[str, Any], bearer: str, message_id: UUID) -> Asker:
    """Return the terminal. Raise ProtocolError if it isn't the one that sends this message."""
    # A socket is asked again while it is open, and an answer may take long.
    if scope.get(ACCEPTED) == message_id:
        return Asker(TERMINAL)
    signed = bearer.removeprefix(PREFIX)
    try:
        text = TimestampSigner(key=terminal_key(), salt=SALT).unsign(signed, max_age=MAX_AGE)
    except BadSignature as exc:
        raise ProtocolError(UNKNOWN_TOKEN) from exc
    if text != str(message_id) or not is_of_this_machine(scope):
        raise ProtocolError(UNKNOWN_TOKEN)
    scope[ACCEPTED] = message_id
    return Asker(TERMINAL)


def is_of_this_machine(scope: dict[str, Any]) -> bool:
    """Return True if a program of this machine has opened the socket, and no proxy for another."""
    if scope["type"] != "websocket":
        return False
    names = [name.decode("latin-1") for name, _ in scope["headers"]]
    if any(name in PROXY_HEADERS or name.startswith("x-forwarded-") for name in names):
        return False
    if header(scope, b"origin") or not scope.get("client"):
        return False
    client = parsed_address(scope["client"][0])
    server = parsed_address(scope["server"][0]) if scope.get("server") else None
    # A fleet may listen at an address of a network alone. Who comes from that one is here, too.
    return client is not None and (client.is_loopback or client == server)
