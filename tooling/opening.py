"""Open what the tools of one event loop share."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .bounded import BoundedRedis
from .cache import ToolCache
from .results import TtlClass
from .services import Services, utc_now
from .tables import McpTable, ToolTable

if TYPE_CHECKING:
    from .mcp.pins import InDatabase


def open_services(
    *,
    redis_url: str,
    search: Literal["on", "off", "keyless", "searxng"],
    tavily_key: str,
    tavily_url: str,
    ttl: Mapping[TtlClass, float],
    searxng_url: str = "",
    read_pages: bool = False,
    proxies: Mapping[str, str] = MappingProxyType({}),
    mcp: Mapping[str, McpTable] = MappingProxyType({}),
    limits: Mapping[str, ToolTable] = MappingProxyType({}),
    secrets: Collection[str] = (),
    wanted: Collection[str] = (),
    in_database: "InDatabase | None" = None,
    zone: tzinfo = UTC,
    now: Callable[[], datetime] = utc_now,
) -> Services:
    """Return what the tools of the running event loop share; the caller closes it with the loop.

    Without a `redis_url` no result is kept. `limits` are those of the tools of `mcp` servers, whose
    definitions are looked up by calls that run `in_database`; without it all are accepted.
    `secrets` are taken out of what these servers say. Those `wanted` tools that they don't have are
    logged.
    """
    services = Services(now=now, zone=zone)
    if redis_url:
        services.cache = ToolCache(BoundedRedis(redis_url), ttl=ttl, now=now)
    if search == "searxng":
        # Importing httpx takes 0.1 s.
        from .searxng import SearxngClient  # noqa: PLC0415

        services.search = SearxngClient(base_url=searxng_url, proxies=proxies)
    elif search != "off":
        # Importing the Tavily client takes 0.5 s, so import it only if search is on.
        from .searchclient import SearchClient  # noqa: PLC0415

        services.search = SearchClient(
            api_key=tavily_key if search == "on" else "", base_url=tavily_url
        )
    if read_pages:
        # Importing aiohttp and what it needs takes 0.3 s.
        from .pages.fetching import Fetcher  # noqa: PLC0415
        from .pages.reader import PageReader  # noqa: PLC0415

        services.pages = PageReader(Fetcher(proxies=proxies))
    if mcp:
        # Importing the SDK takes 0.7 s.
        from .mcp.pins import Pins, all_open  # noqa: PLC0415
        from .mcp.servers import Servers  # noqa: PLC0415

        judge = Pins(in_database, mcp).judge if in_database else all_open
        services.mcp = Servers(mcp, limits, judge, secrets, wanted)
    return services
