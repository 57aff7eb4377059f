"""What the tools of one event loop share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from .cache import ToolCache

if TYPE_CHECKING:
    # Importing the Tavily client takes 0.5 s; `open_services` imports it only if search is on.
    from .mcp.servers import Servers
    from .pages.reader import PageReader
    from .searching import SearchProvider


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Services:
    """The clients and the clock of one event loop. Call `aclose` before the loop ends."""

    cache: ToolCache | None = None
    search: "SearchProvider | None" = None
    pages: "PageReader | None" = None  # none are opened
    mcp: "Servers | None" = None  # none configured
    now: Callable[[], datetime] = utc_now
    zone: tzinfo = UTC  # for questions that name no place
    only: frozenset[str] | None = None  # the tools that there are; None: all
    # Tools that cannot work: until when, and why.
    closed: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def close_tool(self, name: str, *, until: datetime, why: str) -> None:
        self.closed[name] = (until, why)

    def why_closed(self, name: str) -> str:
        """Return why this tool cannot work now, or an empty string if it can."""
        until, why = self.closed.get(name, (self.now(), ""))
        return why if self.now() < until else ""

    async def aclose(self) -> None:
        if self.mcp:
            await self.mcp.aclose()
        if self.search:
            await self.search.aclose()
        if self.pages:
            await self.pages.aclose()
        if self.cache:
            await self.cache.aclose()
