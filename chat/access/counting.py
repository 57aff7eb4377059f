"""What the rows of runs say of limits, for as long as the counts in Redis can't be trusted."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import QuerySet
from django.utils import timezone

from chat.protocol.errors import ProtocolError

from .limits import Bound
from .owners import TERMINAL
from .reached import reached
from .spending import DayUse

if TYPE_CHECKING:
    from chat.models import Run

MINUTE = timedelta(minutes=1)


class Who(NamedTuple):
    """Whom the row of a run counts for."""

    owner: str
    address: str
    token_id: str | None

    def is_of(self, bound: Bound) -> bool:
        match bound.whose:
            case "owner":
                return self.owner == bound.subject
            case "address":
                return f"address:{self.address}" == bound.subject
            case "token":
                return f"token:{self.token_id}" == bound.subject
            case "site":
                return self.owner != str(TERMINAL)


def check_rows(runs: "QuerySet[Run]", bounds: Sequence[Bound]) -> None:
    """Raise ProtocolError if the rows show that one of these limits is reached.

    Call it in the transaction that stores the new run: others then wait for that.
    """
    if not bounds:
        return
    DayUse.objects.lock()
    live, asked = live_runs(runs), questions(runs)
    for bound in bounds:
        most = int(bound.most)
        if bound.limit == "runs" and count_of(bound, live) >= most:
            raise ProtocolError(reached(bound))
        if bound.limit == "questions" and len(times := times_of(bound, asked)) >= most:
            oldest = times[most - 1] if most else timezone.now()
            wait = oldest + MINUTE - timezone.now()
            raise ProtocolError(reached(bound, wait.total_seconds()))


# Each is one query by an index whose rows are few at any time. Those of one owner, or of one
# address, may be many.


def live_runs(runs: "QuerySet[Run]") -> list[Who]:
    """Return whom each live run counts for."""
    live = runs.filter(status="running").order_by()
    return [Who(*row) for row in live.values_list("owner", "address", "token")]


def questions(runs: "QuerySet[Run]") -> list[tuple[datetime, Who]]:
    """Return when the questions of the last minute were asked, newest first, and of whom."""
    recent = runs.filter(created_at__gt=timezone.now() - MINUTE).order_by("-created_at")
    columns = ("created_at", "continues", "owner", "address", "token")
    return [
        (created_at, Who(*who))
        for created_at, continues, *who in recent.values_list(*columns)
        if continues is None  # A reply is no question.
    ]


def count_of(bound: Bound, live: Sequence[Who]) -> int:
    """Return how many of these runs count for the subject of this bound."""
    return sum(who.is_of(bound) for who in live)


def times_of(bound: Bound, asked: Sequence[tuple[datetime, Who]]) -> list[datetime]:
    """Return when those of these questions were asked that count for the subject of this bound."""
    return [created_at for created_at, who in asked if who.is_of(bound)]
