"""What operators see of the tool cache, and what they may delete. Every call does a bounded amount of work, however much is kept."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .entries import CLOSED_INDEX, CLOSED_PREFIX, DAY_PREFIX, PREFIX, About, failure_in, unpacked
from .services import utc_now

PAGE = 50  # entries; a page ends at the end of a batch
BATCH = 100  # keys asked for at a time
MAX_EXAMINED = 5000  # entries looked at for one page
PAGE_SECONDS = 1.0
COUNT_BATCH = 2000
COUNT_SECONDS = 0.3
DELETE_SECONDS = 5.0
SAMPLE = 200  # entries measured for their memory
DAYS = 7
CALL_TIMEOUT = 1.0  # seconds that one call waits on Redis
TOOL, DIGEST = r"[a-z_]{1,50}", r"[0-9a-f]{64}"
_KEY = re.compile(rf"{PREFIX}{TOOL}:{DIGEST}".encode())


@dataclass(frozen=True, slots=True)
class CachedEntry:
    """A kept result as the list shows it."""

    tool: str
    digest: str
    about: About
    fetched_at: datetime
    fresh_until: datetime
    seconds_left: float  # until Redis forgets it
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
    """A part of the entries, in no order but newest first within it."""

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
    """A tool that no call is made to for a while, as none can succeed."""

    tool: str
    why: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is kept. What took too long to count is said to be a part, or estimated from a sample."""

    entries: int
    all_counted: bool
    memory: int | None  # bytes; None where Redis does not tell
    memory_estimated: bool
    days: list[Day] = field(default_factory=list)  # today first


@dataclass(frozen=True, slots=True)
class Deleted:
    count: int
    finished: bool


class Inspector:
    """Reads and deletes with a client of its own; redis-py's errors pass through."""

    def __init__(self, url: str, *, now: Callable[[], datetime] = utc_now) -> None:
        self._client = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=CALL_TIMEOUT,
            socket_connect_timeout=CALL_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._now = now

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def page(self, *, tool: str = "", text: str = "", cursor: int = 0) -> Page:
        """The next entries of this tool whose query, topic or key has the text in it."""
        end = time.monotonic() + PAGE_SECONDS
        found: dict[bytes, CachedEntry] = {}
        examined = 0
        while True:
            cursor, keys = self._scan(tool, cursor, BATCH)
            examined += len(keys)
            found |= {key: entry for key, entry in self._entries(keys) if matches(entry, text)}
            if (
                not cursor
                or len(found) >= PAGE
                or examined >= MAX_EXAMINED
                or time.monotonic() > end
            ):
                return Page(
                    sorted(found.values(), key=lambda entry: entry.fetched_at, reverse=True),
                    cursor,
                    examined,
                )

    def entry(self, tool: str, digest: str) -> tuple[CachedEntry, Any] | None:
        """One entry and its value as plain JSON types (None if it cannot be read)."""
        key = f"{PREFIX}{tool}:{digest}".encode()
        for _, entry in self._entries([key]):
            body = cast("bytes | None", self._client.hget(key.decode(), "body"))
            output = unpacked(body) if body else None
            return entry, msgspec.to_builtins(output) if output else None
        return None

    def delete(self, tool: str, digest: str) -> bool:
        return bool(self._client.unlink(f"{PREFIX}{tool}:{digest}"))

    def delete_matching(self, *, tool: str, text: str) -> Deleted:
        """Delete what `page` would find, for a few seconds at the most."""
        end = time.monotonic() + DELETE_SECONDS
        cursor, count = 0, 0
        while True:
            cursor, keys = self._scan(tool, cursor, COUNT_BATCH)
            if text:
                keys = [key for key, entry in self._entries(keys) if matches(entry, text)]
            count += self._client.unlink(*keys) if keys else 0
            if not cursor or time.monotonic() > end:
                return Deleted(count, finished=not cursor)

    def count_matching(self, *, tool: str, text: str) -> tuple[int, bool]:
        """How many entries `delete_matching` would delete, and whether that is all of them."""
        end = time.monotonic() + PAGE_SECONDS
        cursor, count = 0, 0
        while True:
            cursor, keys = self._scan(tool, cursor, COUNT_BATCH)
            count += (
                sum(matches(entry, text) for _, entry in self._entries(keys)) if text else len(keys)
            )
            if not cursor or time.monotonic() > end:
                return count, not cursor

    def totals(self) -> Totals:
        end = time.monotonic() + COUNT_SECONDS
        cursor, entries = 0, 0
        sample: list[bytes] = []
        while True:
            cursor, keys = self._scan("", cursor, COUNT_BATCH)
            entries += len(keys)
            sample += keys[: SAMPLE - len(sample)]
            if not cursor or time.monotonic() > end:
                break
        return Totals(
            entries, not cursor, self._memory(sample, entries), entries > len(sample), self._days()
        )

    def closed(self) -> list[Closed]:
        rows = []
        for key in cast("set[bytes]", self._client.smembers(CLOSED_INDEX)):
            why, left = cast("bytes | None", self._client.get(key)), self._client.pttl(key)
            if why is not None:
                rows.append(Closed(tool_of(key), failure_in(why).message, max(0, left) / 1000))
        return rows

    def reopen(self, tool: str) -> int:
        """Let calls of this tool be made again."""
        keys = [
            key
            for key in cast("set[bytes]", self._client.smembers(CLOSED_INDEX))
            if tool_of(key) == tool
        ]
        return self._client.unlink(*keys) if keys else 0

    def _scan(self, tool: str, cursor: int, count: int) -> tuple[int, list[bytes]]:
        reply = self._client.scan(cursor, match=f"{PREFIX}{tool or '*'}:*", count=count)
        cursor, keys = cast("tuple[int, list[bytes]]", reply)
        # What is no entry of ours is left out, not a fault of the page.
        return cursor, [key for key in keys if _KEY.fullmatch(key)]

    def _entries(self, keys: list[bytes]) -> Iterator[tuple[bytes, CachedEntry]]:
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
                and (entry := _entry(key, fields, left, now))
            ):
                yield key, entry

    def _memory(self, sample: list[bytes], entries: int) -> int | None:
        if not sample:
            return 0
        pipe = self._client.pipeline(transaction=False)
        for key in sample:
            pipe.memory_usage(key.decode())
        sizes = [size for size in pipe.execute(raise_on_error=False) if isinstance(size, int)]
        return round(sum(sizes) / len(sizes) * entries) if sizes else None

    def _days(self) -> list[Day]:
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


def _entry(key: bytes, fields: list[bytes | None], left: int, now: datetime) -> CachedEntry | None:
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
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
        return None


def matches(entry: CachedEntry, text: str) -> bool:
    needle = text.strip().lower()
    return any(needle in hay.lower() for hay in (entry.about.query, entry.about.topic, entry.key))
