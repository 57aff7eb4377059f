"""What every search provider is to the tool that searches."""

from typing import Any, Protocol

from .results import Output


class SearchProvider(Protocol):
    """The client of one provider in one event loop."""

    account: str  # part of the cache's keys, without secrets

    async def search(self, request: dict[str, Any]) -> Output:
        """Return the pages found, or raise ToolFailure. `request` is in Tavily's words."""
        ...

    async def aclose(self) -> None: ...
