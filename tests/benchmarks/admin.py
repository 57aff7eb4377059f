"""Measure the admin's pages over a large demo: `python -m tests.benchmarks.admin`.

A real fleet serves a database that `manage.py seed_demo` has filled. The exit code is 1 if the p95
of a page is above the budget, or if a page fails.
"""

import argparse
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPResponse
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
import psutil
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.models import Count
from django.test import Client

from tests.chatting import cookie_header
from tests.postgresql import postgresql
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

BUDGET_MS = 300
MAX_COUNTED = 10_000  # rows that a list counts, so its last page
EXPORTS = 3  # requests of each export; they send 100,000 rows
# A list that ignores a filter of this program says so, and isn't what was to be measured.
WARNING = re.compile(rb'<li class="(?:warning|error)">|class="errornote"')
RUNS = "/admin/chat/run/"
CONVERSATIONS = "/admin/chat/conversation/"
DECISIONS = "/admin/routing/routingdecision/"
# In a tenth of all questions, in hardly one, and in none.
WORDS = {"a common word": "history", "a rare word": "4711", "an unknown word": "nowhere"}
# Which page of each kind of run is measured: the filters of its newest one.
KINDS_OF_RUNS: dict[str, dict[str, Any]] = {
    "light": {"path": "light", "status": "completed", "escalated": False},
    "team": {"path": "full", "status": "completed", "escalated": False},
    "escalated": {"escalated": True},
    "cancelled": {"status": "cancelled"},
    "failed": {"status": "failed"},
    "lost": {"error_code": "worker_lost"},
    "live": {"status": "running"},
}


@dataclass
class Timed:
    """The requests of one page, in milliseconds."""

    name: str
    path: str
    fault: str = ""
    size: int = 0
    cpu_ms: float = 0  # of fleet and database, per request
    first_byte_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)

    @property
    def is_export(self) -> bool:
        return "/export." in self.path

    @property
    def p95(self) -> float:
        # A streamed export is as long as its list, so its first byte counts.
        times = self.first_byte_ms if self.is_export else self.total_ms
        return statistics.quantiles(times, n=20, method="inclusive")[-1]

    @property
    def verdict(self) -> str:
        if self.fault:
            return f"**{self.fault}**"
        return "within" if self.p95 <= BUDGET_MS else "**over**"

    @property
    def row(self) -> str:
        p50 = statistics.median(self.total_ms)
        first = statistics.median(self.first_byte_ms)
        return (
            f"| {self.name} | {first:.0f} ms | {p50:.0f} ms | {self.p95:.0f} ms |"
            f" {self.cpu_ms:.0f} ms | {self.size / 1024:.0f} KiB | {self.verdict} |\n"
        )


def pages() -> Iterator[tuple[str, str]]:
    """Yield name and path of each page. Add the next page here."""
    run = apps.get_model("chat.Run")
    decision = apps.get_model("routing.RoutingDecision")
    newest = run.objects.order_by("-created_at")
    yield "dashboard", "/admin/"
    for name in ("hour", "day", "week", "month"):
        yield f"dashboard, {name}", f"/admin/?range={name}"
    year_ago = newest[0].created_at - timedelta(days=364)
    yield "dashboard, a year", f"/admin/?from={year_ago:%Y-%m-%d}"
    yield "runs", RUNS
    yield "runs, last page", f"{RUNS}?p={last_page(run)}"
    for filters in (
        "status=failed",
        "status=running",
        "path=full",
        "path=escalated",
        "error=rate_limited",
        "sla=missed",
        "duration=more",
        "model=gpt-5-mini",
        "model=no-such-model",
        "owner=terminal",
        "period=month",
        "period=month&status=cancelled&path=full&owner=user",
    ):
        yield f"runs, {filters}", f"{RUNS}?{filters}"
    yield "runs, slowest first", f"{RUNS}?o=-8"
    yield "runs, oldest first", f"{RUNS}?o=2"
    yield "search runs by id", f"{RUNS}?q={str(newest[0].pk)[:8]}"
    yield "search runs by message id", f"{RUNS}?q={newest[0].message_id}"
    yield "search runs by owner", f"{RUNS}?q=user:demo-1"
    for kind, word in WORDS.items():
        yield f"search runs by {kind}", f"{RUNS}?q={word}"
    for name, fields in KINDS_OF_RUNS.items():
        found = newest.filter(**fields)[0]
        yield f"run: {name}", f"{RUNS}{found.pk}/change/"
    old = newest.filter(sla_met=None, status="completed", error_code="")[0]
    yield "run: of an earlier version", f"{RUNS}{old.pk}/change/"
    yield "run: its events as JSON lines", f"{RUNS}{old.pk}/stream/"
    yield from pages_of_conversations()
    yield "routing decisions", DECISIONS
    yield "routing decisions, last page", f"{DECISIONS}?p={last_page(decision)}"
    yield "routing decisions, rating=down", f"{DECISIONS}?rating=down"
    yield "search routing decisions", f"{DECISIONS}?q=history"
    yield "a routing decision", f"{DECISIONS}{newest.filter(path='light')[0].pk}/change/"
    yield "cached results", "/admin/tooling/cachedresult/"
    for name, address in (
        ("runs", RUNS),
        ("conversations", CONVERSATIONS),
        ("decisions", DECISIONS),
    ):
        yield f"export of {name}", f"{address}export.csv"


