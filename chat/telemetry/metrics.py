"""What Prometheus reads at /metrics. README.md in this folder lists the names.

The workers of a fleet share one port, so a scrape reaches any one of them. Each worker therefore
keeps its values in files of the fleet's folder, and the one that is asked adds up the files of all:
the library's multiprocess mode. Other processes keep their values in memory.
"""

import asyncio
import os
import resource
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from django.conf import settings
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    values,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from chat.llm.offers import models_in_use
from chat.protocol.payloads import ModelCall, ToolResultData
from chat.protocol.terms import AskKind, Decision, Ending, Level, Mode, Path, Usage
from chat.spans import Span, unexplained
from routing.regret import Verdict

from .tools import exists, grouped, is_cached

if settings.FLEET_WORKER_NUMBER:
    # The library names the files after process ids. After the worker's number instead, a worker
    # that is started again continues its counters, and restarts add no files to read.
    values.ValueClass = values.MultiProcessValue(lambda: settings.FLEET_WORKER_NUMBER)
disable_created_metrics()

LAG_INTERVAL = 0.5  # seconds between two measurements of the event loop's lag
OTHER = "other"  # in place of a name that is not in the settings or the code: labels must be few
UNROUTED = "none"  # the path of a run that ended before it was routed
NO_VERDICT = "none"  # of answers that could not be compared
EXPIRED = "expire"  # the decision on an ask that nobody answered in time

TakeoverReason = Literal["died", "handed_over"]

# Seconds. The limits of FLEET_SLA_LIGHT and FLEET_SLA_FULL are among them.
MOMENT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
ANSWER = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 180)

own = CollectorRegistry()


def counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, namespace="fleet", registry=own)


def gauge(name: str, documentation: str, *labels: str) -> Gauge:
    """Return a gauge that counts in living workers only, and is their sum."""
    return Gauge(
        name,
        documentation,
        labels,
        namespace="fleet",
        registry=own,
        multiprocess_mode="livesum",
    )


def histogram(
    name: str, documentation: str, *labels: str, buckets: tuple[float, ...] = ANSWER
) -> Histogram:
    return Histogram(name, documentation, labels, namespace="fleet", registry=own, buckets=buckets)


