"""What the tools of one event loop share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from .cache import ToolCache

if TYPE_CHECKING:
    # Half a second that nobody waits who has not turned search on.
    from .searchclient import SearchClient


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Services:
    """Clients and clock of one event loop; `aclose` when the loop ends."""

    cache: ToolCache | None = None
    search: "SearchClient | None" = None
    now: Callable[[], datetime] = utc_now
    zone: tzinfo = UTC  # of questions that name no place
    closed: dict[str, tuple[datetime, str]] = field(
        default_factory=dict
    )  # tools that cannot work until then, and why

    def close_tool(self, name: str, *, until: datetime, why: str) -> None:
        self.closed[name] = (until, why)

    def why_closed(self, name: str) -> str:
        """Why this tool cannot work now; empty if it can."""
        until, why = self.closed.get(name, (self.now(), ""))
        return why if self.now() < until else ""

    async def aclose(self) -> None:
        if self.search:
            await self.search.aclose()
        if self.cache:
            await self.cache.aclose()
