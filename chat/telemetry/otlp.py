"""Make a trace of a run that has ended, and send it to a receiver by OTLP over HTTP.

No span is made while a run lasts, so tracing costs its events nothing. A thread sends the spans
from a bounded queue. If the receiver hangs or is away, the queue fills up and whole traces are
dropped and counted; no run waits for it.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from chat.llm.servers import id_of, server_of
from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolStart,
)
from chat.protocol.payloads import AgentTiming, ModelCall, PhaseTiming, ToolCallData, ToolResultData
from chat.spans import Span, spans_of
from chat.trace_context import RunTrace, TraceParent

from . import genai
from .traces import Drops, TracedRun, dropped

logger = logging.getLogger(__name__)

MAX_QUEUED_SPANS = 4096  # about 200 runs of the team
MAX_BATCH = 512  # spans in a request
EXPORT_INTERVAL = 1.0  # seconds between two requests, if there are spans
EXPORT_TIMEOUT = 10.0  # seconds for a request with its retries
CLOSE_TIMEOUT = 2.0  # seconds to deliver the last spans before the process exits

MS = 1_000_000  # nanoseconds
SDK_LOGGER = logging.getLogger(OTLPSpanExporter.__module__)
SCOPE = InstrumentationScope("agenticfleet")


class CountingExporter(OTLPSpanExporter):
    """The exporter of the SDK, which counts the spans that were delivered or lost."""

    done = 0
    is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        # The SDK logs the reason of each failure; once is enough.
        SDK_LOGGER.setLevel(logging.CRITICAL if self.is_failing else logging.ERROR)
        result = super().export(spans)
        self.done += len(spans)
        has_failed = result is not SpanExportResult.SUCCESS
        if has_failed:
            Drops.at_receiver += len(spans)
        if has_failed != self.is_failing:
            self.is_failing = has_failed
            logger.warning(
                "traces dropped=%d: the receiver %s",
                dropped(),
                "does not take them" if has_failed else "takes them again",
            )
        return result


class Traces:
    """The export of one worker's traces."""

    def __init__(self, worker: str) -> None:
        found = OTELResourceDetector().detect().attributes
        own = {
            "service.name": "agenticfleet",
            "service.version": settings.FLEET_VERSION,
            "service.instance.id": worker,
        }
        self.resource = Resource.create({**own, **found})
        # The SDK reads the sampler from its own settings, and has no other public way to it.
        self.sampler = TracerProvider(shutdown_on_exit=False).sampler
        self.exporter = CountingExporter(timeout=EXPORT_TIMEOUT)
        self.processor = BatchSpanProcessor(
            self.exporter,
            max_queue_size=MAX_QUEUED_SPANS,
            max_export_batch_size=MAX_BATCH,
            schedule_delay_millis=EXPORT_INTERVAL * 1000,
        )
        self.queued = 0  # spans, since the start
        self.is_full = False

    def trace_of(self, run: RunTrace) -> RunTrace:
        """Return the trace of a run with the sampler's decision."""
        parent = (
            set_span_in_context(NonRecordingSpan(context_of(run.parent))) if run.parent else None
        )
        number = run.trace_id
        if run.trace_id == run.run_id.hex:
            # A sampler takes the last 64 bits for random, but in a UUID the first of these are
            # fixed: a share of a tenth would never sample a run. So it gets the halves swapped.
            number = number[16:] + number[:16]
        sampled = self.sampler.should_sample(parent, int(number, 16), "invoke_workflow")
        return replace(run, is_sampled=sampled.decision is Decision.RECORD_AND_SAMPLE)

    def export(self, run: TracedRun) -> None:
        """Queue the spans of a run. Return at once; drop the trace if the queue is full."""
        if not run.trace.is_sampled:
            return
        spans = list(Tree(run, self.resource).spans())
        was_full = self.is_full
        self.is_full = self.waiting + len(spans) > MAX_QUEUED_SPANS
        if self.is_full:
            Drops.at_queue += len(spans)
            if not was_full:
                logger.warning("traces dropped=%d: the receiver is too slow", dropped())
            return
        self.queued += len(spans)
        for span in spans:
            self.processor.on_end(span)

    @property
    def waiting(self) -> int:
        """The spans that are in the queue or on their way."""
        return self.queued - self.exporter.done

    async def aclose(self) -> None:
        """Deliver the last spans, for at most CLOSE_TIMEOUT seconds."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self.processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # The loop was closed meanwhile.
                loop.call_soon_threadsafe(closed.set)

        # Not a thread of the loop's executor: the process would wait for it when it exits.
        threading.Thread(target=close, name="closing traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await closed.wait()
        except TimeoutError:
            logger.warning(
                "traces dropped=%d: the receiver does not answer, and the worker ends",
                dropped() + self.waiting,
            )


class Tree:
    """The spans of one run: the run, below it phases, agents, model calls and tool calls."""

    def __init__(self, run: TracedRun, resource: Resource) -> None:
        self.run = run
        self.resource = resource
        self.words = words_of(run.steps) if settings.FLEET_TRACE_CONTENT else {}
        self.steps = 0  # that have an id so far
        routes = [event.data for event in run.measured if isinstance(event, RoutingDecided)]
        self.route = routes[0] if routes else None

    def spans(self) -> Iterator[ReadableSpan]:
        run, trace = self.run, self.run.trace
        root = own_context(trace, trace.span_id("run"))
        attributes = genai.of_run(
            run.ending,
            run_id=trace.run_id,
            conversation_id=run.conversation_id,
            mode=run.mode,
            epoch=run.epoch,
            continues=run.continues,
        )
        if settings.FLEET_TRACE_CONTENT:
            attributes |= genai.messages(asked=run.question, said=run.answer)
        yield ReadableSpan(
            name=genai.workflow_name(run.ending.path),
            context=root,
            parent=context_of(trace.parent) if trace.parent else None,
            resource=self.resource,
            attributes=attributes,
            status=status_of(attributes),
            start_time=run.started_ns,
            end_time=run.ended_ns,
            instrumentation_scope=SCOPE,
        )
        for span in spans_of(run.measured):
            yield from self.below(root, span)

    def below(self, parent: SpanContext, span: Span) -> Iterator[ReadableSpan]:
        """Yield a step and all steps in it, as children of `parent`."""
        name, attributes = self.described(span)
        context = own_context(self.run.trace, self.id_of(span))
        start = self.run.started_ns + int(span.started_ms * MS)
        yield ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self.resource,
            attributes=attributes | self.words.get(id(span.data), {}),
            kind=SpanKind.CLIENT if span.kind == "call" else SpanKind.INTERNAL,
            status=status_of(attributes),
            start_time=start,
            end_time=start + int(span.duration_ms * MS),
            instrumentation_scope=SCOPE,
        )
        for child in span.children:
            yield from self.below(context, child)

    def id_of(self, span: Span) -> str:
        if isinstance(span.data, ModelCall):
            # The model server was told this id.
            return self.run.trace.span_id_of_call(span.data.number)
        self.steps += 1
        return self.run.trace.span_id(f"step {self.steps}")

    def described(self, span: Span) -> tuple[str, genai.Attributes]:
        """Return the name and the attributes of a step's span."""
        match span.data:
            case PhaseTiming() as phase:
                return genai.phase_name(phase.phase), genai.of_phase(phase, self.route)
            case AgentTiming() as timing:
                return genai.agent_name(span.author), genai.of_agent(span.name, span.author, timing)
            case ModelCall() as call:
                model, (address, port) = id_of(call.model), server_of(call.model).address
                attributes = genai.of_call(call, model=model, address=address, port=port)
                return genai.call_name(model), attributes
            case ToolResultData() as result:
                return genai.tool_name(result.tool), genai.of_tool(result)


