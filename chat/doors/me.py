"""Who asks, what is left of the limits, and tickets for pages of other sites."""

from typing import Annotated

from msgspec import Meta, Struct

from chat.access.limits import LimitName, Whose
from chat.access.owners import Kind, Owner
from chat.access.tickets import new_ticket
from chat.access.tokens import ORIGIN, SCOPES, Token, origin_of
from chat.access.usage import Used, usage_of
from chat.database import read_in_database
from chat.export.document import moment
from chat.protocol.terms import SUBPROTOCOL_TOKEN
from chat.runs.worker import Worker
from chat.starts import user_of

from .addresses import unfit
from .calls import Call, Reply, Route
from .runs import check_has_lists

MAX_ORIGIN = 200  # characters
TAG = "access"


class TokenData(Struct, frozen=True, kw_only=True):
    """A token, without its secret. Without `models` it may use all of them."""

    id: str
    name: str
    scopes: list[str]
    models: list[str]
    origins: list[str]
    created_at: str
    expires_at: str | None


class LimitData(Struct, frozen=True, kw_only=True):
    """A limit, and what is used up of it.

    `runs` live at once, `questions` are of the last minute, and `tokens`, `searches` and `money` of
    the day. `whose`: it holds for this token alone, for the owner, or for the network address.
    """

    limit: LimitName
    whose: Whose
    most: float
    used: float
    left: float
    starts_again_at: str | None


class Me(Struct, frozen=True, kw_only=True):
    """Who asks: a person, a service, or a program without a token.

    `name` is that of the account or the service. `scopes` is what this program may do.
    """

    kind: Kind
    name: str
    scopes: list[str]
    token: TokenData | None
    limits: list[LimitData]


class TicketFor(Struct, frozen=True, forbid_unknown_fields=True):
    """The page that may use a ticket: its origin, such as https://shop.example."""

    origin: Annotated[str, Meta(max_length=MAX_ORIGIN, pattern=f"^{ORIGIN.pattern}$")]


class TicketData(Struct, frozen=True, kw_only=True):
    """A ticket for one socket of one page. The page offers `subprotocol` beside the usual one."""

    ticket: str
    subprotocol: str
    origin: str
    expires_at: str


async def me(call: Call) -> Reply:
    return Reply(await read_in_database(me_of, call))


async def ticket(call: Call) -> Reply:
    check_has_lists(call)
    asked: TicketFor = call.body
    try:
        origin = origin_of(asked.origin)
    except ValueError:
        raise unfit("origin", "it is an origin, such as https://shop.example") from None
    assert call.who.token_id
    made = await new_ticket(Worker.current().redis, call.who.token_id, origin)
    data = TicketData(
        ticket=made.text,
        subprotocol=f"{SUBPROTOCOL_TOKEN}{made.text}",
        origin=origin,
        expires_at=moment(made.expires_at),
    )
    return Reply(data, status=201)


def me_of(call: Call) -> Me:
    who = call.who
    token = Token.objects.filter(pk=who.token_id).first() if who.token_id else None
    return Me(
        kind=who.owner.kind,
        name=name_of(who.owner),
        scopes=list(token.scopes) if token else list(SCOPES),
        token=token_data(token) if token else None,
        limits=[limit_data(each) for each in usage_of(who, token.limits if token else None)],
    )


def name_of(owner: Owner) -> str:
    """Return the name of a user or a service; empty for other owners."""
    if owner.kind == "service":
        return owner.id
    user = user_of(owner)
    return user.get_username() if user else ""


def token_data(token: Token) -> TokenData:
    return TokenData(
        id=token.pk,
        name=token.name,
        scopes=token.scopes,
        models=token.model_ids,
        origins=token.origins,
        created_at=moment(token.created_at),
        expires_at=moment(token.expires_at) if token.expires_at else None,
    )


def limit_data(used: Used) -> LimitData:
    again = used.starts_again_at
    return LimitData(
        limit=used.bound.limit,
        whose=used.bound.whose,
        most=used.bound.most,
        used=used.amount,
        left=max(0, used.bound.most - used.amount),
        starts_again_at=moment(again) if again else None,
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/me",
        me,
        "Show who asks, and what is left of the limits.",
        "any",
        gives=Me,
        tag=TAG,
    ),
    Route(
        "POST",
        "/api/v1/tickets",
        ticket,
        "Make a ticket with which a page of another site opens one socket within 60 s.",
        "ask",
        body=TicketFor,
        gives=TicketData,
        status=201,
        tag=TAG,
    ),
)
