"""Evaluate the router: how well it decides labelled questions, and how fast."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.classifier import BrokenWeights, Classifier
from routing.examples import BadLine, Example, read_examples


@dataclass(frozen=True, slots=True)
class Decision:
    """A labelled question and the router's decision."""

    example: Example
    light: float
    sent_light: bool
    took_ms: float
    reasons: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        return self.sent_light == self.example.is_light


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of a set of decisions; a share of an empty set is None."""

    items: int
    accuracy: float
    light_precision: float | None
    light_recall: float | None
    light_f1: float | None

    def row(self, name: str) -> str:
        shares = (self.accuracy, self.light_precision, self.light_recall, self.light_f1)
        return f"{name:<20} {self.items:6} " + " ".join(
            f"{'–' if share is None else f'{share:.3f}':>9}" for share in shares
        )


class Command(BaseCommand):
    help = (
        "Evaluate the shipped weights on a file of labelled questions"
        " (a JSON object a line: text, label; optionally context, slice)."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--errors", action="store_true", help="print the misrouted questions")

    def handle(self, *args: Any, file: Path, errors: bool, **options: Any) -> None:
        try:
            examples = read_examples(file)
            classifier = Classifier.load()
        except (BadLine, BrokenWeights) as exc:
            raise CommandError(str(exc)) from exc
        except OSError as exc:
            raise CommandError(f"{file}: {exc.strerror}") from exc
        if not examples:
            raise CommandError(f"{file}: no questions")
        decisions = [decide(classifier, example) for example in examples]
        if options["json"]:
            self.stdout.write(
                json.dumps(summary(decisions, errors=errors), ensure_ascii=False, indent=1)
            )
        else:
            self.print_table(decisions, errors=errors)

    def print_table(self, decisions: Sequence[Decision], *, errors: bool) -> None:
        self.stdout.write(
            f"{'':<20} {'items':>6} {'accuracy':>9} {'precision':>9} {'recall':>9} {'F1':>9}"
        )
        for name, members in by_slice(decisions).items():
            self.stdout.write(quality(members).row(name))
        self.stdout.write(quality(decisions).row("all"))
        self.stdout.write(
            f"a decision takes {percentile(decisions, 50):.2f} ms (p50),"
            f" {percentile(decisions, 99):.2f} ms (p99)"
        )
        for decision in decisions if errors else ():
            if not decision.is_right:
                self.stdout.write(f"should be {decision.example.label}: {decision.example.text!r}")
                self.stdout.write(f"    light {decision.light:.2f}: {'; '.join(decision.reasons)}")


def decide(classifier: Classifier, example: Example) -> Decision:
    started = time.perf_counter()
    judgement = classifier.judge(example.text, example.context)
    took_ms = (time.perf_counter() - started) * 1000
    return Decision(
        example,
        judgement.light,
        judgement.light >= classifier.threshold,
        took_ms,
        judgement.reasons,
    )


def quality(decisions: Sequence[Decision]) -> Quality:
    sent = sum(decision.sent_light for decision in decisions)
    light = sum(decision.example.is_light for decision in decisions)
    both = sum(decision.sent_light and decision.example.is_light for decision in decisions)
    return Quality(
        items=len(decisions),
        accuracy=sum(decision.is_right for decision in decisions) / len(decisions),
        light_precision=both / sent if sent else None,
        light_recall=both / light if light else None,
        light_f1=2 * both / (sent + light) if sent + light else None,
    )


def percentile(decisions: Sequence[Decision], percent: int) -> float:
    times = sorted(decision.took_ms for decision in decisions)
    return times[min(len(times) - 1, len(times) * percent // 100)]


def by_slice(decisions: Sequence[Decision]) -> dict[str, list[Decision]]:
    slices: dict[str, list[Decision]] = {}
    for decision in sorted(decisions, key=lambda decision: decision.example.slice):
        slices.setdefault(decision.example.slice or "(none)", []).append(decision)
    return slices


def summary(decisions: Sequence[Decision], *, errors: bool) -> dict[str, Any]:
    """Return what `--json` prints."""
    whole = shares_of(quality(decisions)) | {
        "p50_ms": round(percentile(decisions, 50), 3),
        "p99_ms": round(percentile(decisions, 99), 3),
    }
    whole["slices"] = {
        name: shares_of(quality(members)) for name, members in by_slice(decisions).items()
    }
    if errors:
        whole["errors"] = [
            {
                "text": decision.example.text,
                "label": decision.example.label,
                "light": round(decision.light, 3),
                "reasons": decision.reasons,
            }
            for decision in decisions
            if not decision.is_right
        ]
    return whole


def shares_of(found: Quality) -> dict[str, Any]:
    shares = {
        "accuracy": found.accuracy,
        "light_precision": found.light_precision,
        "light_recall": found.light_recall,
        "light_f1": found.light_f1,
    }
    return {"items": found.items} | {
        name: None if share is None else round(share, 4) for name, share in shares.items()
    }
