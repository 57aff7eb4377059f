"""A receiver of traces on loopback, with the API of OpenTelemetry's collector."""

import asyncio
import time
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.loopback import LoopbackServer

TIMEOUT = 20  # seconds; only an overloaded machine needs so many


class OtlpReceiver:
    """The server, in a thread with its own event loop. It decodes each request."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.attempts = 0
        self.status = 200  # of its replies
        self.hangs = False
        self._server = LoopbackServer("/v1/traces", self._take)

    @property
    def url(self) -> str:
        return self._server.address

    def stop(self) -> None:
        self._server.stop()

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, Any]:
        return values_of(self.requests[0].resource_spans[0].resource.attributes)

    async def until_spans(self, of_run: str) -> list[Span]:
        """Wait until the spans of this run have arrived; return them, the run's first."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            for root in self.spans():
                if attributes(root).get("app.run.id") == of_run:
                    return [root, *below(root, self.spans())]
            assert time.monotonic() < deadline, "no trace of the run arrives"
            await asyncio.sleep(0.02)

    async def until_attempts(self, count: int) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self.attempts < count:
            assert time.monotonic() < deadline, "no request arrives"
            await asyncio.sleep(0.02)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.attempts += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.status == 200:
            self.requests.append(ExportTraceServiceRequest.FromString(body))
        return web.Response(status=self.status, content_type="application/x-protobuf")


def below(parent: Span, spans: list[Span]) -> list[Span]:
    """Return all spans below one, parents first."""
    children = [span for span in spans if span.parent_span_id == parent.span_id]
    return [found for child in children for found in (child, *below(child, spans))]


def attributes(span: Span) -> dict[str, Any]:
    return values_of(span.attributes)


def values_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, str(kind))
