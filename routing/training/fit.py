"""Labelled questions → weights. Needs scikit-learn (the dependency group `train`); nothing at run time imports this."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from routing.classifier import FORMAT
from routing.examples import Correction, Example
from routing.features import Reading, read

MIN_COUNT = 4
TEMPLATE_WEIGHT = 0.35
CHECKED_WEIGHT = 2.0
NAMED_SCALE = 0.3
GRAM_SCALE = 3.0
AIMED_PRECISION = 0.86
SMALLEST_WEIGHT = 0.02

type Floats = np.ndarray


@dataclass(frozen=True, slots=True)
class Sample:
    """An example, read."""

    example: Example
    reading: Reading
    is_checked: bool

    @property
    def family(self) -> str:
        """Sources that were written alike are left out together."""
        return self.example.source.split("-")[0] or "own"

    @property
    def weight(self) -> float:
        return CHECKED_WEIGHT if self.is_checked else TEMPLATE_WEIGHT if self.family == "template" else 1.0


@dataclass(frozen=True, slots=True)
class CrossSource:
    """What the model says of checked examples whose source it has not seen."""

    families: tuple[str, ...]
    labels: Floats
    scores: Floats


def samples_of(examples: Sequence[Example], *, checked: bool) -> list[Sample]:
    return [Sample(example, read(example.text, example.context), checked) for example in examples]


def corrected(examples: Sequence[Example], corrections: Mapping[str, Correction]) -> list[Example]:
    """The examples with mended labels, without the dropped ones."""
    kept = []
    for example in examples:
        label = corrections.get(example.id, example.label)
        if label != "drop":
            kept.append(replace(example, label=label))
    return kept


class Matrix:
    """Samples as rows of numbers: the named features, scaled, and n-grams, each text of length one."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        counts = Counter(gram for sample in samples for gram in sample.reading.grams)
        self.vocabulary = {gram: at for at, gram in enumerate(sorted(gram for gram, count in counts.items() if count >= MIN_COUNT))}
        self.names = sorted(samples[0].reading.named)
        named = np.array([[sample.reading.named[name] for name in self.names] for sample in samples])
        self.means, self.spreads = named.mean(axis=0).round(4), (named.std(axis=0) + 1e-3).round(4)
        self.rows = sparse.hstack([self._grams(samples), sparse.csr_matrix((named - self.means) / self.spreads * NAMED_SCALE)]).tocsr()
        self.labels = np.array([sample.example.is_light for sample in samples])
        self.weights = np.array([sample.weight for sample in samples])

    def _grams(self, samples: Sequence[Sample]) -> sparse.csr_matrix:
        columns, ends, values = [], [0], []
        for sample in samples:
            known = sorted(self.vocabulary[gram] for gram in sample.reading.grams if gram in self.vocabulary)
            columns.extend(known)
            values.extend([GRAM_SCALE / max(1, len(sample.reading.grams)) ** 0.5] * len(known))
            ends.append(len(columns))
        return sparse.csr_matrix((values, columns, ends), shape=(len(samples), len(self.vocabulary)))


def fit_linear(matrix: Matrix, chosen: Floats) -> LogisticRegression:
    model = LogisticRegression(solver="liblinear", random_state=0, max_iter=200)
    return model.fit(matrix.rows[chosen], matrix.labels[chosen], sample_weight=matrix.weights[chosen])


def cross_source(samples: Sequence[Sample], matrix: Matrix, report: Callable[[str], None]) -> CrossSource:
    """Judge each checked source by a model that was trained without it."""
    families = np.array([sample.family for sample in samples])
    is_checked = np.array([sample.is_checked for sample in samples])
    scores = np.zeros(len(samples))
    for family in sorted(set(families[is_checked])):
        left_out = families == family
        if len(set(matrix.labels[~left_out])) < 2:
            raise ValueError(f"without {family} only one label is left; more sources are needed")
        rows = np.flatnonzero(left_out & is_checked)
        scores[rows] = fit_linear(matrix, ~left_out).decision_function(matrix.rows[rows])
        right = ((scores[rows] > 0) == matrix.labels[rows]).mean()
        report(f"{family:<20} {len(rows):5} {right:8.3f}")
    return CrossSource(tuple(families[is_checked]), matrix.labels[is_checked], scores[is_checked])


def calibrate(seen: CrossSource) -> float:
    """The slope that turns scores into probabilities which hold for sources that were left out."""
    model = LogisticRegression(fit_intercept=False, C=1e6).fit(seen.scores.reshape(-1, 1), seen.labels)
    return float(model.coef_[0, 0])


def choose_threshold(light: Floats, labels: Floats) -> float:
    """The lowest probability from which on the aimed precision held on sources that were left out; one half at least."""
    for threshold in np.arange(0.5, 0.96, 0.01):
        sent = light >= threshold
        if sent.any() and labels[sent].mean() >= AIMED_PRECISION:
            return round(float(threshold), 2)
    return 0.95


def train(samples: Sequence[Sample], report: Callable[[str], None]) -> str:
    """The text of a weights file."""
    matrix = Matrix(samples)
    seen = cross_source(samples, matrix, report)
    slope = calibrate(seen)
    threshold = choose_threshold(1 / (1 + np.exp(-slope * seen.scores)), seen.labels)
    model = fit_linear(matrix, np.ones(len(samples), dtype=bool))
    return _written(matrix, model, {"bias": float(model.intercept_[0]), "slope": slope, "threshold": threshold})


def _written(matrix: Matrix, model: LogisticRegression, constants: Mapping[str, float]) -> str:
    weights = model.coef_[0]
    lines = [f"constant\t{name}\t{value:.3f}" for name, value in sorted(constants.items())]
    named = weights[len(matrix.vocabulary) :] * NAMED_SCALE
    lines += [
        f"named\t{name}\t{weight:.3f}\t{mean:.4f}\t{spread:.4f}"
        for name, weight, mean, spread in zip(matrix.names, named, matrix.means, matrix.spreads, strict=True)
    ]
    lines += [
        f"gram\t{gram}\t{weights[at] * GRAM_SCALE:.2f}"
        for gram, at in matrix.vocabulary.items()
        if abs(weights[at] * GRAM_SCALE) >= SMALLEST_WEIGHT
    ]
    return "\n".join([FORMAT, *lines, f"end\t{len(lines)}", ""])


def write_whole(path: Path, text: str) -> None:
    """The file with this text, or the file as it was."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
