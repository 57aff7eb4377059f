"""The service levels of each path, and the verdict on a run."""

import logging
from collections.abc import Sequence

import msgspec
from django.conf import settings

from chat.deadlines import PathLevels
from chat.protocol.terms import Ending, Level, Path, Slowest, StepKind, Timings, Verdict
from chat.spans import Span

logger = logging.getLogger("chat.sla")


def verdict_of(path: Path | None, timings: Timings, spans: Sequence[Span]) -> Verdict:
    """Return which levels a run missed by how much, and its slowest steps.

    A run without a path was not routed: it is judged by the levels of the light path. A moment that
    never came is not judged, so a cancelled run has no total to meet.
    """
    levels = settings.FLEET_SERVICE_LEVELS
    of_path: PathLevels = levels.full if path == "full" else levels.light
    tools = [span.duration_ms for span in spans if span.kind == "tool"]
    judged: dict[Level, tuple[float | None, float]] = {
        "first_event": (timings.first_event_ms, of_path.first_event),
        "first_token": (timings.first_token_ms, of_path.first_token),
        "total": (None if timings.cancel_ms is not None else timings.total_ms, of_path.total),
        "cancel": (timings.cancel_ms, levels.cancel),
        "tool": (max(tools, default=None), levels.tool),
    }
    return Verdict(
        missed={
            level: round(ms - limit * 1000, 2)
            for level, (ms, limit) in judged.items()
            if ms is not None and ms > limit * 1000
        },
        slowest=slowest_of(spans),
    )


def slowest_of(spans: Sequence[Span]) -> dict[StepKind, Slowest]:
    kinds: tuple[StepKind, ...] = ("phase", "agent", "tool")
    found: dict[StepKind, Slowest] = {}
    for kind in kinds:
        steps = [span for span in spans if span.kind == kind]
        if steps:
            slowest = max(steps, key=lambda span: span.duration_ms)
            found[kind] = Slowest(slowest.name, slowest.duration_ms)
    return found


def log_verdict(ending: Ending) -> None:
    """Log one line for a run: its path, its times, the levels that it missed, its slowest steps."""
    verdict, timings = ending.sla or Verdict(), ending.timings
    result = "not judged" if ending.sla is None else "missed" if verdict.missed else "met"
    missed = ", ".join(f"{level} by {ms:.0f} ms" for level, ms in verdict.missed.items())
    slowest = ", ".join(
        f"{kind} {step.name} {step.duration_ms:.0f} ms" for kind, step in verdict.slowest.items()
    )
    logger.log(
        logging.WARNING if verdict.missed else logging.INFO,
        "%s path=%s status=%s total=%.0f ms; slowest: %s",
        f"missed {missed}" if missed else result,
        *(ending.path, ending.status, timings.total_ms or 0, slowest or "-"),
        extra={
            "path": ending.path,
            "status": ending.status,
            "sla": result,
            "missed_by_ms": verdict.missed,
            "slowest": msgspec.to_builtins(verdict.slowest),
            "first_event_ms": timings.first_event_ms,
            "first_token_ms": timings.first_token_ms,
            "total_ms": timings.total_ms,
            "phases_ms": timings.phases,
            "waiting_ms": timings.waiting_ms,
        },
    )
