"""The charts of the dashboard, made from the figures of each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.conf import settings

from chat.deadlines import PathLevels
from chat.rendering.wording import counted
from chat.telemetry.figures import Figures, Histogram, PathFigures

from .charts import Chart, Series, bars_of, end_of, labels_of, line_of, scale_of, tips_of
from .ranges import Range
from .wording import compact, duration, grouped, milliseconds, percent, ratio

PATHS = ("light", "full")


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a run with a service level: how to read it from figures and limits."""

    title: str
    of_path: Callable[[PathFigures], Histogram]
    level: Callable[[PathLevels], float]


MOMENTS = (
    Moment("First event", lambda path: path.first_event, lambda levels: levels.first_event),
    Moment("First token", lambda path: path.first_token, lambda levels: levels.first_token),
    Moment("Total", lambda path: path.total, lambda levels: levels.total),
)


def charts_of(shown: Range, steps: Sequence[Figures], total: Figures) -> list[Chart]:
    return [
        runs_chart(shown, steps, total),
        paths_chart(shown, steps, total),
        missed_chart(shown, steps, total),
        tokens_chart(shown, steps, total),
        cached_chart(shown, steps, total),
    ]


def times_of(shown: Range, steps: Sequence[Figures], total: Figures) -> list[Chart]:
    return [time_chart(shown, steps, total, moment, path) for path in PATHS for moment in MOMENTS]


def runs_chart(shown: Range, steps: Sequence[Figures], total: Figures) -> Chart:
    sums = [figures.all_paths for figures in [*steps, total]]
    runs, failed = [path.runs for path in sums], [path.failed for path in sums]
    scale = scale_of(runs[:-1], compact)
    names = step_names(shown)
    texts = [
        f"{name}: {counted(count, 'run')}, {grouped(part)} failed"
        for name, count, part in zip(names, runs, failed, strict=False)
    ]
    return Chart(
        title="Runs",
        summary=f"{counted(runs[-1], 'run')}, {grouped(failed[-1])} failed (solid)",
        ticks=shown.ticks,
        axis=scale.texts,
        bars=bars_of(runs[:-1], failed[:-1], scale),
        tips=tips_of(texts),
        head=("Runs", "Completed", "Cancelled", "Paused", "Failed"),
        rows=[
            (
                name,
                grouped(path.runs),
                grouped(path.endings.get("completed", 0)),
                grouped(path.endings.get("cancelled", 0)),
                grouped(path.paused),
                grouped(part),
            )
            for name, path, part in zip(names, sums, failed, strict=False)
        ],
        empty="" if runs[-1] else "No run ended in this time.",
    )


def paths_chart(shown: Range, steps: Sequence[Figures], total: Figures) -> Chart:
    sums = [(figures.paths, figures.all_paths) for figures in [*steps, total]]
    light = [paths["light"].concluded if "light" in paths else 0 for paths, _ in sums]
    routed = [sum(paths[name].concluded for name in PATHS if name in paths) for paths, _ in sums]
    escalated = [path.escalated for _, path in sums]
    return share_chart(
        shown,
        "Light path and escalations",
        [("light", "strong", light, routed), ("escalated", "dashed", escalated, routed)],
        "No question was routed in this time.",
    )


def missed_chart(shown: Range, steps: Sequence[Figures], total: Figures) -> Chart:
    found = [[figures.paths.get(name) for figures in [*steps, total]] for name in PATHS]
    return share_chart(
        shown,
        "Runs that missed a service level",
        [
            (
                name,
                "strong" if name == "light" else "dashed",
                [path.missed_any if path else 0 for path in of_path],
                [path.judged if path else 0 for path in of_path],
            )
            for name, of_path in zip(PATHS, found, strict=True)
        ],
        "No run of this time was judged by its service levels.",
    )


def share_chart(
    shown: Range,
    title: str,
    parts: Sequence[tuple[str, str, Sequence[int], Sequence[int]]],
    empty: str,
    *,
    unit: str = "runs",
) -> Chart:
    """Return a chart of shares. A part is a name, its looks, counts, and those of its whole."""
    series: list[Series] = [
        [ratio(part, whole) for part, whole in zip(counts[:-1], wholes[:-1], strict=True)]
        for _, _, counts, wholes in parts
    ]
    scale = scale_of([min(value, 100) for each in series for value in each if value], percents)
    names = step_names(shown)
    shares = [
        [percent(part, whole) for part, whole in zip(counts, wholes, strict=True)]
        for _, _, counts, wholes in parts
    ]
    titles = [name for name, *_ in parts]
    return Chart(
        title=title,
        summary=", ".join(
            f"{name} {share[-1]}" for name, share in zip(titles, shares, strict=True)
        ),
        ticks=shown.ticks,
        axis=scale.texts,
        lines=[
            line_of(name, looks, each, scale)
            for (name, looks, *_), each in zip(parts, series, strict=True)
        ],
        labels=labels_of(
            (name, looks, end_of(each, scale))
            for (name, looks, *_), each in zip(parts, series, strict=True)
        ),
        tips=tips_of(
            [
                f"{name}: "
                + ", ".join(f"{label} {share}" for label, share in zip(titles, values, strict=True))
                for name, *values in zip(names, *shares, strict=False)
            ]
        ),
        head=[
            heading
            for title in titles
            for heading in (f"{title.capitalize()}", f"{title.capitalize()} ({unit})")
        ],
        rows=[
            (
                name,
                *(
                    text
                    for share, (_, _, counts, _) in zip(shares, parts, strict=True)
                    for text in (share[number], grouped(counts[number]))
                ),
            )
            for number, name in enumerate(names)
        ],
        empty="" if any(wholes[-1] for *_, wholes in parts) else empty,
    )


