"""What people and programs may spend, and for whom a request counts.

`settings.py` builds the limits once. A request counts for its token, for its owner, for its address
if it is anonymous, and for the site. The limit of each of them is a bound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .owners import Asker

type LimitName = Literal[
    "runs", "questions", "tokens", "searches", "money", "sockets", "handshakes"
]
type Whose = Literal["token", "owner", "address", "site"]

SITE = "site"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of one kind is allowed; None: any amount."""

    owner: float | None  # a user, a service, or a browser
    address: float | None  # of people and programs that are anonymous, which costs them nothing
    site: float | None  # everybody together


NO_LIMIT = Limit(None, None, None)


@dataclass(frozen=True, slots=True)
class Limits:
    runs: Limit  # that live at once
    questions: Limit  # a minute
    tokens: Limit  # read and written by models, a day (UTC)
    searches: Limit  # credits of the web search, a day
    money: Limit  # in the currency of the price list, a day
    message: int  # characters of a question
    sockets: Limit  # that are open at once
    handshakes: Limit  # a minute

    @property
    def by_name(self) -> dict[LimitName, Limit]:
        return {
            "runs": self.runs,
            "questions": self.questions,
            "tokens": self.tokens,
            "searches": self.searches,
            "money": self.money,
            "sockets": self.sockets,
            "handshakes": self.handshakes,
        }


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit as it holds for one of those that a request counts for."""

    limit: LimitName
    whose: Whose
    subject: str
    most: float


def subjects_of(asker: "Asker") -> dict[Whose, str]:
    """Return those that a request counts for.

    An anonymous script is nobody but its address: it names itself as it likes.
    """
    found: dict[Whose, str] = {}
    if asker.token_id:
        found["token"] = f"token:{asker.token_id}"
    if asker.owner.kind in ("user", "service", "browser"):
        found["owner"] = str(asker.owner)
    if asker.is_anonymous:
        found |= subject_of_address(asker.address)
    return {**found, "site": SITE}


def subject_of_address(address: str) -> dict[Whose, str]:
    """Return an address as what requests count for; nothing if it is unknown."""
    return {"address": f"address:{address}"} if address else {}


def bounds_of(
    names: Iterable[LimitName],
    subjects: Mapping[Whose, str],
    limits: Limits,
    own: Mapping[str, Any] | None = None,
) -> list[Bound]:
    """Return the limits with these names that hold for these subjects; `own` are the token's."""
    found: list[Bound] = []
    for name in names:
        limit = limits.by_name[name]
        most: dict[Whose, float | None] = {
            "token": own.get(name) if own else None,
            "owner": limit.owner,
            "address": limit.address,
            "site": limit.site,
        }
        for whose, subject in subjects.items():
            if (amount := most[whose]) is not None:
                found.append(Bound(name, whose, subject, amount))
    return found
