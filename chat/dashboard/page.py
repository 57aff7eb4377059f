"""What the dashboard shows: the figures of a range, and the runs that are live now."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db.models import Count, Q
from django.utils import timezone

from chat.models import Run
from chat.rendering.wording import counted
from chat.telemetry.figures import Figures, total_of
from chat.telemetry.periods import Period
from chat.telemetry.rollup import BATCH, count_batch
from routing.models import RoutingDecision

from .charts import Chart
from .plots import charts_of, times_of
from .ranges import DEFAULT, LATEST, Range, latest, range_of
from .tables import Table, tables_of
from .wording import compact, duration, grouped, money, percent

logger = logging.getLogger(__name__)

MAX_BATCHES = 4  # that a view of the page counts; the workers count the rest
MAX_LIVE = 5  # live runs that are listed


@dataclass(frozen=True, slots=True)
class LiveRun:
    pk: UUID
    worker: str
    age: str


@dataclass(frozen=True, slots=True)
class Live:
    """The live runs: their number, that of each worker, and the oldest ones."""

    count: int
    workers: Sequence[tuple[str, int]]
    oldest: Sequence[LiveRun]


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    now: datetime
    range: Range
    ranges: Sequence[str]
    problem: str  # with the range that was asked for
    is_behind: bool  # ended runs wait to be counted
    is_empty: bool  # no run ended in the range
    live: Live
    tiles: Sequence[Tile]
    charts: Sequence[Chart]
    times: Sequence[Chart]
    tables: Sequence[Table]


def dashboard_of(query: Mapping[str, str], *, may_read: bool) -> Dashboard:
    """Return the page for a query. With `may_read` it has messages that may quote a model."""
    now = timezone.now().astimezone(UTC)
    shown, problem = latest(DEFAULT, now), ""
    try:
        shown = range_of(query, now)
    except ValueError as exc:
        problem = str(exc)
    is_behind = not count_newest()
    steps = steps_of(shown)
    total = total_of(steps, Figures())
    return Dashboard(
        now=now,
        range=shown,
        ranges=list(LATEST),
        problem=problem,
        is_behind=is_behind,
        is_empty=not total.paths,
        live=live_runs(now),
        tiles=tiles_of(total, thumbs_of(shown)),
        charts=charts_of(shown, steps, total),
        times=times_of(shown, steps, total),
        tables=tables_of(shown, total, may_read=may_read),
    )


def count_newest() -> bool:
    """Count runs that have ended meanwhile. Return False if some are left."""
    try:
        return any(count_batch() < BATCH for _ in range(MAX_BATCHES))
    except DatabaseProblem as exc:
        # Another writer may hold SQLite for long. The page then shows what is counted.
        logger.warning("could not count ended runs for the dashboard: %s", exc)
        return False


def steps_of(shown: Range) -> list[Figures]:
    """Return the figures of each step of the range."""
    steps = [Figures() for _ in shown.starts]
    for start, figures in Period.objects.between(shown.span, shown.start, shown.end):
        steps[shown.step_of(start)].add(figures)
    return steps


def live_runs(now: datetime) -> Live:
    live = Run.objects.live()
    workers = live.order_by().values_list("worker").annotate(count=Count("pk")).order_by("worker")
    by_worker = [(worker, count) for worker, count in workers]
    oldest = live.order_by("created_at").values_list("pk", "worker", "created_at")[:MAX_LIVE]
    return Live(
        sum(count for _, count in by_worker),
        by_worker,
        [
            LiveRun(pk, worker, duration((now - created_at).total_seconds() * 1000))
            for pk, worker, created_at in oldest
        ],
    )


def thumbs_of(shown: Range) -> tuple[int, int]:
    """Return how many answers to questions of the range are rated up, and how many down."""
    rated = RoutingDecision.objects.filter(
        rating__isnull=False, created_at__gte=shown.start, created_at__lt=shown.end
    )
    # Count a column of the index, so that the database doesn't look at the rows.
    counts = rated.aggregate(up=Count("rating", filter=Q(rating=1)), all=Count("rating"))
    return counts["up"], counts["all"] - counts["up"]


def tiles_of(total: Figures, thumbs: tuple[int, int]) -> list[Tile]:
    runs = total.all_paths
    routed = sum(path.concluded for name, path in total.paths.items() if name)
    light = total.paths["light"].concluded if "light" in total.paths else 0
    read, cached = total.input_tokens, total.cached_tokens
    written = sum(model.output_tokens for model in total.models.values())
    up, down = thumbs
    asked = total.cache_hits + total.cache_misses
    saved = total.credits_saved
    return [
        Tile(
            "Runs",
            grouped(runs.runs),
            f"{grouped(runs.endings.get('cancelled', 0))} cancelled"
            + (f", {grouped(runs.paused)} paused" if runs.paused else ""),
        ),
        Tile("Failed", percent(runs.failed, runs.concluded), counted(runs.failed, "run")),
        Tile(
            "Missed a service level",
            percent(runs.missed_any, runs.judged),
            f"{grouped(runs.missed_any)} of {grouped(runs.judged)} judged",
        ),
        Tile(
            "First token p50",
            duration(runs.first_token.percentile(0.5)),
            f"p95 {duration(runs.first_token.percentile(0.95))}",
        ),
        Tile("Light path", percent(light, routed), f"{grouped(light)} of {grouped(routed)} routed"),
        Tile("Escalated", percent(runs.escalated, routed), counted(runs.escalated, "run")),
        Tile("Thumbs up", percent(up, up + down), f"{grouped(up)} up, {grouped(down)} down"),
        Tile(
            "Cost",
            money(total.cost, total.unpriced, runs.runs),
            f"{grouped(read + written)} tokens",
        ),
        Tile(
            "Cached input",
            # 0 may also be said by a server that reports nothing.
            percent(cached, read if cached else 0),
            f"{compact(cached)} of {compact(read)} tokens" if cached else "no server reports any",
        ),
        Tile(
            "Cache hits",
            percent(total.cache_hits, asked),
            f"{grouped(total.cache_hits)} of {grouped(asked)}",
        ),
        Tile(
            "Credits spent",
            grouped(total.credits),
            "saved: unknown" if saved is None else f"≈ {grouped(round(saved, 1))} saved",
        ),
    ]
