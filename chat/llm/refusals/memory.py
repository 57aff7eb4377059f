"""What a server refuses of a request: how the request changes, and for how long that is known."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chat.llm.faults.complaints import Complaint

from .changes import Change, Request, changed
from .parts import changes_for

logger = logging.getLogger(__name__)

REFUSAL_TTL = 3600.0  # Seconds a change is remembered: servers and models change.
MAX_CHANGES = 8  # of one request


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that is remembered. Its times are seconds since 1970."""

    server: str
    model: str
    change: Change
    since: float
    until: float


class Refusals:
    """What the models of one server refuse.

    A call keeps the changes that it makes itself, so calls at the same time don't disturb each
    other. They share only what has worked.
    """

    def __init__(self, server: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self._clock = clock
        # By model and part, each with the moment of the clock at which it is forgotten.
        self._known: dict[tuple[str, str], tuple[Refusal, float]] = {}
        self._unshared: set[tuple[str, str]] = set()

    def fit(self, request: Request, made: Sequence[Change] = ()) -> Request:
        """Return the request with the changes remembered for its model, and with those `made`."""
        return changed(request, [*self.remembered(request["model"]), *made])

    def change_for(
        self, request: Request, complaint: Complaint, made: Sequence[Change] = ()
    ) -> Change | None:
        """Return the change after which the server may take the request.

        `request` is as it was sent, with the changes that this call has `made` already. Return None
        if no part of it is refused, or if nothing is left to change.
        """
        if len(made) >= MAX_CHANGES:
            return None
        known = [*self.remembered(request["model"]), *made]
        taken = {change.part: change.form for change in known}
        changes = changes_for(request, complaint, taken)
        return next((change for change in changes if change.apply(request) != request), None)

    def remember(self, model: str, changes: Sequence[Change]) -> None:
        """Remember changes for REFUSAL_TTL. Call it when the server has taken the request."""
        for change in changes:
            # The room for an answer depends on the length of each request.
            if change.part != "room" and change not in self.remembered(model):
                now = time.time()
                refusal = Refusal(self.server, model, change, now, now + REFUSAL_TTL)
                self.learn(refusal)
                self._unshared.add((model, change.part))
                logger.warning(
                    "server=%s model=%s refused a part of a request: asked with “%s” until %s UTC",
                    *(self.server, model, change.name),
                    f"{datetime.fromtimestamp(refusal.until, UTC):%H:%M:%S}",
                )

    def remembered(self, model: str) -> list[Change]:
        """Return the changes that the requests to this model need."""
        now = self._clock()
        return [
            refusal.change
            for refusal, until in self._known.values()
            if refusal.model == model and now < until
        ]

    def unshared(self) -> list[Refusal]:
        """Return what was remembered here since it was last shared with other workers."""
        return [self._known[place][0] for place in self._unshared]

    def share(self, own: Iterable[Refusal], all_workers: Iterable[Refusal]) -> None:
        """Take over what all workers remember, now that `own` is part of it."""
        shared = list(own)
        # A refusal that was learned meanwhile waits for the next time.
        self._unshared = {place for place in self._unshared if self._known[place][0] not in shared}
        self._known = {place: self._known[place] for place in self._unshared}
        for refusal in all_workers:
            if refusal.server == self.server:
                place = (refusal.model, refusal.change.part)
                if place not in self._known:
                    self.learn(refusal)

    def learn(self, refusal: Refusal) -> None:
        # Another worker's clock may be ahead, so never remember for longer than the TTL.
        left = min(REFUSAL_TTL, refusal.until - time.time())
        self._known[refusal.model, refusal.change.part] = (refusal, self._clock() + left)