def words_of(steps: Sequence[StreamEvent]) -> dict[int, genai.Attributes]:
    """Return what was asked and said in each step, by the `id` of the step's data."""
    found: dict[int, genai.Attributes] = {}
    tasks: dict[str, str] = {}
    outputs: dict[str, str] = {}
    calls: dict[tuple[str, str], ToolCallData] = {}
    for event in steps:
        match event:
            case AgentStart():
                tasks[event.agent_id] = event.data.task
            case AgentOutput():
                outputs[event.agent_id] = event.message
            case AgentComplete():
                asked, said = tasks.pop(event.agent_id, ""), outputs.pop(event.agent_id, "")
                found[id(event.data)] = genai.messages(asked=asked, said=said)
            case ToolStart():
                calls[event.agent_id, event.data.call_id] = event.data
            case ToolComplete():
                if call := calls.pop((event.agent_id, event.data.call_id), None):
                    found[id(event.data)] = genai.arguments(call)
    return found


def own_context(trace: RunTrace, span_id: str) -> SpanContext:
    return context_of(TraceParent(trace.trace_id, span_id, is_sampled=True), is_remote=False)


def context_of(parent: TraceParent, *, is_remote: bool = True) -> SpanContext:
    flags = TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT
    return SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote, TraceFlags(flags)
    )


def status_of(attributes: genai.Attributes) -> Status:
    error = attributes.get(genai.ERROR_TYPE)
    return Status(StatusCode.ERROR, str(error)) if error else Status()
