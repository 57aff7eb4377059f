"""How well decisions on labelled questions are: shares with their 95 % intervals, and times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routing import intervals
from routing.examples import Example

type Estimate = tuple[float, float, float] | None  # a share, and the ends of its interval


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
    """Shares of a set of decisions."""

    items: int
    accuracy: Estimate
    light_precision: Estimate
    light_recall: Estimate
    light_f1: float | None

    def row(self, name: str) -> str:
        shares = " ".join(
            f"{'–':>20}" if share is None else "{:.3f} [{:.3f}–{:.3f}]".format(*share).rjust(20)
            for share in (self.accuracy, self.light_precision, self.light_recall)
        )
        f1 = "–" if self.light_f1 is None else f"{self.light_f1:.3f}"
        return f"{name:<20} {self.items:6} {shares} {f1:>6}"


def quality(decisions: Sequence[Decision]) -> Quality:
    sent = sum(decision.sent_light for decision in decisions)
    light = sum(decision.example.is_light for decision in decisions)
    both = sum(decision.sent_light and decision.example.is_light for decision in decisions)
    right = sum(decision.is_right for decision in decisions)
    return Quality(
        items=len(decisions),
        accuracy=share(right, len(decisions)),
        light_precision=share(both, sent),
        light_recall=share(both, light),
        light_f1=2 * both / (sent + light) if sent + light else None,
    )


def share(part: int, whole: int) -> Estimate:
    """Return a share with its Wilson interval; None if it is a share of nothing."""
    found = intervals.Share.of(part, whole)
    return None if found.value is None else (found.value, *found.interval)


def percentile(decisions: Sequence[Decision], percent: int) -> float:
    times = sorted(decision.took_ms for decision in decisions)
    return times[min(len(times) - 1, len(times) * percent // 100)]


def grouped(
    decisions: Sequence[Decision], name_of: Callable[[Example], str]
) -> dict[str, list[Decision]]:
    groups: dict[str, list[Decision]] = {}
    for decision in sorted(decisions, key=lambda decision: name_of(decision.example)):
        groups.setdefault(name_of(decision.example) or "(none)", []).append(decision)
    return groups
