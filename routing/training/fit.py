"""Fit the weights to labelled questions. Needs scikit-learn (the dependency group `train`).

Nothing imports this at run time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
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

# Chosen for the best results on authors left out of training; the figures are in README.md.
MIN_COUNT = 4
PENALTY = 0.7
TOLERANCE = 1e-7  # so small that the weights are the same on all processors
ESTIMATE_TOLERANCE = 1e-3
GRAM_SCALE = 3.0
NAMED_SCALE = 0.3
PAIR_WEIGHT = 5.0  # of a question of a contrast pair; more costs real questions what it gains here
CHECKED_WEIGHT = 2.0  # of a real question whose label was checked
OWN_WEIGHT = 1.0
WEAK_WEIGHT = 0.8  # of a question whose label follows from its source or template
SMALLEST_WEIGHT = 0.05

OWN = "own"
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
        """The name shared by examples of one author, or by sources of one style."""
        if self.example.author:
            return f"author {self.example.author}"
        name = self.example.source.split("-")[0] or OWN
        return _ONE_FAMILY.get(name, name)

    @property
    def weight(self) -> float:
        if self.example.author:
            return PAIR_WEIGHT
        if not self.is_checked:
            return WEAK_WEIGHT
        return OWN_WEIGHT if self.family == OWN else CHECKED_WEIGHT


def samples_of(examples: Sequence[Example], *, checked: bool) -> list[Sample]:
    return [
        Sample(example, read(example.text, example.context, example.answered), checked)
        for example in examples
    ]


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

    def __init__(self, matrix: Matrix, chosen: Array, *, tolerance: float = TOLERANCE) -> None:
        grams, labels, weights = matrix.grams[chosen], matrix.labels[chosen], matrix.weights[chosen]
        light, full = (
            np.asarray((grams > 0).T @ (weights * (labels == label))).ravel() + 1
            for label in (True, False)
        )
        ratio = np.abs(np.log((light / light.sum()) / (full / full.sum())))
        self.scales = GRAM_SCALE * (np.minimum(ratio, 3) + 0.3) / 1.3
        self.regression = LogisticRegression(C=PENALTY, solver="liblinear", tol=tolerance)
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
