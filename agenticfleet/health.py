"""What monitoring programs ask a worker: /healthz, /readyz and /metrics.

The first two are plain ASGI applications without Django's middleware: probes name any host, which
ALLOWED_HOSTS would reject, and need no session. The metrics keep that check: they are shown to this
machine, and a web page elsewhere could else read them through a browser here (DNS rebinding).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import msgspec
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseProblem
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from chat.access.owners import everybody_is_operator, is_local
from chat.database import in_database, reason_of
from chat.models import Run
from chat.runs.worker import Worker
from chat.telemetry import metrics
from tooling.bounded import redis_problem

logger = logging.getLogger(__name__)

# Seconds
CHECK_TIMEOUT = 1.0
MAX_AGE = 1.5  # of results: a flood of probes costs no more than one probe

# Without Redis, answers still stream and are stored, but cached results and readers on other
# workers are slower. Without these, and the model of the light path, there is no answer.
NEEDED = frozenset({"database", "model"})


class Checked(msgspec.Struct, frozen=True):
    """The state of a service. `reason` says why it is down."""

    state: Literal["up", "down"]
    ms: float
    reason: str = ""

    @property
    def outline(self) -> "Checked":
        return Checked(self.state, self.ms)


class ServiceChecks:
    """Checks what a worker needs. Get it from `ServiceChecks.current()`."""

    of_workers: "ClassVar[WeakKeyDictionary[Worker, ServiceChecks]]" = WeakKeyDictionary()

    def __init__(self, worker: Worker) -> None:
        clients = worker.models.by_service
        self.checks: dict[str, Callable[[], Awaitable[str]]] = {
            "database": database_fault,
            "redis": redis_fault,
            **{name: client.catalog.fault for name, client in clients.items()},
        }
        light = worker.models.client_of(settings.FLEET_LIGHT_MODEL)
        self.needed = NEEDED | {name for name, client in clients.items() if client is light}
        self.checked: dict[str, Checked] = {}
        self.checked_at = 0.0
        self.running: asyncio.Task[None] | None = None

    @classmethod
    def current(cls) -> "ServiceChecks":
        worker = Worker.current()
        if worker not in cls.of_workers:
            cls.of_workers[worker] = cls(worker)
        return cls.of_workers[worker]

    async def state(self) -> dict[str, Checked]:
        """Return the state of each service, at most MAX_AGE old."""
        if not self.checked or time.monotonic() - self.checked_at > MAX_AGE:
            if self.running is None or self.running.done():
                self.running = asyncio.create_task(self.check_all())
            # Shielded, because other probes wait for the same checks.
            await asyncio.shield(self.running)
        return self.checked

    async def check_all(self) -> None:
        found = await asyncio.gather(*(self.check(name) for name in self.checks))
        for name, new in zip(self.checks, found, strict=True):
            old = self.checked.get(name)
            if new.state != (old.state if old else "up"):
                logger.warning("%s is %s %s", name, new.state, new.reason)
        self.checked = dict(zip(self.checks, found, strict=True))
        self.checked_at = time.monotonic()

    async def check(self, name: str) -> Checked:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                reason = await self.checks[name]()
        except TimeoutError:
            reason = f"no answer within {CHECK_TIMEOUT:g} s"
        ms = round((time.perf_counter() - started) * 1000, 1)
        return Checked("down" if reason else "up", ms, reason)


async def database_fault() -> str:
    """Return why the database can't be used, or an empty string."""
    # The runs' own threads, so that a queue that doesn't move counts, too.
    return await in_database(query_fault)


def query_fault() -> str:
    path = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite" and not Path(path).exists():
        # An open connection goes on with a file that was moved or deleted.
        return "the file of the database does not exist"
    try:
        Run.objects.live().exists()
    except DatabaseProblem as exc:
        return reason_of(exc)
    return ""


async def redis_fault() -> str:
    """Return why Redis can't be used, or an empty string."""
    # A connection of its own: a failed call on the worker's makes it do without Redis for a while.
    return await asyncio.to_thread(redis_problem, settings.REDIS_URL) or ""


# --- Probes


async def healthz(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer 200. That this runs shows that the process turns its event loop."""
    await respond(send, 200, {"status": "ok"})


async def readyz(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer 200 if this worker can answer questions, else 503, with the state of each service."""
    if not Worker.current().runs.accepting:
        await respond(send, 503, {"status": "not ready", "reason": "draining"})
        return
    checks = ServiceChecks.current()
    state = await checks.state()
    down = [name for name, checked in state.items() if checked.state == "down"]
    is_ready = checks.needed.isdisjoint(down)
    status = "not ready" if not is_ready else "degraded" if down else "ready"
    reason = ", ".join(f"{name} is down" for name in down)
    # Reasons may name hosts. Probes are for everybody; the log has them.
    shown = state if everybody_is_operator() else {name: state[name].outline for name in state}
    await respond(
        send, 200 if is_ready else 503, {"status": status, "reason": reason, "services": shown}
    )


async def respond(send: Any, status: int, content: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(content)})


PROBES = {"/healthz": healthz, "/readyz": readyz}


# --- Metrics


@require_safe
async def metrics_page(request: HttpRequest) -> HttpResponse:
    """Show the metrics of all workers to programs of this machine, to the token and to staff."""
    if not (is_local(request) or has_token(request) or await is_operator(request)):
        return HttpResponseForbidden(
            "Metrics are shown to this machine, to staff who may view runs, and to programs that"
            " send the bearer token for them.",
            content_type="text/plain",
        )
    state = await ServiceChecks.current().state()
    up = {name: checked.state == "up" for name, checked in state.items()}
    text, content_type = await asyncio.to_thread(
        metrics.exposition, request.headers.get("Accept", ""), services=up
    )
    return HttpResponse(text, content_type=content_type)


def has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.FLEET_METRICS_TOKEN
    return bool(expected) and scheme == "Bearer" and constant_time_compare(token, expected)


async def is_operator(request: HttpRequest) -> bool:
    user = await request.auser()
    if isinstance(user, AnonymousUser):
        return False
    return bool(user.is_staff) and await user.ahas_perm("chat.view_run")
