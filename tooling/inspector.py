"""Read and delete cached results, for the admin. Each call does a bounded amount of work."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec

from .bounded import blocking_client
from .decoding import UNREADABLE_JSON
from .entries import CLOSED_INDEX, CLOSED_PREFIX, DAY_PREFIX, PREFIX, About, failure_in, unpacked
from .services import utc_now

PAGE_SIZE = 50  # entries; a page ends with the batch that reaches it
BATCH = 100  # keys that one SCAN asks for
MAX_EXAMINED = 5000  # entries that are read for one page
MAX_PAGE_SECONDS = 1.0
COUNT_BATCH = 2000
MAX_COUNT_SECONDS = 0.3
MAX_DELETE_SECONDS = 5.0
MEMORY_SAMPLE = 200  # entries whose memory is measured
DAYS = 7
TOOL, DIGEST = r"[a-z_]{1,50}", r"[0-9a-f]{64}"
_KEY = re.compile(rf"{PREFIX}{TOOL}:{DIGEST}".encode())


@dataclass(frozen=True, slots=True)
class CachedEntry:
    """A cached result as the list shows it."""

    tool: str
    digest: str
    about: About
    fetched_at: datetime
    fresh_until: datetime
    seconds_left: float  # until Redis deletes it
    hits: int
    credits: float
    now: datetime

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.tool}:{self.digest}"

    @property
    def age(self) -> float:
        return max(0, (self.now - self.fetched_at).total_seconds())

    @property
    def is_fresh(self) -> bool:
        return self.now < self.fresh_until


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the entries, the newest first. Pages as such are in no order."""

    entries: list[CachedEntry]
    next_cursor: int  # 0 at the end
    examined: int


@dataclass(frozen=True, slots=True)
class Day:
    """The counters of one day."""

    date: str
    hits: int = 0
    misses: int = 0
    stale: int = 0
    bypass: int = 0
    upstream: int = 0
    credits_spent: float = 0
    credits_saved: float = 0

    @property
    def hit_rate(self) -> float | None:
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