def last_page(model: Any) -> int:
    return math.ceil(min(model.objects.count(), MAX_COUNTED) / 50)


def pages_of_conversations() -> Iterator[tuple[str, str]]:
    conversation = apps.get_model("chat.Conversation")
    longest = conversation.objects.annotate(length=Count("messages")).order_by("-length")[0]
    middle = longest.messages.order_by("pk")[longest.length // 2]
    yield "conversations", CONVERSATIONS
    yield "conversations, last page", f"{CONVERSATIONS}?p={last_page(conversation)}"
    yield "conversations, owner=script", f"{CONVERSATIONS}?owner=script"
    for kind, word in WORDS.items():
        yield f"search conversations by {kind}", f"{CONVERSATIONS}?q={word}"
    page = f"{CONVERSATIONS}{longest.pk}/change/"
    yield f"a conversation of {longest.length:,} messages", page
    yield "its middle", f"{page}?before={middle.pk}"


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "postgresql":
        with postgresql(folder) as server:
            yield server.url()
    else:
        yield f"sqlite:///{folder / 'fleet.sqlite3'}"


def fill(url: str, folder: Path, runs: int) -> float:
    """Set Django up on this database and store the demo. Return the seconds that storing took."""
    settings = {"DATABASE_URL": url, "FLEET_STATE_DIR": str(folder / "state")}
    os.environ.update(
        settings, DJANGO_SETTINGS_MODULE="agenticfleet.settings", PYTHON_DOTENV_DISABLED="1"
    )
    (folder / "state").mkdir()
    django.setup()
    call_command("migrate", verbosity=0)
    started = time.perf_counter()
    call_command("seed_demo", runs=runs)
    took = time.perf_counter() - started
    # Production counted its runs soon after they ended, and has had its statistics for long.
    import_module("chat.telemetry.rollup").count_all()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return took


def signed_in_cookie() -> str:
    user = apps.get_model("auth.User").objects.create_superuser("benchmark")
    client = Client()
    client.force_login(user)
    return cookie_header(client)


def fault_of(status: int, body: bytes) -> str:
    """Return why a page isn't what was to be measured; an empty string if it is."""
    if status != 200:
        return f"status {status}"
    return "shows a warning" if WARNING.search(body) else ""


def cpu_seconds(roots: Sequence[int]) -> float:
    """Return the CPU time of these processes and their descendants, also of those that ended."""
    total = 0.0
    for pid in roots:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # A connection of PostgreSQL may end meanwhile.
                total += sum(process.cpu_times()[:4])
    return total


def measure(fleet: Fleet, page: Timed, cookie: str, *, repeat: int, roots: Sequence[int]) -> None:
    client = HTTPConnection("127.0.0.1", fleet.port, timeout=120)
    used = 0.0
    for round_number in range(repeat + 1):
        if round_number == 1:
            used = cpu_seconds(roots)
        started = time.perf_counter()
        client.request("GET", page.path, headers={"Cookie": cookie})
        response: HTTPResponse = client.getresponse()
        first_byte = time.perf_counter()
        body = response.read()
        ended = time.perf_counter()
        page.size, page.fault = len(body), fault_of(response.status, body)
        if round_number:  # The first request compiles templates and fills caches.
            page.first_byte_ms.append((first_byte - started) * 1000)
            page.total_ms.append((ended - started) * 1000)
    page.cpu_ms = (cpu_seconds(roots) - used) * 1000 / repeat
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--repeat", type=int, default=20, help="requests per page")
    parser.add_argument("--only", default="", help="measure pages whose name contains this")
    options = parser.parse_args()
    model = ScriptedModel()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fleet-benchmark-")))
        url = stack.enter_context(database(options.database, folder))
        took = fill(url, folder, options.runs)
        cookie = signed_in_cookie()
        measured = [Timed(name, path) for name, path in pages() if options.only in name]
        sys.stdout.write(
            f"\n{options.runs:,} runs on {options.database}, stored in {took:.0f} s;"
            f" {options.repeat} requests per page, budget {BUDGET_MS} ms at p95\n\n"
            "| page | first byte, p50 | p50 | p95 | CPU | size | verdict |\n"
            "|---|---:|---:|---:|---:|---:|---|\n"
        )
        fleet = stack.enter_context(running(folder, model, DATABASE_URL=url))
        roots = [fleet.process.pid]
        if options.database == "postgresql":
            roots.append(int((folder / "pg/postmaster.pid").read_text().split()[0]))
        for page in measured:
            repeat = EXPORTS if page.is_export else options.repeat
            measure(fleet, page, cookie, repeat=repeat, roots=roots)
            sys.stdout.write(page.row)
            sys.stdout.flush()
    model.stop()
    sys.exit(any("**" in page.verdict for page in measured))


if __name__ == "__main__":
    main()
