"""Fit the weights to labelled questions. Needs scikit-learn (the dependency group `train`).

Nothing imports this at run time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from routing.classifier import FORMAT
from routing.examples import Correction, Example
from routing.features import Reading, read

# Chosen for the best results on sources left out of training; the figures are in README.md.
MIN_COUNT = 4
PENALTY = 0.7
TOLERANCE = 1e-7  # so small that the weights are the same on all processors
GRAM_SCALE = 3.0
NAMED_SCALE = 0.3
CHECKED_WEIGHT = 2.0  # of a real question whose label was checked; others weigh 1
AIMED_PRECISION = 0.90
SMALLEST_WEIGHT = 0.05

OWN = "own"
OWN_PARTS, OWN_BLOCK = 4, 30
_ONE_FAMILY = {"open": "oasst", "japanese": "mt"}

type Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """An example, read."""

    example: Example
    reading: Reading
    is_checked: bool

    @property
    def family(self) -> str:
        """The name shared by sources of one style, which are left out together."""
        name = self.example.source.split("-")[0] or OWN
        return _ONE_FAMILY.get(name, name)

    @property
    def weight(self) -> float:
        return CHECKED_WEIGHT if self.is_checked and self.family != OWN else 1.0


@dataclass(frozen=True, slots=True)
class Unseen:
    """Checked examples, with the scores of models that were trained without their source."""

    families: Array
    labels: Array
    scores: Array


def samples_of(examples: Sequence[Example], *, checked: bool) -> list[Sample]:
    return [Sample(example, read(example.text, example.context), checked) for example in examples]


def corrected(examples: Sequence[Example], corrections: Mapping[str, Correction]) -> list[Example]:
    """Return the examples with corrected labels, without the dropped ones."""
    kept = []
    for example in examples:
        label = corrections.get(example.id, example.label)
        if label != "drop":
            kept.append(replace(example, label=label))
    return kept


class Matrix:
    """Samples as rows: n-grams, scaled to length 1 for each text, and scaled named features."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        counts = Counter(gram for sample in samples for gram in sample.reading.grams)
        self.vocabulary = {
            gram: at
            for at, gram in enumerate(
                sorted(gram for gram, count in counts.items() if count >= MIN_COUNT)
            )
        }
        self.names = sorted(samples[0].reading.named)
        named = np.array(
            [[sample.reading.named[name] for name in self.names] for sample in samples]
        )
        self.means, self.spreads = named.mean(axis=0).round(4), (named.std(axis=0) + 1e-3).round(4)
        self.named = sparse.csr_matrix((named - self.means) / self.spreads * NAMED_SCALE)
        self.grams = self._grams(samples)
        self.labels = np.array([sample.example.is_light for sample in samples])
        self.weights = np.array([sample.weight for sample in samples])

    def _grams(self, samples: Sequence[Sample]) -> sparse.csr_matrix:
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for sample in samples:
            known = sorted(
                self.vocabulary[gram] for gram in sample.reading.grams if gram in self.vocabulary
            )
            columns.extend(known)
            values.extend([1 / max(1, len(sample.reading.grams)) ** 0.5] * len(known))
            ends.append(len(columns))
        return sparse.csr_matrix(
            (values, columns, ends), shape=(len(samples), len(self.vocabulary))
        )


class Model:
    """Logistic regression over n-grams, scaled by how one-sided their labels are.

    The scaling is that of the NB-SVM by Wang and Manning.
    """

    def __init__(self, matrix: Matrix, chosen: Array) -> None:
        grams, labels, weights = matrix.grams[chosen], matrix.labels[chosen], matrix.weights[chosen]
        light, full = (
            np.asarray((grams > 0).T @ (weights * (labels == label))).ravel() + 1
            for label in (True, False)
        )
        ratio = np.abs(np.log((light / light.sum()) / (full / full.sum())))
        self.scales = GRAM_SCALE * (np.minimum(ratio, 3) + 0.3) / 1.3
        self.regression = LogisticRegression(C=PENALTY, solver="liblinear", tol=TOLERANCE)
        self.regression.fit(self._rows(matrix, chosen), labels, sample_weight=weights)

    def scores(self, matrix: Matrix, chosen: Array) -> Array:
        return np.asarray(self.regression.decision_function(self._rows(matrix, chosen)))

    def _rows(self, matrix: Matrix, chosen: Array) -> sparse.csr_matrix:
        return sparse.hstack(
            [matrix.grams[chosen] @ sparse.diags(self.scales), matrix.named[chosen]]
        ).tocsr()

    def gram_weights(self, matrix: Matrix) -> Array:
        return np.asarray(self.regression.coef_[0][: len(matrix.vocabulary)] * self.scales)

    def named_weights(self, matrix: Matrix) -> Array:
        return np.asarray(self.regression.coef_[0][len(matrix.vocabulary) :] * NAMED_SCALE)


