"""System checks: the classifier's weights must be readable."""

from typing import Any

from django.core.checks import CheckMessage, Error

from .classifier import BrokenWeights
from .policy import classifier


def weights_can_be_read(**kwargs: Any) -> list[CheckMessage]:
    """Return an error if the classifier's weights cannot be used."""
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
