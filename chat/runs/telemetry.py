"""The figures of one run, and its line in the log with the service levels that it missed."""

import logging
import time
from dataclasses import asdict
from uuid import UUID

import msgspec
from django.conf import settings

from chat.protocol.events import (
    AgentComplete,
    PhaseComplete,
    PhaseStart,
    ResponseDelta,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
)
from chat.protocol.terms import Path, Status, Timings, Usage
from chat.record import PhaseTime

logger = logging.getLogger("chat.sla")


class RunTelemetry:
    """Collects figures from the events of a run.

    Times are milliseconds since `started`, a time.perf_counter().
    """

    def __init__(self, *, started: float) -> None:
        self.path: Path = "light"
        self.usage = Usage()
        self.phases: list[PhaseTime] = []
        self.tool_calls: list[ToolComplete | ToolRejected] = []
        self._started = started
        self._first_event_ms: float | None = None
        self._first_token_ms: float | None = None
        self._open_phases: dict[str, float] = {}

    def observe(self, event: StreamEvent) -> None:
        """Note an event that is about to be shown."""
        if self._first_event_ms is None:
            self._first_event_ms = self.elapsed_ms()
        match event:
            case ResponseDelta():
                if self._first_token_ms is None:
                    self._first_token_ms = self.elapsed_ms()
            case PhaseStart():
                self._open_phases[event.data.phase] = self.elapsed_ms()
            case PhaseComplete():
                started_ms = self._open_phases.pop(
                    event.data.phase, self.elapsed_ms() - event.data.duration_ms
                )
                self.phases.append(PhaseTime(event.data.phase, started_ms, event.data.duration_ms))
            case AgentComplete():
                self.usage += event.data.usage
            case ToolComplete():
                self.usage += Usage(tool_calls=1)
                self.tool_calls.append(event)
            case ToolRejected():
                self.tool_calls.append(event)
            case RoutingDecided():
                self.path = event.data.path
                self.usage += event.data.usage

    def timings(self) -> Timings:
        return Timings(
            first_event_ms=self._first_event_ms,
            first_token_ms=self._first_token_ms,
            total_ms=self.elapsed_ms(),
            phases={phase.name: phase.duration_ms for phase in self.phases},
        )

    def elapsed_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 1)


def log_service_levels(run_id: UUID, status: Status, timings: Timings) -> None:
    """Log one line for a run: its times, and the service levels that it missed."""
    measured = {
        "first_event": timings.first_event_ms,
        "first_token": timings.first_token_ms,
        "total": timings.total_ms,
    }
    limits = asdict(settings.FLEET_SERVICE_LEVELS)
    missed = [name for name, ms in measured.items() if ms is not None and ms > limits[name] * 1000]
    line = {
        "run": str(run_id),
        "status": status,
        "sla": "missed" if missed else "met",
        "missed": missed,
        **{f"{name}_ms": ms for name, ms in measured.items()},
        "phases_ms": timings.phases,
    }
    logger.log(
        logging.WARNING if missed else logging.INFO, "sla %s", msgspec.json.encode(line).decode()
    )