def train(samples: Sequence[Sample], report: Callable[[str], None]) -> str:
    """Return the text of a weights file. Raise ValueError for too few sources or labels."""
    matrix = Matrix(samples)
    unseen = judge_unseen(samples, matrix, report)
    slope = calibrate(unseen)
    threshold = choose_threshold(unseen, slope)
    model = Model(matrix, np.ones(len(samples), dtype=bool))
    bias = float(model.regression.intercept_[0])
    report_curve(unseen, slope, report)
    return written(matrix, model, {"bias": bias, "slope": slope, "threshold": threshold})


def judge_unseen(
    samples: Sequence[Sample], matrix: Matrix, report: Callable[[str], None]
) -> Unseen:
    """Score each checked source by a model that was trained without it.

    The own items are many sources in one, so they are scored part by part.
    """
    is_checked = np.array([sample.is_checked for sample in samples])
    families = np.array([sample.family for sample in samples])
    scores = np.zeros(len(samples))
    for name, held_out in parts(families, is_checked):
        if len(set(matrix.labels[~held_out])) < 2:
            raise ValueError(f"without {name} only one label is left; more sources are needed")
        judged = held_out & is_checked
        scores[judged] = Model(matrix, ~held_out).scores(matrix, judged)
        accuracy = ((scores[judged] > 0) == matrix.labels[judged]).mean()
        report(f"{name:<20} {judged.sum():5} {accuracy:8.3f}")
    return Unseen(families[is_checked], matrix.labels[is_checked], scores[is_checked])


def parts(families: Array, is_checked: Array) -> Iterator[tuple[str, Array]]:
    for family in sorted(set(families[is_checked]) - {OWN}):
        yield family, families == family
    own = np.flatnonzero((families == OWN) & is_checked)
    # Neighbouring items were written together, so a block must not be divided.
    part = np.arange(len(own)) // OWN_BLOCK % OWN_PARTS
    for number in sorted(set(part)):
        held_out = np.zeros(len(families), dtype=bool)
        held_out[own[part == number]] = True
        yield f"{OWN} {number + 1}", held_out


def calibrate(unseen: Unseen) -> float:
    """Return the slope that turns scores into probabilities that hold for unseen sources."""
    regression = LogisticRegression(fit_intercept=False, C=1e6).fit(
        unseen.scores.reshape(-1, 1), unseen.labels
    )
    return round(float(regression.coef_[0, 0]), 3)


def choose_threshold(unseen: Unseen, slope: float) -> float:
    """Return the lowest threshold with the aimed precision on unseen sources.

    The own items are harder and do not count.
    """
    asked = (
        unseen.families != OWN
        if (unseen.families != OWN).any()
        else np.ones(len(unseen.families), dtype=bool)
    )
    light, labels = sigmoid(slope * unseen.scores[asked]), unseen.labels[asked]
    for percent in range(50, 96):
        sent = light >= percent / 100
        if sent.any() and labels[sent].mean() >= AIMED_PRECISION:
            return percent / 100
    return 0.95


def report_curve(unseen: Unseen, slope: float, report: Callable[[str], None]) -> None:
    """Report precision and recall at some thresholds, for unseen sources and for the own items."""
    light = sigmoid(slope * unseen.scores)
    report(
        f"{'threshold':>9}"
        + "".join(
            f"{name:>12} {'precision':>9} {'recall':>7}" for name in ("others: acc.", "own: acc.")
        )
    )
    for threshold in (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9):
        row = f"{threshold:9.2f}"
        for asked in (unseen.families != OWN, unseen.families == OWN):
            sent, labels = light[asked] >= threshold, unseen.labels[asked]
            if sent.any() and labels.any():
                accuracy, precision = (sent == labels).mean(), labels[sent].mean()
                row += f"{accuracy:12.3f} {precision:9.3f} {sent[labels].mean():7.3f}"
        report(row)


def sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))


def written(matrix: Matrix, model: Model, constants: Mapping[str, float]) -> str:
    lines = [f"constant\t{name}\t{value:.3f}" for name, value in sorted(constants.items())]
    lines += [
        f"named\t{name}\t{weight:.3f}\t{mean:.4f}\t{spread:.4f}"
        for name, weight, mean, spread in zip(
            matrix.names, model.named_weights(matrix), matrix.means, matrix.spreads, strict=True
        )
    ]
    weights = model.gram_weights(matrix)
    lines += [
        f"gram\t{gram}\t{weights[at]:.2f}"
        for gram, at in matrix.vocabulary.items()
        if abs(weights[at]) >= SMALLEST_WEIGHT
    ]
    return "\n".join([FORMAT, *lines, f"end\t{len(lines)}", ""])


def write_whole(path: Path, text: str) -> None:
    """Write the file, or leave it as it was."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
