"""Train the shipped model: estimate it on what it has not seen, calibrate it, and fit it to all."""

from collections.abc import Callable, Sequence

import numpy as np

from routing.preferences import PREFERENCES
from routing.training.costs import threshold_of
from routing.training.estimate import calibrate, judge_unseen, report_curve
from routing.training.fit import Matrix, Model, Sample, written


def train(samples: Sequence[Sample], report: Callable[[str], None]) -> str:
    """Return the text of a weights file. Raise ValueError for too few sources or labels."""
    matrix = Matrix(samples)
    unseen = judge_unseen(samples, matrix, report)
    slope = calibrate(unseen)
    report_curve(unseen, slope, report)
    model = Model(matrix, np.ones(len(samples), dtype=bool))
    constants = {"bias": float(model.regression.intercept_[0]), "slope": slope}
    constants |= {f"threshold.{name}": threshold_of(name) for name in PREFERENCES}
    return written(matrix, model, constants)
