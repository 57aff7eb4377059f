"""Estimate how well a trained model decides texts of authors and sources that it has not seen.

What is left out together shares its author, its source or its templates. The templates are left out
with the checked sources, because they were written after those had been read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from routing.preferences import PREFERENCES, Preference
from routing.training.costs import FULL_ANSWER, threshold_of, wrong_light
from routing.training.fit import ESTIMATE_TOLERANCE, OWN, Array, Matrix, Model, Sample

TEMPLATES = "template"
SOURCE_PARTS = 5
RESAMPLED = 1000
CURVE = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Checked examples, with the scores of models that have not seen their author or source."""

    groups: Array  # authors, sources or own
    clusters: Array  # examples with the same number belong to one pair
    labels: Array
    scores: Array

    def chosen(self, group: str) -> "Unseen":
        of_group = self.groups == group
        return Unseen(
            self.groups[of_group],
            self.clusters[of_group],
            self.labels[of_group],
            self.scores[of_group],
        )


def judge_unseen(
    samples: Sequence[Sample], matrix: Matrix, report: Callable[[str], None]
) -> Unseen:
    """Score each part of the checked examples by a model that was trained without it."""
    is_checked = np.array([sample.is_checked for sample in samples])
    families = np.array([sample.family for sample in samples])
    scores = np.zeros(len(samples))
    for name, judged, held_out in parts(families, is_checked):
        if len(set(matrix.labels[~held_out])) < 2:
            raise ValueError(f"without {name} only one label is left; more sources are needed")
        model = Model(matrix, ~held_out, tolerance=ESTIMATE_TOLERANCE)
        scores[judged] = model.scores(matrix, judged)
        accuracy = ((scores[judged] > 0) == matrix.labels[judged]).mean()
        report(f"{name:<60} {judged.sum():5} {accuracy:8.3f}")
    groups = np.array([group_of(family) for family in families])
    return Unseen(
        groups[is_checked],
        clusters_of(samples)[is_checked],
        matrix.labels[is_checked],
        scores[is_checked],
    )


def parts(families: Array, is_checked: Array) -> Iterator[tuple[str, Array, Array]]:
    """Yield what is judged together: its name, its examples, and those left out of training."""
    checked = sorted(set(families[is_checked]))
    for family in checked:
        if group_of(family) != "sources":
            chosen = families == family
            yield family, chosen & is_checked, chosen
    sources = [family for family in checked if group_of(family) == "sources"]
    for part in filter(None, (sources[at::SOURCE_PARTS] for at in range(SOURCE_PARTS))):
        chosen = np.isin(families, part)
        yield ", ".join(part), chosen & is_checked, chosen | (families == TEMPLATES)


def group_of(family: str) -> str:
    return "authors" if family.startswith("author ") else OWN if family == OWN else "sources"


def clusters_of(samples: Sequence[Sample]) -> Array:
    """Return a number for each sample, the same for both of a pair."""
    numbers: dict[object, int] = {}
    keys = (
        (sample.family, sample.example.pair) if sample.example.pair else at
        for at, sample in enumerate(samples)
    )
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def calibrate(unseen: Unseen) -> float:
    """Return the slope that turns scores into probabilities that hold for unseen texts.

    Real questions and contrast pairs count the same, however many they are.
    """
    names, counts = np.unique(unseen.groups, return_counts=True)
    weight = dict(zip(names, 1 / counts, strict=True))
    if len(names) > 1:
        weight[OWN] = 0.0
    regression = LogisticRegression(fit_intercept=False, C=1e6).fit(
        unseen.scores.reshape(-1, 1),
        unseen.labels,
        sample_weight=[weight[group] * len(unseen.groups) for group in unseen.groups],
    )
    return round(float(regression.coef_[0, 0]), 3)


def report_curve(unseen: Unseen, slope: float, report: Callable[[str], None]) -> None:
    """Report accuracy, precision and recall by threshold, with intervals at those that are used."""
    light = sigmoid(slope * unseen.scores)
    for group in sorted(set(unseen.groups)):
        of_group = unseen.groups == group
        labels, clusters = unseen.labels[of_group], unseen.clusters[of_group]
        report(f"{group}: {of_group.sum()}")
        for threshold in CURVE:
            shares = shares_of(light[of_group] >= threshold, labels)
            report(f"{threshold:9.2f} " + " ".join(f"{share:.3f}" for share in shares))
        for name in PREFERENCES:
            threshold = threshold_of(name)
            sent = light[of_group] >= threshold
            report(
                f"{name:>9} {threshold:.3f} "
                + ", ".join(
                    f"{share:.3f} [{low:.3f} to {high:.3f}]"
                    for share, (low, high) in zip(
                        shares_of(sent, labels), intervals(sent, labels, clusters), strict=True
                    )
                )
                + f"; cost {cost_of(sent, labels, name):.2f},"
                f" without escalation {cost_of(sent, labels, name, escalates=False):.2f}"
                f" (best threshold {threshold_of(name, escalates=False):.3f})"
            )


def shares_of(sent: Array, labels: Array) -> tuple[float, ...]:
    """Return accuracy, light precision and light recall."""
    counts = counts_of(sent, labels).sum(axis=0, keepdims=True)
    return tuple(ratios(counts)[0].tolist())


def counts_of(sent: Array, labels: Array) -> Array:
    """Return what the shares are made of, for each example."""
    return np.stack([sent == labels, sent & labels, np.ones(len(sent)), sent, labels], axis=1) * 1.0


def ratios(counts: Array) -> Array:
    return counts[:, [0, 1, 1]] / np.maximum(1, counts[:, [2, 3, 4]])


def intervals(sent: Array, labels: Array, clusters: Array) -> list[tuple[float, float]]:
    """Return 95 % intervals of the shares, by drawing pairs again."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    by_pair = np.zeros((numbers.max() + 1, 5))
    np.add.at(by_pair, numbers, counts_of(sent, labels))
    drawn = np.random.default_rng(0).multinomial(
        len(by_pair), np.full(len(by_pair), 1 / len(by_pair)), size=RESAMPLED
    )
    low, high = np.percentile(ratios(drawn @ by_pair), (2.5, 97.5), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def cost_of(sent: Array, labels: Array, preference: Preference, *, escalates: bool = True) -> float:
    """Return what wrong paths cost on average, in light answers."""
    wrong_fulls, wrong_lights = (~sent & labels).mean(), (sent & ~labels).mean()
    return float(
        wrong_fulls * (FULL_ANSWER - 1)
        + wrong_lights * wrong_light(preference, escalates=escalates)
    )


def sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))