def tokens_chart(shown: Range, steps: Sequence[Figures], total: Figures) -> Chart:
    models = [figures.models.values() for figures in [*steps, total]]
    read = [sum(model.input_tokens for model in each) for each in models]
    written = [sum(model.output_tokens for model in each) for each in models]
    both = [sum(pair) for pair in zip(read, written, strict=True)]
    scale = scale_of(both[:-1], compact)
    names = step_names(shown)
    return Chart(
        title="Tokens",
        summary=f"{compact(read[-1])} read, {compact(written[-1])} written (solid)",
        ticks=shown.ticks,
        axis=scale.texts,
        bars=bars_of(both[:-1], written[:-1], scale),
        tips=tips_of(
            [
                f"{name}: {grouped(first)} read, {grouped(second)} written"
                for name, first, second in zip(names, read, written, strict=False)
            ]
        ),
        head=("Read", "Written"),
        rows=[
            (name, grouped(first), grouped(second))
            for name, first, second in zip(names, read, written, strict=False)
        ],
        empty="" if both[-1] else "No model was called in this time.",
    )


def cached_chart(shown: Range, steps: Sequence[Figures], total: Figures) -> Chart:
    """Return a chart of how much of the models' input the servers had cached, as they report it."""
    sums = [*steps, total]
    reports = total.cached_tokens > 0
    return share_chart(
        shown,
        "Cached input",
        [
            (
                "cached",
                "strong",
                [figures.cached_tokens for figures in sums],
                [figures.input_tokens if reports else 0 for figures in sums],
            )
        ],
        "No model server reported cached tokens in this time.",
        unit="tokens",
    )


def time_of_axis(ms: float) -> str:
    """Return a time of an axis. All of one axis are in seconds, or in milliseconds."""
    return f"{ms / 1000:g} s" if ms >= 1000 else duration(ms)


def time_chart(
    shown: Range, steps: Sequence[Figures], total: Figures, moment: Moment, path: str
) -> Chart:
    """Return a chart with the median and p95 of a moment, and its service level if in sight."""
    none = Histogram()
    found = [
        moment.of_path(figures.paths[path]) if path in figures.paths else none
        for figures in [*steps, total]
    ]
    medians = [histogram.percentile(0.5) for histogram in found]
    tails = [histogram.percentile(0.95) for histogram in found]
    counts = [histogram.count for histogram in found]
    levels = settings.FLEET_SERVICE_LEVELS
    level = 1000 * moment.level(levels.full if path == "full" else levels.light)
    highest = max((ms for ms in tails[:-1] if ms is not None), default=0)
    is_in_sight = level <= 2 * highest
    scale = scale_of([highest, level if is_in_sight else None], time_of_axis)
    names = step_names(shown)
    lines: list[tuple[str, str, Series]] = [
        ("p50", "strong", medians[:-1]),
        ("p95", "pale", tails[:-1]),
    ]
    ends = [(name, looks, end_of(each, scale)) for name, looks, each in lines]
    if is_in_sight:
        ends.append(("level", "level", scale.y(level)))
    return Chart(
        title=f"{moment.title}, {path}",
        summary=f"p50 {duration(medians[-1])}, p95 {duration(tails[-1])}; level {duration(level)}",
        ticks=shown.ticks,
        axis=scale.texts,
        lines=[line_of(name, looks, each, scale) for name, looks, each in lines],
        labels=labels_of(ends),
        level_y=f"{scale.y(level):.1f}" if is_in_sight else "",
        tips=tips_of(
            [
                f"{name}: p50 {duration(median)}, p95 {duration(tail)}, {counted(count, 'run')}"
                for name, median, tail, count in zip(names, medians, tails, counts, strict=False)
            ]
        ),
        head=("p50 (ms)", "p95 (ms)", "Runs"),
        rows=[
            (name, milliseconds(median), milliseconds(tail), grouped(count))
            for name, median, tail, count in zip(names, medians, tails, counts, strict=False)
        ],
        empty="" if counts[-1] else f"No run on the {path} path got this far in this time.",
    )


def percents(share: float) -> str:
    return f"{share:.3g} %"


def step_names(shown: Range) -> list[str]:
    return [shown.short(start) for start in shown.starts]
