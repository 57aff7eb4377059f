"""What operators see of runs and conversations. Django loads the modules by this import."""

from . import asks, conversations, decisions, refusals, runs, tokens  # noqa: F401  # their pages
