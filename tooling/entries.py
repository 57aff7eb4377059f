"""How a result is stored in Redis: its key, its fields, its bytes.

fleet:cache:v1:<tool>:<sha256>   hash: about, fetched, soft, credits, body, hits
fleet:cache:lock:<entry key>     token of the worker that calls upstream; …:<token> its failure
fleet:cache:closed:<tool>:<id>   the failure because of which this account is not used for a while
fleet:cache:day:<date>           hash: the counters of a day
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec

from .decoding import UNREADABLE_JSON
from .results import Output, TtlClass

SCHEMA_VERSION = 1  # of keys and entries; entries of another version are not read
PREFIX = f"fleet:cache:v{SCHEMA_VERSION}:"
LOCK_PREFIX = "fleet:cache:lock:"
CLOSED_PREFIX = "fleet:cache:closed:"
CLOSED_INDEX = "fleet:cache:closed"
DAY_PREFIX = "fleet:cache:day:"
COMPRESS_ABOVE = 4096  # bytes
MAX_BYTES = 64 * 1024  # of a body as stored
MAX_UNPACKED_BYTES = 2**20
_PACKED = b"z"  # JSON never begins like this


@dataclass(frozen=True, slots=True)
class Wanted:
    """A result that is asked for, by everything that decides it."""

    tool: str
    parameters: dict[str, Any]  # with defaults, normalised
    ttl: TtlClass
    query: str = ""  # for the inspector
    topic: str = ""
    account: str = ""  # that pays for the call

    @property
    def key(self) -> str:
        digest = hashlib.sha256(
            msgspec.json.encode(self.parameters, order="deterministic")
        ).hexdigest()
        return f"{PREFIX}{self.tool}:{digest}"

    @property
    def closed_key(self) -> str:
        """The key of the failure that closes the tool for this account."""
        return f"{CLOSED_PREFIX}{self.tool}:{self.account}"


class About(msgspec.Struct, frozen=True):
    """The facts that the inspector shows of an entry without reading its body."""

    tool: str
    query: str
    topic: str
    parameters: dict[str, Any]
    source_date: str | None  # of the newest passage
    size: int  # bytes as stored


class Failure(msgspec.Struct):
    """A ToolFailure on its way to other workers."""

    message: str
    advice: str
    temporary: bool
    stale_will_do: bool
    closed_for: float


def failure_in(text: bytes) -> Failure:
    """Return the stored failure, or a general one if the bytes cannot be read."""
    try:
        return msgspec.json.decode(text, type=Failure)
    except UNREADABLE_JSON:
        return Failure(
            "This tool cannot be called now.", "", temporary=False, stale_will_do=True, closed_for=0
        )


def packed(output: Output) -> bytes | None:
    """Return the output as bytes to store, or None if it is too large."""
    body = msgspec.json.encode(output)
    if len(body) > COMPRESS_ABOVE:
        body = _PACKED + zlib.compress(body, level=6)
    return body if len(body) <= MAX_BYTES else None


def unpacked(body: bytes) -> Output | None:
    """Return the stored output, or None if the bytes cannot be read."""
    try:
        if body.startswith(_PACKED):
            body = zlib.decompressobj().decompress(body[1:], MAX_UNPACKED_BYTES)
        return msgspec.json.decode(body, type=Output)
    except (zlib.error, *UNREADABLE_JSON):
        return None


def about(wanted: Wanted, output: Output, size: int) -> bytes:
    dates = [passage.published for passage in output.passages if passage.published]
    return msgspec.json.encode(
        About(
            wanted.tool,
            wanted.query,
            wanted.topic,
            wanted.parameters,
            max(dates, default=None),
            size,
        )
    )