runs_started = counter("runs_started_total", "Runs that were started, by mode.", "mode")
runs_ended = counter(
    "runs_ended_total",
    "Runs that ended, by path and by ending: completed, cancelled, paused or the code of the"
    " error.",
    *("path", "ending"),
)
runs_routed = counter("runs_routed_total", "Runs that ended, by the path chosen first.", "path")
escalations = counter("escalations_total", "Light answers that were passed on to the full team.")
takeovers = counter(
    "takeovers_total",
    "Runs that a worker took over, by reason: died or handed_over.",
    "reason",
)
asks_opened = counter("asks_opened_total", "Asks that paused runs wait for, by kind.", "kind")
asks_closed = counter(
    "asks_closed_total",
    "Asks that were closed, by decision: approve, edit, refuse, answer, withdraw or expire.",
    "decision",
)
sla_misses = counter(
    "sla_misses_total", "Service levels that runs missed, by path and level.", "path", "level"
)
first_event = histogram(
    "run_first_event_seconds", "Time to a run's first event.", "path", buckets=MOMENT
)
first_token = histogram("run_first_token_seconds", "Time to the answer's first text.", "path")
duration = histogram(
    "run_duration_seconds", "Time of a run from start to ending, without paused runs.", "path"
)
phase_duration = histogram("phase_duration_seconds", "Time of a phase of a run.", "phase")
tool_duration = histogram(
    "tool_duration_seconds",
    "Time of a tool call, by tool and outcome: ok, failed or cut.",
    *("tool", "outcome"),
)
cache_lookups = counter(
    "cache_lookups_total",
    "Calls of tools whose results are cached, by outcome: hit, stale, miss, failed, or repeated"
    " (answered from the same run).",
    "outcome",
)
search_credits = counter("search_credits_total", "Credits of the search provider that were used.")
model_calls = counter(
    "model_calls_total",
    "Model calls, by model and by outcome: ok, cut or the code of the error.",
    *("model", "outcome"),
)
model_tokens = counter(
    "model_tokens_total",
    "Tokens of models, by model and direction: input or output.",
    *("model", "direction"),
)
model_cached_tokens = counter(
    "model_cached_tokens_total",
    "Input tokens that the model server had read before, by model.",
    "model",
)
comparisons = counter(
    "comparisons_total",
    "Answers that were compared with what the other path writes, by path and verdict: better,"
    " worse, tie or none.",
    *("path", "verdict"),
)
comparison_tokens = counter(
    "comparison_tokens_total",
    "Tokens of comparisons, by direction: input or output. They count for models, too.",
    "direction",
)
refusals = counter(
    "refusals_total",
    "Sockets, and requests of programs, that were refused, by code of the error.",
    "code",
)
runs_live = gauge("runs_live", "Runs that workers are answering now.")
sockets_open = gauge(
    "sockets_open", "WebSockets, and streams of pages without them, that are open now."
)
streams_open = gauge(
    "streams_open", "Streams of programs over HTTP that are open now, by path.", "path"
)
workers = gauge("workers", "Workers that are running now.")
loop_lag = histogram(
    "event_loop_lag_seconds",
    "How late a worker's event loop runs a timer; measured twice a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
cpu_seconds = counter("process_cpu_seconds_total", "CPU time of all workers.")
memory = gauge("process_resident_memory_bytes", "Memory of all workers.")

# Start these at 0, or Prometheus would see no increase when they first count something.
for mode in get_args(Mode):
    runs_started.labels(mode)
for path in get_args(Path):
    runs_routed.labels(path)
    for status in ("completed", "cancelled", "paused"):
        runs_ended.labels(path, status)
    for level in get_args(Level):
        sla_misses.labels(path, level)
    for verdict in (*get_args(Verdict), NO_VERDICT):
        comparisons.labels(path, verdict)
for direction in ("input", "output"):
    comparison_tokens.labels(direction)
for reason in get_args(TakeoverReason):
    takeovers.labels(reason)
for kind in get_args(AskKind):
    asks_opened.labels(kind)
for decision in (*get_args(Decision), EXPIRED):
    asks_closed.labels(decision)


# --- Runs


def run_started(mode: Mode) -> None:
    """Count a new run."""
    runs_started.labels(mode).inc()


def run_ended(ending: Ending, spans: Iterable[Span]) -> None:
    """Count a run that this process has ended, with its times and cost.

    `spans` are all that the run has. A lost run has none.
    """
    path = ending.path or UNROUTED
    runs_ended.labels(path, ending.error.code if ending.error else ending.status).inc()
    is_paused = ending.status == "paused"
    # The run that goes on with a paused one has the same route, which counts once.
    if ending.path and not is_paused:
        runs_routed.labels("light" if ending.escalated else ending.path).inc()
    if ending.escalated and not is_paused:
        escalations.inc()
    for ask in ending.asks:
        asks_opened.labels(ask.data.kind).inc()
    for level in ending.sla.missed if ending.sla else ():
        sla_misses.labels(path, level).inc()
    timings = ending.timings
    for figure, ms in (
        (first_event, timings.first_event_ms),
        (first_token, timings.first_token_ms),
        (duration, None if is_paused else timings.total_ms),
    ):
        if ms is not None:
            figure.labels(path).observe(ms / 1000)
    search_credits.inc(ending.usage.search_credits)
    calls: list[ModelCall] = []
    for span in spans:
        match span.data:
            case ModelCall():
                calls.append(span.data)
            case ToolResultData():
                count_tool_call(span.data)
            case _ if span.kind == "phase":
                phase_duration.labels(span.name).observe(span.duration_ms / 1000)
    count_model_calls(ending, calls)


def taken_over(reason: TakeoverReason) -> None:
    """Count a run that this worker goes on with."""
    takeovers.labels(reason).inc()


def asks_were_closed(decision: Decision | Literal["expire"], count: int = 1) -> None:
    """Count asks that a person has answered, or that have expired."""
    asks_closed.labels(decision).inc(count)


def count_tool_call(call: ToolResultData) -> None:
    outcome = "cut" if call.cut else "ok" if call.ok else "failed"
    name = grouped(call.tool) if exists(call.tool) else OTHER
    tool_duration.labels(name, outcome).observe(call.duration_ms / 1000)
    if is_cached(call.tool):
        cache_lookups.labels(cache_outcome(call)).inc()


def cache_outcome(call: ToolResultData) -> str:
    if call.repeated:
        return "repeated"
    if call.stale:
        return "stale"
    if call.cached:
        return "hit"
    return "miss" if call.ok else "failed"


def count_model_calls(ending: Ending, calls: Sequence[ModelCall]) -> None:
    """Count calls and tokens by model. What no call explains counts for the run's model.

    A lost run has totals, but no calls. Its tokens are known by model only if it used one.
    """
    for call in calls:
        count_call(call)
    rest = unexplained(ending.usage, calls)
    model = ending.models[0] if len(ending.models) == 1 else OTHER
    count_tokens(model, "cut", rest)


def count_call(call: ModelCall) -> None:
    outcome = call.error or ("cut" if call.cut else "ok")
    count_tokens(call.model, outcome, call.usage)


def compared(path: Path, verdict: Verdict | None) -> None:
    """Count an answer that was compared with what the other path writes, or that could not be."""
    comparisons.labels(path, verdict or NO_VERDICT).inc()


def count_comparing(call: ModelCall) -> None:
    """Count a call that was made for a comparison."""
    count_call(call)
    comparison_tokens.labels("input").inc(call.input_tokens)
    comparison_tokens.labels("output").inc(call.output_tokens)


def count_tokens(model: str, outcome: str, usage: Usage) -> None:
    name = model if model in configured_models() else OTHER
    for metric, labels, amount in (
        (model_calls, (name, outcome), usage.model_calls),
        (model_tokens, (name, "input"), usage.input_tokens),
        (model_tokens, (name, "output"), usage.output_tokens),
        (model_cached_tokens, (name,), usage.cached_tokens),
    ):
        if amount > 0:
            metric.labels(*labels).inc(amount)


def configured_models() -> tuple[str, ...]:
    """Return the models that have labels of their own. A server may list thousands."""
    return *models_in_use(), *settings.FLEET_MODELS


def refused(code: str) -> None:
    """Count a socket or a request at a door that was refused."""
    refusals.labels(code).inc()


# --- Workers


async def watch_process() -> None:
    """Measure the event loop's lag and the process for as long as the worker lives."""
    loop, counted_cpu = asyncio.get_running_loop(), 0.0
    workers.set(1)
    while True:
        due = loop.time() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        loop_lag.observe(max(0, loop.time() - due))
        used_cpu = time.process_time()
        cpu_seconds.inc(used_cpu - counted_cpu)
        counted_cpu = used_cpu
        memory.set(resident_bytes())


def resident_bytes() -> int:
    """Return the memory that this process uses; at its peak, if the system tells no more."""
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGESIZE")


# --- The page


def exposition(accept: str, *, services: Mapping[str, bool]) -> tuple[bytes, str]:
    """Return all metrics as text, and its content type, in a format that a client accepts.

    `services` tells which of them answer. In a fleet this reads files, so call it in a thread.
    """
    registry = CollectorRegistry()
    registry.register(Up(services))
    if settings.FLEET_WORKER_NUMBER:
        MultiProcessCollector(registry)
    else:
        registry.register(own)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Up(Collector):
    """The state of the services that a worker needs, as the one that is scraped sees it."""

    def __init__(self, services: Mapping[str, bool]) -> None:
        self.services = services

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "fleet_service_up", "1 if the service answers, else 0.", labels=["service"]
        )
        for name, is_up in self.services.items():
            family.add_metric([name], is_up)
        yield family
