"""Evaluate the router: how well it decides labelled questions, and how fast."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.classifier import BrokenWeights, Classifier
from routing.examples import BadLine, Example, read_examples
from routing.played_judge import Played, play
from routing.policy import GREY_ZONE
from routing.quality import Decision, Quality, grouped, percentile, quality

JUDGES = (0.85, 0.90)  # how often a judge in the grey zone is right


class Command(BaseCommand):
    help = (
        "Evaluate the shipped weights on a file of labelled questions (a JSON object a line: text,"
        " label; optionally context, answer, slice or kind, language or lang)."
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
            self.print_tables(decisions, classifier)
            self.print_errors(decisions if errors else ())

    def print_tables(self, decisions: Sequence[Decision], classifier: Classifier) -> None:
        for title, groups in groups_of(decisions):
            self.print_head(title)
            for name, members in groups.items():
                self.stdout.write(quality(members).row(name))
        self.print_head("")
        self.stdout.write(quality(decisions).row("all"))
        self.print_head("threshold")
        for preference, threshold in classifier.thresholds.items():
            found = quality(decided_at(threshold, decisions))
            self.stdout.write(found.row(f"{preference} {threshold:.2f}"))
        self.print_head("with a judge (played)")
        for judge in JUDGES:
            played = play(decisions, judge, GREY_ZONE)
            self.stdout.write(played.quality.row(f"right in {judge:.0%}"))
            self.stdout.write(
                f"    asked for {played.asked:.1%} of the questions; per question"
                f" {played.tokens:.0f} tokens and {played.seconds:.2f} s more"
            )
        self.stdout.write(
            f"a decision takes {percentile(decisions, 50):.2f} ms (p50),"
            f" {percentile(decisions, 99):.2f} ms (p99)"
        )

    def print_head(self, title: str) -> None:
        shares = " ".join(f"{name:>20}" for name in ("accuracy", "precision", "recall"))
        self.stdout.write(f"{title:<20} {'items':>6} {shares} {'F1':>6}")

    def print_errors(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if not decision.is_right:
                self.stdout.write(f"should be {decision.example.label}: {decision.example.text!r}")
                self.stdout.write(f"    light {decision.light:.2f}: {'; '.join(decision.reasons)}")


def decide(classifier: Classifier, example: Example) -> Decision:
    started = time.perf_counter()
    judgement = classifier.judge(example.text, example.context, example.answered)
    took_ms = (time.perf_counter() - started) * 1000
    return Decision(
        example,
        judgement.light,
        judgement.light >= classifier.threshold,
        took_ms,
        judgement.reasons,
    )


def decided_at(threshold: float, decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions as another threshold makes them."""
    return [
        Decision(
            decision.example,
            decision.light,
            decision.light >= threshold,
            decision.took_ms,
            decision.reasons,
        )
        for decision in decisions
    ]


def groups_of(decisions: Sequence[Decision]) -> list[tuple[str, dict[str, list[Decision]]]]:
    """Return the decisions by kind, and by language if any has one."""
    groups = [("kind", grouped(decisions, lambda example: example.slice))]
    if any(decision.example.language for decision in decisions):
        groups.append(("language", grouped(decisions, lambda example: example.language)))
    return groups


def summary(decisions: Sequence[Decision], *, errors: bool) -> dict[str, Any]:
    """Return what `--json` prints."""
    whole = shares_of(quality(decisions)) | {
        "p50_ms": round(percentile(decisions, 50), 3),
        "p99_ms": round(percentile(decisions, 99), 3),
    }
    for title, groups in groups_of(decisions):
        whole["slices" if title == "kind" else "languages"] = {
            name: shares_of(quality(members)) for name, members in groups.items()
        }
    whole["judges"] = [costs_of(play(decisions, judge, GREY_ZONE)) for judge in JUDGES]
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


def costs_of(played: Played) -> dict[str, Any]:
    return {
        "right": played.right,
        **shares_of(played.quality),
        "asked": round(played.asked, 4),
        "tokens": round(played.tokens, 1),
        "seconds": round(played.seconds, 3),
    }


def shares_of(found: Quality) -> dict[str, Any]:
    shares = {
        "accuracy": found.accuracy,
        "light_precision": found.light_precision,
        "light_recall": found.light_recall,
    }
    return (
        {"items": found.items}
        | {name: share and round(share[0], 4) for name, share in shares.items()}
        | {
            f"{name}_interval": share and [round(end, 4) for end in share[1:]]
            for name, share in shares.items()
        }
        | {"light_f1": found.light_f1 and round(found.light_f1, 4)}
    )
