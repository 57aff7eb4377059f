"""The trace that a run belongs to, as the W3C Trace Context passes it on.

A run's trace has the id of the request's `traceparent` header, else the run's own id, so that a
trace is found by the workflow_id. The ids of its spans follow from the run's id. So the model
server is told the id of a span that is made only when the run has ended, and nothing is stored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self
from uuid import UUID

from django.conf import settings

HEADER = b"traceparent"
# Version, trace id, span id, flags. Versions after 00 may add fields.
FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A `traceparent` header: a trace, the span in it that made the request, and its sampling."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    is_sampled: bool

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Self | None:
        """Return the parent that the header of an ASGI request names, or None as `parse` does."""
        return cls.parse(next((value for name, value in scope["headers"] if name == HEADER), b""))

    @classmethod
    def parse(cls, header: bytes) -> Self | None:
        """Return the parent that a header names, or None if the header is invalid or empty."""
        found = FORM.fullmatch(header)
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == b"ff" or (version == b"00" and more):
            return None
        if not trace_id.strip(b"0") or not span_id.strip(b"0"):
            return None
        return cls(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & SAMPLED))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED if self.is_sampled else 0:02x}"


@dataclass(frozen=True, slots=True)
class RunTrace:
    """The trace of one run. `parent` is the request's header, if it had a valid one.

    `is_sampled` tells if the run's spans are exported; None if traces are off.
    """

    run_id: UUID
    trace_id: str
    parent: TraceParent | None = None
    is_sampled: bool | None = None

    def span_id(self, step: str) -> str:
        """Return the id of the span of a step; "run" is the run itself."""
        return blake2b(step.encode(), key=self.run_id.bytes, digest_size=8).hexdigest()

    def span_id_of_call(self, number: int) -> str:
        return self.span_id(f"call {number}")

    def header_for_call(self, number: int) -> str:
        """Return the `traceparent` for the model server; empty if there is no trace."""
        if self.is_sampled is None:
            # There will be no span of the call, so the server's spans belong to the request's.
            return str(self.parent or "")
        return str(TraceParent(self.trace_id, self.span_id_of_call(number), self.is_sampled))


def trace_id_of(run_id: UUID, parent: TraceParent | None) -> str:
    """Return the id of a new run's trace; empty if no one makes one."""
    if parent:
        return parent.trace_id
    return run_id.hex if settings.FLEET_TRACES else ""


def trace_link(trace_id: str) -> str:
    """Return the address of a trace for operators; empty without a trace or FLEET_TRACE_URL."""
    return settings.FLEET_TRACE_URL.replace("{trace_id}", trace_id) if trace_id else ""
