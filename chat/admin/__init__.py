"""What operators see of runs and conversations. Django loads the modules by this import."""

from . import (  # noqa: F401  # registers their pages
    asks,
    comparisons,
    configurations,
    conversations,
    decisions,
    refusals,
    runs,
    tokens,
    usage,
)
