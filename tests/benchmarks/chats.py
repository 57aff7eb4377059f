"""Measure a person's chats among many others': `python -m tests.benchmarks.chats`.

A database has the chats of 200 owners, one of whom opens a long chat that is the oldest of all,
looks through the list of chats, and searches. The exit code is 1 if a query takes longer than its
budget in half of the requests of a page.
"""

import argparse
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from itertools import batched
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import django
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.postgresql import postgresql

SLOW_MS = 5  # of a query whose plan is shown
BUDGET_MS, SEARCH_BUDGET_MS = 50, 1000  # for each query
OWNERS = 200
OTHER_CHATS = 10  # of each of the other owners
LONG = 5000  # messages
MESSAGES = 50  # of each other chat
VOCABULARY = 5000
SYLLABLES = ("ka", "lo", "mi", "ne", "su", "ra", "ti", "vo", "ben", "dor", "fal", "gri", "ße", "é")
COMMON, RARE = "common", "raretestword"


@dataclass
class Page:
    """A page with its requests."""

    name: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    is_search: bool = False
    total_ms: list[float] = field(default_factory=list)
    queries: list[list[tuple[float, str, Any]]] = field(default_factory=list)  # of each request

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.total_ms, n=20, method="inclusive")[-1]

    @property
    def query_ms(self) -> float:
        return statistics.median(sum(ms for ms, *_ in found) for found in self.queries)

    @property
    def slowest_ms(self) -> float:
        """The slowest query of a usual request."""
        return statistics.median(max(ms for ms, *_ in found) for found in self.queries)

    @property
    def is_within(self) -> bool:
        return self.slowest_ms <= (SEARCH_BUDGET_MS if self.is_search else BUDGET_MS)

    @property
    def row(self) -> str:
        return (
            f"| {self.name} | {len(self.queries[-1])} | {self.slowest_ms:.1f} ms |"
            f" {self.query_ms:.1f} ms | {statistics.median(self.total_ms):.0f} ms |"
            f" {self.p95:.0f} ms | {'within' if self.is_within else '**over**'} |\n"
        )


