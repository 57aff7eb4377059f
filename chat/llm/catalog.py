"""What the model server tells of itself: its models, how much each of them reads, its base URL."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

from msgspec.structs import replace

from .base_urls import OPENAI, candidates
from .connection import Connection, Reply
from .faults.complaints import complaint_of
from .faults.verdicts import Kind, ServerError, kind_of
from .listing import Listing, models_in
from .probes import is_needed, with_windows
from .servers import as_in_file, name_at
from .windows import Budget, Window

logger = logging.getLogger(__name__)

LOADING = "is still loading a model"  # a problem of a listing
# Seconds
LIST_TIMEOUT = 5.0
REFRESH_INTERVAL = 300.0
RETRY_INTERVAL = 15.0  # after a failure
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # the key is refused


class Catalog:
    """What one server tells. It is asked in the background, because a run must not wait for it.

    `models` are the names that requests use. If it `is_offered`, people may choose from what is
    listed.
    """

    is_offered = True

    def __init__(
        self, connection: Connection, *, budget: Budget, models: Sequence[str] = ()
    ) -> None:
        self.listing = Listing(connection.base_url)
        self._connection = connection
        self._configured = connection.base_url
        self._budget = budget
        self._asked = dict.fromkeys(filter(None, models))  # in their order
        self._logged: set[str] = set()
        self._has_looked = asyncio.Event()

    async def keep_fresh(self) -> None:
        """Ask the server again and again."""
        while True:
            listing = await self.refresh()
            await asyncio.sleep(RETRY_INTERVAL if listing.problem else REFRESH_INTERVAL)

    async def refresh(self) -> Listing:
        """Ask the server now. Its requests use the base URL under which it lists its models."""
        server = self._connection.at(self._configured)
        found = await look(server, list(self._asked))
        if found.problem:
            # What it told before is still the best guess.
            found = replace(self.listing, problem=found.problem)
        else:
            self._connection.base_url = found.base_url
        self.listing = found
        if self.is_offered:
            Listing.latest = found
        self._has_looked.set()
        self.log()
        return found

    async def first_look(self) -> None:
        """Wait until the server was asked for the first time, for at most LIST_TIMEOUT."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LIST_TIMEOUT):
                await self._has_looked.wait()

    def window(self, model: str, budget: Budget | None = None) -> Window:
        """Return what one call to the model may hold, within a budget of its own if it has one."""
        self._asked.setdefault(model)
        return (budget or self._budget).window(model, self.listing)

    async def fault(self) -> str:
        """Return why the server can't be used, or an empty string. Don't ask a model."""
        try:
            reply = await self._connection.get("models", timeout=LIST_TIMEOUT)
        except ServerError as exc:
            return f"the model server {problem_reaching(exc)}"
        problem = problem_of(reply)
        return f"the model server {problem}" if problem else ""

    def log(self) -> None:
        """Log what operators should know of the listing, once."""
        listing, allowed = self.listing, self._budget.context_tokens
        # A model that is being loaded is none: the built-in one is at each start of a fleet.
        if listing.problem and listing.problem != LOADING:
            self.log_once(f"the model server {listing.problem}")
        if listing.base_url != self._configured and not listing.problem:
            self.log_once("the model server answers below /v1, which OPENAI_BASE_URL leaves out")
        for name in self._asked:
            model, told = listing.find(name), listing.read_by(name)
            if listing.models and not model and not listing.takes_any_name:
                self.log_once(f"model={name} is not among the models that its server lists")
            if allowed and told and told < allowed:
                self.log_once(
                    f"model={name} reads {told} tokens, but FLEET_CONTEXT_TOKENS is {allowed};"
                    + (" the rest is lost" if model and model.cuts_silently else " more may fail")
                )

    def log_once(self, words: str) -> None:
        if words not in self._logged:
            self._logged.add(words)
            server = self._connection.server
            name = name_at(server)
            place = f"server={server} " if name else ""
            logger.warning("%s%s", place, as_in_file(words, name))


async def look(server: Connection, wanted: Sequence[str]) -> Listing:
    """Return what a server lists, also of how much the `wanted` models read.

    Its base URL is the one as written, or that with /v1, if only that one has a list.
    """
    problem = ""
    for base_url in candidates(server.base_url):
        try:
            reply = await server.at(base_url).get("models", timeout=LIST_TIMEOUT)
        except ServerError as exc:
            return Listing(server.base_url, problem=problem_reaching(exc))
        is_ok = reply.status == HTTPStatus.OK
        # Long listings take too long to read for the event loop.
        models = await asyncio.to_thread(models_in, reply.body) if is_ok else None
        if models is not None:
            listing = Listing(base_url, models)
            break
        problem = problem or problem_of(reply)
    else:
        listing = Listing(server.base_url, problem=problem)
    # OpenAI itself tells no windows.
    if listing.problem or listing.base_url == OPENAI or not is_needed(listing, wanted):
        return listing
    return await with_windows(server, listing, wanted)


def problem_reaching(exc: ServerError) -> str:
    if exc.kind is Kind.LOADING:
        return LOADING
    return f"cannot be reached: {exc.complaint.body}"


def problem_of(reply: Reply) -> str:
    """Return what a reply says against the server. Not every one lists its models."""
    status = reply.status
    if status < HTTPStatus.BAD_REQUEST:
        return ""
    kind = kind_of(complaint_of(reply.body, status=status, headers=reply.headers))
    if kind is Kind.WRONG_KEY or status in UNAUTHORIZED:
        return f"refuses the key (status {status})"
    if kind is Kind.LOADING:
        return LOADING
    return f"answers with status {status}" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
