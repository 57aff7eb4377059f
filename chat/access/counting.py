"""What the rows of runs say of limits, for as long as the counts in Redis can't be trusted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils import timezone

from chat.protocol.errors import ProtocolError

from .limits import Bound
from .reached import reached
from .spending import DayUse

if TYPE_CHECKING:
    from chat.models import Run

MINUTE = timedelta(minutes=1)


def check_rows(runs: "QuerySet[Run]", bounds: Sequence[Bound]) -> None:
    """Raise ProtocolError if the rows show that one of these limits is reached.

    Call it in the transaction that stores the new run: others then wait for that.
    """
    if bounds:
        DayUse.objects.lock()
    for bound in bounds:
        if bound.limit == "runs":
            if live_of(runs, bound).count() >= bound.most:
                raise ProtocolError(reached(bound))
        elif bound.limit == "questions":
            wait = wait_for_question(runs, bound)
            if wait is not None:
                raise ProtocolError(reached(bound, wait))


def live_of(runs: "QuerySet[Run]", bound: Bound) -> "QuerySet[Run]":
    """Return the live runs that count for the subject of this bound."""
    return runs.filter(of_subject(bound), status="running").order_by()


def questions_of(runs: "QuerySet[Run]", bound: Bound) -> "QuerySet[Run]":
    """Return the runs of the last minute's questions, newest first. A reply is no question."""
    recent = runs.filter(of_subject(bound), created_at__gt=timezone.now() - MINUTE, continues=None)
    return recent.order_by("-created_at")


def wait_for_question(runs: "QuerySet[Run]", bound: Bound) -> float | None:
    """Return the seconds until another question may be asked; None if one may be now."""
    most = int(bound.most)
    asked = list(questions_of(runs, bound).values_list("created_at", flat=True)[: max(1, most)])
    if len(asked) < most:
        return None
    oldest = asked[-1] if asked else timezone.now()
    return (oldest + MINUTE - timezone.now()).total_seconds()


def of_subject(bound: Bound) -> Q:
    """Return which runs count for the subject of this bound."""
    match bound.whose:
        case "token":
            return Q(token=bound.subject.removeprefix("token:"))
        case "owner":
            return Q(owner=bound.subject)
        case "address":
            return Q(address=bound.subject.removeprefix("address:"))
        case "site":
            return ~Q(owner="terminal:")
