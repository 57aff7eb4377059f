"""The tables of the dashboard, made from the figures of the whole range."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse
from django.utils.http import urlencode

from chat.models import Run
from chat.telemetry.figures import Figures, Histogram

from .ranges import Range
from .wording import NONE, grouped, milliseconds, money, percent

MAX_ROWS = 12
LEVELS = {
    "first_event": "first event",
    "first_token": "first token",
    "total": "total",
    "cancel": "cancel",
    "tool": "a tool",
}


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    cells: Sequence[str]
    url: str = ""  # of the runs that it counts


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Row]
    empty: str
    note: str = ""


def tables_of(shown: Range, total: Figures, *, may_read: bool) -> list[Table]:
    return [
        endings(shown, total),
        missed_levels(shown, total),
        owners(total),
        models(total),
        slowest("Phases", total.phases),
        slowest("Agents", total.agents),
        errors(shown, total, may_read=may_read),
        tools(total),
    ]


def endings(shown: Range, total: Figures) -> Table:
    paths = ("light", "full", "")
    runs = total.all_paths
    kinds = sorted(runs.endings, key=lambda kind: -runs.endings[kind])
    return Table(
        "Endings",
        ("Runs", "Share", "Light", "Full", "No path"),
        [
            Row(
                kind.replace("_", " "),
                (
                    grouped(runs.endings[kind]),
                    percent(runs.endings[kind], runs.runs),
                    *(
                        grouped(
                            total.paths[path].endings.get(kind, 0) if path in total.paths else 0
                        )
                        for path in paths
                    ),
                ),
                runs_url(shown, "status" if kind in Run.Status.values else "error", kind),
            )
            for kind in kinds
        ],
        "No run ended in this time.",
    )


def missed_levels(shown: Range, total: Figures) -> Table:
    """Return how many runs missed which level, by path. Runs that weren't routed count as light."""
    rows = []
    for path, figures in sorted(total.paths.items(), reverse=True):
        if not figures.missed_any:
            continue
        name = path or "not routed"
        # The list can't tell levels apart, so only the row of all levels has a link.
        rows.append(
            Row(
                f"{name}: any level",
                (grouped(figures.missed_any), percent(figures.missed_any, figures.judged)),
                runs_url(shown, "sla", "missed", path=path or "none"),
            )
        )
        rows += [
            Row(
                f"{name}: {LEVELS.get(level, level)}",
                (grouped(count), percent(count, figures.judged)),
            )
            for level, count in sorted(figures.missed.items(), key=lambda item: -item[1])
        ]
    return Table(
        "Missed service levels",
        ("Runs", "Share of its path"),
        rows,
        "Every run met its service levels." if total.all_paths.judged else "No run was judged.",
    )


def models(total: Figures) -> Table:
    return Table(
        "Models",
        (
            "Calls",
            "Failed",
            "Cut",
            "Tokens read",
            "Cached",
            "Written",
            "Cost",
            "First chunk p50 (ms)",
            "p95",
            "Call p50 (ms)",
            "p95",
        ),
        [
            Row(
                name or "not known",
                (
                    grouped(model.calls),
                    grouped(model.failed),
                    grouped(model.cut),
                    grouped(model.input_tokens),
                    percent(model.cached_tokens, model.input_tokens),
                    grouped(model.output_tokens),
                    money(model.cost, model.unpriced, model.calls),
                    *percentiles(model.first_chunk),
                    *percentiles(model.duration),
                ),
            )
            for name, model in sorted(
                total.models.items(),
                key=lambda item: -item[1].input_tokens - item[1].output_tokens,
            )[:MAX_ROWS]
        ],
        "No model was called in this time.",
        f"{grouped(total.estimated)} runs have estimated tokens: a call was cut, or the server"
        " reported none."
        if total.estimated
        else "",
    )


def owners(total: Figures) -> Table:
    return Table(
        "Kinds of owners",
        ("Runs", "Tokens", "Cost"),
        [
            Row(
                kind,
                (
                    grouped(owner.runs),
                    grouped(owner.tokens),
                    money(owner.cost, owner.unpriced, owner.runs),
                ),
            )
            for kind, owner in sorted(total.owners.items(), key=lambda item: -item[1].tokens)
        ],
        "No run ended in this time.",
    )


def slowest(title: str, durations: Mapping[str, Histogram]) -> Table:
    found = [(name, histogram, *percentiles(histogram)) for name, histogram in durations.items()]
    found.sort(key=lambda item: -(item[1].percentile(0.95) or 0))
    return Table(
        f"{title}, slowest first",
        ("p50 (ms)", "p95 (ms)", "Count"),
        [
            Row(name, (median, tail, grouped(histogram.count)))
            for name, histogram, median, tail in found[:MAX_ROWS]
        ],
        f"No run of this time has times of its {title.lower()}.",
    )


def tools(total: Figures) -> Table:
    found = sorted(total.tools.items(), key=lambda item: -(item[1].duration.percentile(0.95) or 0))
    return Table(
        "Tools, slowest first",
        (
            "p50 (ms)",
            "p95 (ms)",
            "Calls",
            "Failed",
            "Cached",
            "Stale",
            "Repeated",
            "Cut",
            "Credits",
        ),
        [
            Row(
                name,
                (
                    *percentiles(tool.duration),
                    grouped(tool.duration.count),
                    *(
                        grouped(tool.outcomes.get(outcome, 0))
                        for outcome in ("failed", "cached", "stale", "repeated", "cut")
                    ),
                    grouped(tool.credits),
                ),
            )
            for name, tool in found[:MAX_ROWS]
        ],
        "No tool was called in this time.",
    )


def errors(shown: Range, total: Figures, *, may_read: bool) -> Table:
    """Return the model server's errors by message; without `may_read`, by code only."""
    found: list[tuple[str, str, int, datetime]] = []
    for code, by_message in total.errors.items():
        if may_read:
            found += [
                (code, message, kind.count, kind.last) for message, kind in by_message.items()
            ]
        else:
            kinds = by_message.values()
            count, last = sum(kind.count for kind in kinds), max(kind.last for kind in kinds)
            found.append((code, "", count, last))
    found.sort(key=lambda item: (-item[2], item[0]))
    return Table(
        "Errors of the model server",
        ("Runs", "Last (UTC)"),
        [
            Row(
                f"{code.replace('_', ' ')}: {message}" if message else code.replace("_", " "),
                (grouped(count), f"{last:%-d %b %H:%M}"),
                runs_url(shown, "error", code)
                if len(total.errors[code]) == 1 or not message
                else "",
            )
            for code, message, count, last in found[:MAX_ROWS]
        ],
        "No run failed because of the model server in this time.",
        "" if may_read else "The messages may quote a model. You may see their codes only.",
    )


def percentiles(histogram: Histogram) -> tuple[str, str]:
    if not histogram.buckets:
        return NONE, NONE
    return milliseconds(histogram.percentile(0.5)), milliseconds(histogram.percentile(0.95))


def runs_url(shown: Range, name: str, value: str, **more: str) -> str:
    """Return the address of the list of runs with these filters, within the range."""
    # The list filters by the time of the question: the time of the end has no index.
    within = {"from": f"{shown.start:%Y-%m-%dT%H:%M}", "to": f"{shown.end:%Y-%m-%dT%H:%M}"}
    query = urlencode({name: value, **more, **within})
    return f"{reverse('admin:chat_run_changelist')}?{query}"
