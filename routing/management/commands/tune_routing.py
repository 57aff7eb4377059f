"""Propose thresholds from what comparisons and thumbs say. Change nothing."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Min
from django.utils import timezone

from routing.intervals import Share
from routing.models import Comparison, RoutingDecision
from routing.policy import classifier
from routing.reasons import WITHOUT_THRESHOLD
from routing.regret import Compared, weights_digest
from routing.tuning import (
    Expected,
    Proposal,
    Sample,
    Thumb,
    TooFew,
    expected_at,
    proposals,
    samples_of,
)

DAYS = 90


@dataclass(frozen=True, slots=True)
class Known:
    """What the rows say since a moment."""

    since: datetime
    compared: Sequence[Compared]
    thumbs: Sequence[Thumb]
    answered: dict[str, int]  # questions by path

    def samples(self) -> list[Sample]:
        return samples_of(self.compared, self.thumbs, self.answered)


class Command(BaseCommand):
    help = (
        "Propose thresholds of the router (FLEET_LIGHT_THRESHOLD) for economy, balanced and"
        " quality, from this fleet's own comparisons (FLEET_COMPARE) and thumbs. Changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, default=DAYS, help=f"how many days count (default: {DAYS})"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, days: int, **options: Any) -> None:
        if days < 1:
            raise CommandError("--days must be at least 1.")
        known = known_since(timezone.now() - timedelta(days=days))
        now = settings.FLEET_LIGHT_THRESHOLD
        now = classifier().threshold if now is None else now
        try:
            samples = known.samples()
            found = proposals(samples)
        except TooFew as exc:
            raise CommandError(
                f"Too little is known of the router's present weights in these {days} days: {exc}"
                " FLEET_COMPARE says how many answers are compared."
            ) from exc
        current = expected_at(now, samples)
        if options["json"]:
            self.stdout.write(json.dumps(document(known, now, current, found), indent=1))
        else:
            self.print_table(known, now, current, found)

    def print_table(
        self, known: Known, now: float, current: Expected, found: Sequence[Proposal]
    ) -> None:
        light = sum(row.is_light for row in known.compared)
        self.stdout.write(
            f"{len(known.compared)} comparisons ({light} of light answers,"
            f" {len(known.compared) - light} of full ones) and {len(known.thumbs)} thumbs more,"
            f" since {known.since:%Y-%m-%d}."
        )
        self.stdout.write(
            f"{'':<10} {'threshold':>9} {'light':>7} {'poor light answers':>26} {'tokens':>8}"
        )
        self.stdout.write(
            f"{'now':<10} {now:9.2f} {percent(current.light):>7} {with_interval(current.poor):>26}"
            f" {'':>8}"
        )
        for each in found:
            change = each.expected.tokens / current.tokens - 1
            self.stdout.write(
                f"{each.preference:<10} {each.threshold:9.2f} {percent(each.expected.light):>7}"
                f" {with_interval(each.expected.poor):>26} {change:>+8.0%}"
            )
        self.stdout.write(
            "Poor: the full path would have been better, with the interval that has the true share"
            " 19 times of 20.\nTokens: of an answer, against now.\nNothing was changed. To use a"
            f" threshold, set FLEET_LIGHT_THRESHOLD, such as {found[1].threshold:.2f}, and reload"
            " the fleet."
        )


def known_since(moment: datetime) -> Known:
    """Return what is known since then of the router's present weights."""
    weights = weights_digest()
    rows = Comparison.objects.filter(created_at__gte=moment, weights=weights)
    # Decisions don't say with which weights they were made: those before could be by others.
    first = rows.aggregate(first=Min("decision__created_at"))["first"]
    since = max(moment, first) if first else moment
    answered = RoutingDecision.objects.filter(
        created_at__gte=since, mode="auto", outcome="completed", escalated=False
    ).order_by()
    answered = answered.exclude(reasons__in=WITHOUT_THRESHOLD)
    rated = answered.filter(path="light", rating__isnull=False, comparison=None)
    return Known(
        since,
        Comparison.objects.since(moment, weights=weights),
        [
            Thumb(confidence, rating, tokens)
            for confidence, rating, tokens in rated.values_list("confidence", "rating", "tokens")
            if rating
        ],
        dict(answered.values_list("path").annotate(count=Count("pk"))),
    )


def percent(share: Share) -> str:
    return "–" if share.value is None else f"{share.value:.0%}"


def with_interval(share: Share) -> str:
    if share.value is None:
        return "–"
    low, high = share.interval
    return f"{share.value:.1%} ({low:.1%} to {high:.1%})"


def document(
    known: Known, now: float, current: Expected, found: Sequence[Proposal]
) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "since": known.since.isoformat(timespec="seconds"),
        "weights": weights_digest(),
        "compared": len(known.compared),
        "thumbs": len(known.thumbs),
        "now": {"threshold": now, **shares(current), "poor": measured(current.poor)},
        "proposals": {
            each.preference: {
                "threshold": each.threshold,
                **shares(each.expected),
                "poor": measured(each.expected.poor),
            }
            for each in found
        },
    }


def shares(expected: Expected) -> dict[str, float | None]:
    return {"light": expected.light.value, "tokens": round(expected.tokens, 1)}


def measured(share: Share) -> dict[str, float | None]:
    low, high = share.interval
    return {"share": share.value, "low": low, "high": high}
