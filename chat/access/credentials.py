"""Who asks on a socket: shown by a token, by cookies, or by a key of the program's own making.

A program that shows nothing owns the run of one message: the one whose message_id it made.
"""

from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

from chat.protocol.errors import (
    API_IS_OFF,
    FOREIGN_ORIGIN,
    NO_SESSION,
    NOT_SIGNED_IN,
    ONLY_ITS_OWN_RUN,
    TOKEN_NEEDED,
    UNKNOWN_TOKEN,
    ProtocolError,
)
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.protocol.terms import SUBPROTOCOL_TOKEN

from .addresses import address_of
from .browsers import owner_of_cookies
from .origins import header, is_foreign
from .owners import Asker, Owner
from .terminals import is_terminal, terminal_of
from .tickets import PREFIX as TICKET_PREFIX
from .tickets import token_id_of
from .tokens import PREFIX, Scope, Token

# Shorter ones are what libraries insist on ("none", "sk-x"), and others send the same.
MIN_OWN_KEY = 32  # characters
TAG_LETTERS = 32


def asker_of(
    scope: dict[str, Any], cookies: dict[str, str], request: ChatRequest | ReplyRequest
) -> Asker:
    """Return who sends this first frame. Raise ProtocolError if it is nobody who may.

    A token counts, right or wrong, whatever the cookies say. It may allow pages of other sites.
    Reads the database.
    """
    address = address_of(scope)
    if is_terminal(bearer := bearer_of(scope)):
        return terminal_of(scope, bearer, request.message_id)
    if (shown := token_of(scope)) is not None:
        check_api_is_on()
        if shown.startswith(TICKET_PREFIX):
            token = Token.objects.named(token_id_of(scope, shown))
            token.check_allows("ask")
            return Asker(token.owner, address, token.pk, models=tuple(token.model_ids))
        token = Token.objects.accept(shown, scope="ask", address=address)
        if is_foreign(scope) and header(scope, b"origin") not in token.origins:
            raise ProtocolError(FOREIGN_ORIGIN)
        return Asker(token.owner, address, token.pk, models=tuple(token.model_ids))
    owner = owner_of_cookies(cookies)
    return Asker(owner or anonymous_owner(scope, request), address)


def program_of(scope: dict[str, Any], *, needs: Scope | None) -> Asker:
    """Return who asks at a door. Raise ProtocolError if it is nobody who may.

    No cookie counts there. A program without a token is known by a key of its own making, or else
    by its address. A token must have the scope that is needed. Reads the database.
    """
    address = address_of(scope)
    if (shown := token_of(scope)) is not None:
        token = Token.objects.accept(shown, scope=needs, address=address)
        origins = frozenset(token.origins)
        return Asker(token.owner, address, token.pk, tuple(token.model_ids), origins)
    check_api_is_open()
    key = bearer_of(scope)
    if is_terminal(key):
        raise ProtocolError(UNKNOWN_TOKEN)  # the terminal asks on a socket alone
    own = tag_of("key", key) if len(key) >= MIN_OWN_KEY else tag_of("address", address)
    return Asker(Owner("script", own), address)


def may_read_from(scope: dict[str, Any], asker: Asker | None) -> bool:
    """Return True if the page that asks at a door may: one of this site, or of one named for it."""
    origin = header(scope, b"origin")
    named = {*settings.FLEET_API_ORIGINS, *(asker.origins if asker else ())}
    return origin in named or not is_foreign(scope)


def anonymous_owner(scope: dict[str, Any], request: ChatRequest | ReplyRequest) -> Owner:
    """Return the owner of what a program asks without a token. Raise ProtocolError for browsers."""
    if header(scope, b"origin"):
        raise ProtocolError(NO_SESSION if settings.FLEET_AUTH == "anonymous" else NOT_SIGNED_IN)
    check_api_is_open()
    key = bearer_of(scope)
    if len(key) >= MIN_OWN_KEY:
        return Owner("script", tag_of("key", key))
    if isinstance(request, ReplyRequest) or not request.is_first:
        raise ProtocolError(ONLY_ITS_OWN_RUN)
    return Owner("script", tag_of("message_id", str(request.message_id)))


def check_api_is_on() -> None:
    """Raise ProtocolError if no program may ask. Pages ask by cookies."""
    if settings.FLEET_API == "off":
        raise ProtocolError(API_IS_OFF)


def check_api_is_open() -> None:
    """Raise ProtocolError if no program without a token may ask."""
    check_api_is_on()
    if settings.FLEET_API != "open":
        raise ProtocolError(TOKEN_NEEDED)


def tag_of(what: str, secret: str) -> str:
    """Return what rows know the holder of a secret by; the secret can't be had from it."""
    return salted_hmac(f"chat.scripts.{what}", secret, algorithm="sha256").hexdigest()[:TAG_LETTERS]


def token_of(scope: dict[str, Any]) -> str | None:
    """Return the token or ticket that a handshake shows, right or wrong; None for none."""
    if (bearer := bearer_of(scope)).startswith(PREFIX):
        return bearer
    # Scripts of browsers can't set headers.
    begins = SUBPROTOCOL_TOKEN
    shown = (name for name in scope.get("subprotocols", ()) if name.startswith(begins))
    return next((name.removeprefix(begins) for name in shown), None)


def bearer_of(scope: dict[str, Any]) -> str:
    scheme, _, rest = header(scope, b"authorization").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""
