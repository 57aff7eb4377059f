"""Which definitions of MCP tools may be used: those that were accepted.

The first definitions of a server are, because its operator has configured it. What it changes or
adds later is closed until an operator accepts it: a description alone can mislead models.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from operator import attrgetter
from typing import Protocol

import msgspec
from django.db import Error as DatabaseProblem
from django.db import transaction
from django.db.models import Min
from django.db.models.functions import Now
from django.utils import timezone

from tooling.models import Defined, PinnedTool
from tooling.schema import Parameters
from tooling.sentences import sentence
from tooling.tables import McpTable

logger = logging.getLogger(__name__)

# From its first tool, in which the others of a server count as first ones, too: each of several
# workers may see only some of them.
MEETING = timedelta(minutes=10)
MAX_PINNED = 1000  # tools of a server, which may have another name each time
DATABASE_TIMEOUT = 5.0  # seconds
MAX_SHOWN = 5  # names in a line of the log

CHANGED = sentence("The definition of %(tool)s has changed; an operator must accept it.")
ADDED = sentence("%(tool)s is new; an operator must accept it.")
TOO_MANY = sentence("%(tool)s cannot be used: its server has had too many tools.")
UNKNOWN = sentence(
    "%(tool)s cannot be used while the database does not tell whether its definition was accepted."
)


class Definition(Protocol):
    """A tool, as its server defines it: `name` is the one that models call it by."""

    @property
    def tool(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> Parameters: ...


class InDatabase(Protocol):
    """Runs a call that uses the database."""

    def __call__[R](self, call: Callable[[], R], /) -> Awaitable[R]: ...


type Judge = Callable[[str, Sequence[Definition]], Awaitable[Mapping[str, str]]]


async def all_open(server: str, definitions: Sequence[Definition]) -> Mapping[str, str]:
    """Judge every definition to be accepted."""
    return {}


@dataclass(frozen=True, slots=True)
class Seen:
    """A definition that a server has now."""

    tool: str
    name: str
    text: str  # canonical JSON
    digest: str

    @classmethod
    def of(cls, definition: Definition) -> "Seen":
        defined = Defined(definition.tool, definition.description, definition.parameters.schema)
        text = msgspec.json.encode(defined, order="sorted")
        return cls(definition.tool, definition.name, text.decode(), sha256(text).hexdigest())


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why tools are closed, by the names that models call them by, and which were found so now."""

    closed: dict[str, str]
    found: list[str] = field(default_factory=list)


class Pins:
    """Judges the definitions of the configured servers for one process."""

    def __init__(self, in_database: InDatabase, tables: Mapping[str, McpTable]) -> None:
        self._in_database = in_database
        self._tables = tables
        self._blind: set[str] = set()  # servers of which the database tells nothing
        self._told: dict[str, set[str]] = {}  # by server, the tools that the log has named

    async def judge(self, server: str, definitions: Sequence[Definition]) -> Mapping[str, str]:
        """Return why tools of a server must not be used, by the names that models call them by.

        A tool that is not named may be used. If the database doesn't answer, none may.
        """
        table = self._tables[server]
        named = {*table.read, *table.tools}
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                judgement = await self._in_database(lambda: judged(server, definitions, named))
        except (DatabaseProblem, TimeoutError) as exc:
            if server not in self._blind:
                # Once until it answers: it is asked again every few seconds.
                self._blind.add(server)
                reason = str(exc).partition("\n")[0] or type(exc).__name__
                logger.warning("MCP server %s: no definition can be looked up: %s", server, reason)
            return {each.name: UNKNOWN % {"tool": each.name} for each in definitions}
        self._blind.discard(server)
        self._tell(server, judgement.found)
        return judgement.closed

    def _tell(self, server: str, found: Sequence[str]) -> None:
        """Log what was found closed, once for each tool."""
        told = self._told.setdefault(server, set())
        names = [name for name in found if name not in told][: MAX_PINNED - len(told)]
        if not names:
            return
        told.update(names)
        more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
        logger.warning(
            "MCP server %s has changed or added %s%s, closed until an operator accepts it:"
            " `manage.py mcp diff %s`, then `manage.py mcp accept %s`",
            server,
            ", ".join(names[:MAX_SHOWN]),
            more,
            server,
            server,
        )


def judged(server: str, definitions: Sequence[Definition], named: Collection[str]) -> Judgement:
    """Compare definitions with the accepted ones, and store what is new. Uses the database.

    `named` are tools that the configuration names.
    """
    seen = [Seen.of(definition) for definition in definitions]
    pins = pins_of(server)
    judgement = Judgement({})
    if unknown := [each for each in seen if each.tool not in pins]:
        with transaction.atomic():
            judgement.found.extend(pin(server, unknown, named, len(pins)))
        pins = pins_of(server)
    for each in seen:
        match pins.get(each.tool):
            case None:
                judgement.closed[each.name] = TOO_MANY % {"tool": each.name}
            case row if row.accepted_digest == each.digest:
                if row.other_digest:
                    note(row, None)
            case row:
                why = CHANGED if row.accepted_digest else ADDED
                judgement.closed[each.name] = why % {"tool": each.name}
                if row.other_digest != each.digest and note(row, each):
                    judgement.found.append(each.name)
    return judgement


def pins_of(server: str) -> dict[str, PinnedTool]:
    rows = PinnedTool.objects.filter(server=server).defer("accepted", "other")
    return {row.tool: row for row in rows}


def pin(server: str, unknown: Sequence[Seen], named: Collection[str], count: int) -> list[str]:
    """Store tools at first sight. Return the names of those that this has found to be added."""
    first = PinnedTool.objects.filter(server=server).aggregate(at=Min("first_seen_at"))["at"]
    is_met = first is None or timezone.now() - first < MEETING
    found = []
    # In one order, or two workers that see the same would wait for each other.
    for each in sorted(unknown[: max(0, MAX_PINNED - count)], key=attrgetter("tool")):
        columns: dict[str, object] = (
            {"accepted": each.text, "accepted_digest": each.digest, "accepted_at": Now()}
            if is_met or each.tool in named
            else {"other": each.text, "other_digest": each.digest, "changed_at": Now()}
        )
        # Other workers see the same at the same time. The row of the first one counts.
        _, is_mine = PinnedTool.objects.get_or_create(
            server=server, tool=each.tool, defaults=columns
        )
        if is_mine and "other" in columns:
            found.append(each.name)
    return found


def note(row: PinnedTool, seen: Seen | None) -> bool:
    """Store the other definition that a tool has now, if any. Return False if it was stored."""
    return bool(
        PinnedTool.objects.filter(pk=row.pk)
        .exclude(other_digest=seen.digest if seen else "")
        # Accepted meanwhile: nothing is other any more.
        .filter(accepted_digest=row.accepted_digest)
        .update(
            other=seen.text if seen else "",
            other_digest=seen.digest if seen else "",
            changed_at=Now() if seen else None,
        )
    )
