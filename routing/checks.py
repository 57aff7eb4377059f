"""What must be true before the product starts: weights that can be read."""

from typing import Any

from django.core.checks import CheckMessage, Error

from .classifier import BrokenWeights
from .policy import classifier


def weights_can_be_read(**kwargs: Any) -> list[CheckMessage]:
    """An error that says what is wrong with the classifier's weights, if something is."""
    try:
        classifier()
    except BrokenWeights as exc:
        return [
            Error(
                str(exc),
                hint="Restore the file, or train it again with manage.py train_router.",
                id="routing.E001",
            )
        ]
    return []