@dataclass(frozen=True, slots=True)
class Closed:
    """A tool that is not called for a while, because the provider would refuse."""

    tool: str
    why: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Totals:
    """The size of the cache, or of a part if counting took too long, and the days' counters."""

    entries: int
    all_counted: bool
    memory: int | None  # bytes; None if Redis does not report it
    memory_estimated: bool
    days: list[Day] = field(default_factory=list)  # today first


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of deleted entries, and False if there was no time for all."""

    count: int
    finished: bool


class Inspector:
    """A client of its own for the admin's threads. It raises redis-py's errors."""

    def __init__(self, url: str, *, now: Callable[[], datetime] = utc_now) -> None:
        self._client = blocking_client(url)
        self._now = now

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def page(self, *, tool: str = "", text: str = "", cursor: int = 0) -> Page:
        """Return the next entries of this tool whose query, topic or key contains the text."""
        end = time.monotonic() + MAX_PAGE_SECONDS
        found: dict[bytes, CachedEntry] = {}
        examined = 0
        while True:
            cursor, keys = self.scan(tool, cursor, BATCH)
            examined += len(keys)
            found |= {key: entry for key, entry in self.entries(keys) if matches(entry, text)}
            # SCAN may return empty batches, so count the entries and the time, not the batches.
            if (
                not cursor
                or len(found) >= PAGE_SIZE
                or examined >= MAX_EXAMINED
                or time.monotonic() > end
            ):
                return Page(
                    sorted(found.values(), key=lambda entry: entry.fetched_at, reverse=True),
                    cursor,
                    examined,
                )

    def entry(self, tool: str, digest: str) -> tuple[CachedEntry, Any] | None:
        """Return an entry with its value as plain JSON types: None if it cannot be read."""
        key = f"{PREFIX}{tool}:{digest}".encode()
        for _, entry in self.entries([key]):
            body = cast("bytes | None", self._client.hget(key.decode(), "body"))
            output = unpacked(body) if body else None
            return entry, msgspec.to_builtins(output) if output else None
        return None

    def delete(self, tool: str, digest: str) -> bool:
        """Delete one entry; return False if it does not exist."""
        return bool(self._client.unlink(f"{PREFIX}{tool}:{digest}"))

    def delete_matching(self, *, tool: str, text: str) -> Deleted:
        """Delete the entries that `page` would find, for at most MAX_DELETE_SECONDS."""
        end = time.monotonic() + MAX_DELETE_SECONDS
        cursor, count = 0, 0
        while True:
            cursor, keys = self.scan(tool, cursor, COUNT_BATCH)
            if text:
                keys = [key for key, entry in self.entries(keys) if matches(entry, text)]
            count += self._client.unlink(*keys) if keys else 0
            if not cursor or time.monotonic() > end:
                return Deleted(count, finished=not cursor)

    def count_matching(self, *, tool: str, text: str) -> tuple[int, bool]:
        """Return how many entries `delete_matching` would delete, and True if all were counted."""
        end = time.monotonic() + MAX_PAGE_SECONDS
        cursor, count = 0, 0
        while True:
            cursor, keys = self.scan(tool, cursor, COUNT_BATCH)
            count += (
                sum(matches(entry, text) for _, entry in self.entries(keys)) if text else len(keys)
            )
            if not cursor or time.monotonic() > end:
                return count, not cursor

    def totals(self) -> Totals:
        """Count the entries and estimate their memory, for at most MAX_COUNT_SECONDS."""
        end = time.monotonic() + MAX_COUNT_SECONDS
        cursor, entries = 0, 0
        sample: list[bytes] = []
        while True:
            cursor, keys = self.scan("", cursor, COUNT_BATCH)
            entries += len(keys)
            sample += keys[: MEMORY_SAMPLE - len(sample)]
            if not cursor or time.monotonic() > end:
                break
        return Totals(
            entries, not cursor, self.memory(sample, entries), entries > len(sample), self.days()
        )

    def closed(self) -> list[Closed]:
        """Return the tools that are closed now, with the failures that closed them."""
        rows = []
        for key in cast("set[bytes]", self._client.smembers(CLOSED_INDEX)):
            why, left = cast("bytes | None", self._client.get(key)), self._client.pttl(key)
            if why is not None:
                rows.append(Closed(tool_of(key), failure_in(why).message, max(0, left) / 1000))
        return rows

    def reopen(self, tool: str) -> int:
        """Allow calls of this tool again, for all accounts. Return how many were closed."""
        # The index lists the keys, because a SCAN for them could take seconds.
        keys = [
            key
            for key in cast("set[bytes]", self._client.smembers(CLOSED_INDEX))
            if tool_of(key) == tool
        ]
        return self._client.unlink(*keys) if keys else 0

    def scan(self, tool: str, cursor: int, count: int) -> tuple[int, list[bytes]]:
        reply = self._client.scan(cursor, match=f"{PREFIX}{tool or '*'}:*", count=count)
        cursor, keys = cast("tuple[int, list[bytes]]", reply)
        # The pattern may match keys of other programs; leave them out.
        return cursor, [key for key in keys if _KEY.fullmatch(key)]

    def entries(self, keys: list[bytes]) -> Iterator[tuple[bytes, CachedEntry]]:
        """Yield the entries at these keys; leave out those that expired or cannot be read."""
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.hmget(key.decode(), ["about", "fetched", "soft", "hits", "credits"])
            pipe.pttl(key.decode())
        replies = pipe.execute(raise_on_error=False)
        now = self._now()
        for key, fields, left in zip(keys, replies[::2], replies[1::2], strict=True):
            if (
                isinstance(fields, list)
                and isinstance(left, int)
                and (entry := entry_of(key, fields, left, now))
            ):
                yield key, entry

    def memory(self, sample: list[bytes], entries: int) -> int | None:
        """Estimate the bytes of all entries from the sample; None if Redis reports no sizes."""
        if not sample:
            return 0
        pipe = self._client.pipeline(transaction=False)
        for key in sample:
            pipe.memory_usage(key.decode())
        sizes = [size for size in pipe.execute(raise_on_error=False) if isinstance(size, int)]
        return round(sum(sizes) / len(sizes) * entries) if sizes else None

    def days(self) -> list[Day]:
        """Return the counters of the last days, today first."""
        today = self._now().astimezone(UTC).date()
        dates = [str(today - timedelta(days=back)) for back in range(DAYS)]
        pipe = self._client.pipeline(transaction=False)
        for date in dates:
            pipe.hgetall(f"{DAY_PREFIX}{date}")
        days = []
        for date, fields in zip(
            dates, cast("list[dict[bytes, bytes]]", pipe.execute()), strict=True
        ):
            counters = {
                name.decode(): float(value)
                for name, value in fields.items()
                if name.decode() in Day.__slots__
            }
            days.append(msgspec.convert({"date": date, **counters}, type=Day, strict=False))
        return days


def tool_of(closed_key: bytes) -> str:
    return closed_key.decode().removeprefix(CLOSED_PREFIX).partition(":")[0]


def entry_of(
    key: bytes, fields: list[bytes | None], left: int, now: datetime
) -> CachedEntry | None:
    """Return the entry with these fields, or None if one of them cannot be read."""
    about, fetched, soft, hits, credits_ = fields
    tool, _, digest = key.decode().removeprefix(PREFIX).partition(":")
    try:
        return CachedEntry(
            tool=tool,
            digest=digest,
            about=msgspec.json.decode(about or b"", type=About),
            fetched_at=datetime.fromtimestamp(float(fetched or 0), UTC),
            fresh_until=datetime.fromtimestamp(float(soft or 0), UTC),
            seconds_left=max(0, left) / 1000,
            hits=int(hits or 0),
            credits=float(credits_ or 0),
            now=now,
        )
    except (*UNREADABLE_JSON, ValueError, OverflowError, OSError):
        return None


def matches(entry: CachedEntry, text: str) -> bool:
    needle = text.strip().lower()
    return any(needle in hay.lower() for hay in (entry.about.query, entry.about.topic, entry.key))