def words(random: Random, count: int) -> str:
    """Return made-up words. A few are in most texts, and most in few, as in any language."""
    numbers = (int(VOCABULARY * random.random() ** 3) for _ in range(count))
    return " ".join(
        "".join(SYLLABLES[number // len(SYLLABLES) ** place % len(SYLLABLES)] for place in range(3))
        for number in numbers
    )


def fill(owner: str, chats: int) -> uuid.UUID:
    """Store the chats; return the longest."""
    random = Random(1)
    conversation = apps.get_model("chat.Conversation")
    owners = [owner] * chats
    owners += [f"browser:{number:032x}" for number in range(OWNERS - 1)] * OTHER_CHATS
    random.shuffle(owners)
    now = timezone.now()
    # As in production, the oldest are stored first.
    moments = [now - timedelta(minutes=number) for number in range(len(owners), -1, -1)]
    long, *rows = [
        conversation(owner=each, title=words(random, 5), created_at=moment, updated_at=moment)
        for each, moment in zip([owner, *owners], moments, strict=True)
    ]
    with import_module("chat.demo.rows").given_dates():
        conversation.objects.bulk_create([long, *rows], batch_size=500)
        store_exchanges([long] * (LONG // 2), random)
        for part in batched(rows, 100, strict=False):
            store_exchanges([chat for chat in part for _ in range(MESSAGES // 2)], random)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # PostgreSQL then reads what is in an index from there alone
        cursor.execute("ANALYZE")
    return long.pk


def store_exchanges(chats: Sequence[Any], random: Random) -> None:
    """Store a question and an answer for each of the chats."""
    message, run = apps.get_model("chat.Message"), apps.get_model("chat.Run")
    written = apps.get_model("chat.Words")
    pairs = []
    for chat in chats:
        question, answer = words(random, 12), words(random, 120)
        if random.random() < 0.1:
            answer += f" {COMMON}"
        pairs.append((chat, question, answer))
    pairs[0] = (*pairs[0][:2], f"{pairs[0][2]} {RARE}") if random.random() < 0.05 else pairs[0]
    messages = [
        message(conversation=chat, role=role, text=text, created_at=chat.updated_at)
        for chat, question, answer in pairs
        for role, text in (("user", question), ("assistant", answer))
    ]
    stored = message.objects.bulk_create(messages, batch_size=500)
    run.objects.bulk_create(
        [run_between(question, answer) for question, answer in batched(stored, 2, strict=True)],
        batch_size=100,
    )
    written.objects.bulk_create(
        [
            written(message=row, conversation_id=row.conversation_id, text=row.text.lower())
            for row in stored
        ],
        batch_size=500,
    )


def run_between(question: Any, answer: Any) -> Any:
    chat = question.conversation
    return apps.get_model("chat.Run")(
        conversation=chat,
        question=question,
        answer=answer,
        owner=chat.owner,
        message_id=uuid.uuid4(),
        mode="auto",
        worker="w",
        lease_expires_at=chat.updated_at,
        status="completed",
        ending={"status": "completed"},
        created_at=chat.updated_at,
        ended_at=chat.updated_at,
        closed_at=chat.updated_at,
        counted=True,
        total_ms=1000,
    )


def pages(long: uuid.UUID) -> Iterator[Page]:
    conversation, message = apps.get_model("chat.Conversation"), apps.get_model("chat.Message")
    part = {"HX-Request": "true"}
    questions = message.objects.filter(conversation=long, role="user").order_by("pk")
    middle = questions[LONG // 4].pk
    owner = conversation.objects.get(pk=long).owner
    yield Page("a new chat, with the list", "/")
    yield Page("the long chat", f"/c/{long}/")
    yield Page("its earlier questions", f"/c/{long}/?before={middle}", part)
    yield Page("at a place in its middle", f"/c/{long}/?at={middle}")
    yield Page("what is new in it", f"/c/{long}/turns/?after={questions.last().pk - 1}", part)
    yield Page("its figures", f"/c/{long}/totals/", part)
    newest = conversation.objects.filter(owner=owner).order_by("-updated_at")
    yield Page("the newest chat", f"/c/{newest[0].pk}/")
    yield Page("the list of chats", "/chats/", part)
    before = urlencode({"before": newest[newest.count() // 2].updated_at.isoformat()})
    yield Page("older chats of the list", f"/chats/?{before}", part)
    yield Page("the chats that run", "/chats/?running=1", part)
    for name, search in (
        ("a word of a tenth of the answers", COMMON),
        ("a rare word", RARE),
        ("an unknown word", "nowhere"),
        ("two letters", "ka"),
        ("three words", f"{COMMON} kaka lo"),
        ("letters with accents", "É"),
        ("a crafted text", "a" * 99 + "b"),
    ):
        yield Page(f"search: {name}", f"/chats/?{urlencode({'q': search})}", part, is_search=True)


def measure(page: Page, client: Client, repeat: int) -> None:
    def timed(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, *rest)
        finally:
            page.queries[-1].append(((time.perf_counter() - started) * 1000, sql, params))

    for number in range(repeat + 1):
        page.queries.append([])
        started = time.perf_counter()
        with connection.execute_wrapper(timed):
            response = client.get(page.path, headers=page.headers)
        took = (time.perf_counter() - started) * 1000
        if response.status_code not in (200, 204):
            sys.exit(f"{page.name}: status {response.status_code}")
        if number:  # The first request compiles templates and fills caches.
            page.total_ms.append(took)
    del page.queries[0]


def explain(name: str, ms: float, sql: str, params: Any) -> None:
    verb = (
        "EXPLAIN (ANALYZE, BUFFERS)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{verb} {sql}", params)
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    sys.stdout.write(f"\n{name}: {ms:.1f} ms\n{sql[:2000]}\n{plan}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--chats", type=int, default=2000, help="of the person")
    parser.add_argument("--repeat", type=int, default=10, help="requests per page")
    parser.add_argument("--only", default="", help="measure pages whose name contains this")
    parser.add_argument("--explain", action="store_true", help="show the plan of slow queries")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fleet-benchmark-")))
        os.environ.update(
            DATABASE_URL=f"sqlite:///{folder / 'fleet.sqlite3'}",
            DJANGO_SECRET_KEY=uuid.uuid4().hex,
            FLEET_STATE_DIR=str(folder / "state"),
            FLEET_LOG_LEVEL="warning",
            DJANGO_ALLOWED_HOSTS="testserver",
            DJANGO_SETTINGS_MODULE="agenticfleet.settings",
            PYTHON_DOTENV_DISABLED="1",
        )
        if options.database == "postgresql":
            os.environ["DATABASE_URL"] = stack.enter_context(postgresql(folder)).url()
        django.setup()
        call_command("migrate", verbosity=0)
        client = Client()
        user = apps.get_model("auth.User").objects.create_user("ann")
        client.force_login(user)
        started = time.perf_counter()
        long = fill(f"user:{user.pk}", options.chats)
        took = time.perf_counter() - started
        measured = [page for page in pages(long) if options.only in page.name]
        sys.stdout.write(
            f"\n{apps.get_model('chat.Message').objects.count():,} messages of {OWNERS} owners on"
            f" {options.database}, stored in {took:.0f} s; {options.chats:,} chats"
            " of the person\n\n"
            "| page | queries | slowest query | all queries | p50 | p95 | verdict |\n"
            "|---|---:|---:|---:|---:|---:|---|\n"
        )
        for page in measured:
            measure(page, client, options.repeat)
            sys.stdout.write(page.row)
            sys.stdout.flush()
        if options.explain:
            for page in measured:
                for ms, sql, params in page.queries[-1]:
                    if ms > SLOW_MS:
                        explain(page.name, ms, sql, params)
        connection.close()
    sys.exit(not all(page.is_within for page in measured))


if __name__ == "__main__":
    main()
