"""Let runs and sockets begin within the limits.

Redis counts them for all workers. Without it, or while it may not know what goes on already, the
rows count the runs, in the transaction that stores a new one, and each process counts its sockets.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from chat.access.claims import Claims, Full, LocalClaims, Place
from chat.access.counting import MINUTE
from chat.access.limits import SITE, Bound, LimitName, bounds_of, subject_of_address, subjects_of
from chat.access.owners import Asker
from chat.access.reached import ASK_AGAIN_AFTER, reached, too_long
from chat.access.spending import BY_DAY, DayUse
from chat.access.tokens import Token
from chat.database import in_database
from chat.deadlines import MAX_UNCLAIMED
from chat.models import Run
from chat.protocol.errors import ErrorInfo, ProtocolError
from chat.protocol.requests import ChatRequest, ReplyRequest
from tooling.bounded import BoundedRedis, RedisDown
from tooling.flights import Flights

MARGIN = 60.0  # seconds for what comes before and after the work of a run
STARTING = 15.0  # seconds in which a run is stored, or its start has failed


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who asks for a new run, and the bounds within which it may begin."""

    asker: Asker
    bounds: Sequence[Bound] = ()


def newcomer_of(asker: Asker, request: ChatRequest | ReplyRequest) -> Newcomer:
    """Return who asks for a new run. Raise ProtocolError if a limit of the day is used up.

    Reads the database.
    """
    if asker.owner.kind == "terminal":
        return Newcomer(asker)
    limits = settings.FLEET_LIMITS
    names: list[LimitName] = ["runs"]
    if isinstance(request, ChatRequest):
        if len(request.message) > limits.message:
            raise ProtocolError(too_long(request.message, limits.message))
        names.append("questions")
    own = check_day(asker)
    return Newcomer(asker, bounds_of(names, subjects_of(asker), limits, own))


def check_day(asker: Asker) -> Mapping[str, Any] | None:
    """Return the limits of the asker's token. Raise ProtocolError if one of the day is used up."""
    if asker.owner.kind == "terminal":
        return None
    own = None
    if asker.token_id:
        own = Token.objects.values_list("limits", flat=True).filter(pk=asker.token_id).first()
    DayUse.objects.check_day(bounds_of(BY_DAY, subjects_of(asker), settings.FLEET_LIMITS, own))
    return own


def runs_in(full: Sequence[Full]) -> set[str]:
    """Return the keys of the full places that runs take."""
    return {each.place.key for each in full if each.place.bound.limit == "runs"}


class Admission:
    """Lets what one event loop serves begin, or refuses it."""

    def __init__(self, redis: BoundedRedis) -> None:
        # A run that lost its worker may wait this long for another one.
        waits = MAX_UNCLAIMED.total_seconds()
        self._longest = settings.FLEET_DEADLINES.runtime + waits + MARGIN
        self._claims = Claims(redis, trusted_after=self._longest)
        self._here = LocalClaims()
        self._looks: Flights[None] = Flights()

    # --- Runs

    async def admit_run(self, run_id: UUID, bounds: Sequence[Bound]) -> Sequence[Bound]:
        """Let a run begin. Return the bounds that its rows must be checked against, too.

        Raise ProtocolError if it must not begin. A run gives no place back when it ends: that is
        found out when the place is needed, so that no death of a worker can block one.
        """
        places = self._places(bounds)
        if not places:
            return ()
        try:
            full = await self._claims.claim(str(run_id), places)
            looked_at: set[str] = set()
            # A place that was free at first may have been taken while another one was looked at.
            while unseen := runs_in(full) - looked_at:
                await self._forget_ended(full)
                looked_at |= unseen
                full = await self._claims.claim(str(run_id), places)
        except RedisDown:
            return bounds
        if full:
            raise ProtocolError(refusal_of(full))
        return bounds if self._claims.may_lack_some else ()

    async def give_back(self, run_id: UUID, bounds: Sequence[Bound]) -> None:
        """Take back what a run has claimed that didn't begin after all."""
        await self._claims.release([str(run_id)], self._places(bounds))

    async def _forget_ended(self, full: Sequence[Full]) -> None:
        """Free the places of runs that have ended. Those who wait for the same one share a look."""
        for place in (each.place for each in full if each.place.bound.limit == "runs"):
            await self._looks.join(place.key, partial(self._look_at, place))

    async def _look_at(self, place: Place) -> None:
        ages = await self._claims.ages(place)
        if ended := await in_database(ended_among, ages):
            await self._claims.release(ended, [place])

    async def counts(self, bounds: Sequence[Bound]) -> list[int]:
        """Return how much of each of these bounds is taken now. Raise RedisDown."""
        places = self._places(bounds)
        return await self._claims.counts(places) if places else []

    # --- Sockets, and requests at doors

    async def admit_socket(self, socket_id: str, address: str) -> None:
        """Let a socket be served. Raise ProtocolError if it must not be."""
        places = self._places(socket_bounds(address))
        full = self._here.claim(socket_id, places)
        if not full and places:
            with suppress(RedisDown):
                full = await self._claims.claim(socket_id, places)
            if full:
                self._here.release(socket_id, places)
        if full:
            raise ProtocolError(refusal_of(full))

    async def release_socket(self, socket_id: str, address: str) -> None:
        """Note that a socket has closed."""
        places = [
            place
            for place in self._places(socket_bounds(address))
            if place.bound.limit == "sockets"
        ]
        self._here.release(socket_id, places)
        await self._claims.release([socket_id], places)

    def _places(self, bounds: Sequence[Bound]) -> list[Place]:
        minute = MINUTE.total_seconds()
        return [
            Place(bound, minute if bound.limit in ("questions", "handshakes") else self._longest)
            for bound in bounds
        ]


def socket_bounds(address: str) -> list[Bound]:
    """Return the bounds of a socket. Until its first frame, it is known by its address alone."""
    subjects = {**subject_of_address(address), "site": SITE}
    return bounds_of(("handshakes", "sockets"), subjects, settings.FLEET_LIMITS)


def ended_among(ages: Mapping[str, float]) -> list[str]:
    """Return those of these runs that have ended or were deleted, by their ages in seconds."""
    rows = Run.objects.filter(pk__in=ages).order_by().values_list("pk", "status")
    known = {str(pk): status for pk, status in rows}
    return [
        run_id
        for run_id, age in ages.items()
        # A run without a row may be about to be stored.
        if known.get(run_id, Run.Status.RUNNING if age < STARTING else None) != Run.Status.RUNNING
    ]


def refusal_of(full: Sequence[Full]) -> ErrorInfo:
    """Return why something may not begin: the reason that lasts longest."""

    def wait(each: Full) -> float:
        is_lasting = each.place.bound.limit in ("runs", "sockets")
        return ASK_AGAIN_AFTER if is_lasting else each.wait

    longest = max(full, key=wait)
    return reached(longest.place.bound, longest.wait)
