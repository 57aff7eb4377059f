"""Measure the admin's pages over a large demo: `python -m tests.benchmarks.admin`.

A real fleet serves a database that `manage.py seed_demo` has filled. The exit code is 1 if the p95
of a page is above the budget, or if a page fails.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.models import Count
from django.test import Client

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .postgresql import postgresql

BUDGET_MS = 300
RUNS = "/admin/chat/run/"
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
    status: int = 0
    size: int = 0
    first_byte_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        # A streamed export is as long as its list, so its first byte counts.
        times = self.first_byte_ms if "export" in self.path else self.total_ms
        return statistics.quantiles(times, n=20, method="inclusive")[-1]

    @property
    def verdict(self) -> str:
        if self.status in (302, 404):
            return "no such page"
        if self.status != 200:
            return f"**status {self.status}**"
        return "within" if self.p95 <= BUDGET_MS else "**over**"

    @property
    def row(self) -> str:
        p50 = statistics.median(self.total_ms)
        first = statistics.median(self.first_byte_ms)
        return (
            f"| {self.name} | {first:.0f} ms | {p50:.0f} ms | {self.p95:.0f} ms |"
            f" {self.size / 1024:.0f} KiB | {self.verdict} |\n"
        )


def pages() -> Iterator[tuple[str, str]]:
    """Yield name and path of each page. Add the next page here."""
    run, conversation = apps.get_model("chat.Run"), apps.get_model("chat.Conversation")
    newest = run.objects.order_by("-created_at")
    last_page = run.objects.count() // 50 - 1
    yield "first page", "/admin/"
    for range_ in ("hour", "day", "week", "month"):
        yield f"first page, {range_}", f"/admin/?range={range_}"
    yield "runs", RUNS
    yield "runs, last page", f"{RUNS}?p={last_page}"
    yield "runs by status", f"{RUNS}?status__exact=failed"
    yield "runs by path", f"{RUNS}?path=full"
    yield "runs by error code", f"{RUNS}?error_code=rate_limited"
    yield "runs by model", f"{RUNS}?model=gpt-5-mini"
    yield "runs by month", f"{RUNS}?created_at__year={newest[0].created_at.year}"
    yield "runs, slowest first", f"{RUNS}?o=-8"
    yield "search runs by id", f"{RUNS}?q={str(newest[0].pk)[:8]}"
    yield "search runs by a common word", f"{RUNS}?q=history"
    yield "search runs by a rare word", f"{RUNS}?q=4711"
    yield "search runs, nothing found", f"{RUNS}?q=nowhere"
    yield "export of runs", f"{RUNS}export/?format=csv"
    for name, filters in KINDS_OF_RUNS.items():
        if found := newest.filter(**filters).first():
            yield f"a {name} run", f"{RUNS}{found.pk}/change/"
    if old := newest.filter(sla_met=None, status="completed").first():
        yield "a run of an earlier version", f"{RUNS}{old.pk}/change/"
        yield "a run's events as JSON lines", f"{RUNS}{old.pk}/stream/"
    conversations = "/admin/chat/conversation/"
    longest = conversation.objects.annotate(length=Count("messages")).order_by("-length")[0]
    yield "conversations", conversations
    yield "search conversations", f"{conversations}?q=history"
    yield "the longest conversation", f"{conversations}{longest.pk}/change/"
    yield "routing decisions", "/admin/routing/routingdecision/"
    yield "routing decisions, rated bad", "/admin/routing/routingdecision/?rating__exact=-1"
    yield "cached results", "/admin/tooling/cachedresult/"


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "postgresql":
        with postgresql(folder) as url:
            yield url
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
    # Production has had its statistics for long.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return took


def signed_in_cookie() -> str:
    user = apps.get_model("auth.User").objects.create_superuser("benchmark")
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def measure(fleet: Fleet, page: Timed, cookie: str, repeat: int) -> None:
    client = HTTPConnection("127.0.0.1", fleet.port, timeout=120)
    for round_number in range(repeat + 1):
        started = time.perf_counter()
        client.request("GET", page.path, headers={"Cookie": cookie})
        response: HTTPResponse = client.getresponse()
        first_byte = time.perf_counter()
        page.size, page.status = len(response.read()), response.status
        ended = time.perf_counter()
        if round_number:  # The first request compiles templates and fills caches.
            page.first_byte_ms.append((first_byte - started) * 1000)
            page.total_ms.append((ended - started) * 1000)
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
            "| page | first byte, p50 | p50 | p95 | size | verdict |\n"
            "|---|---:|---:|---:|---:|---|\n"
        )
        fleet = stack.enter_context(running(folder, model, DATABASE_URL=url))
        for page in measured:
            measure(fleet, page, cookie, options.repeat)
            sys.stdout.write(page.row)
            sys.stdout.flush()
    model.stop()
    sys.exit(any("**" in page.verdict for page in measured))


if __name__ == "__main__":
    main()
