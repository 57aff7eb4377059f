"""Limits on the time of a run, in seconds. `settings.py` builds each of them once."""

from dataclasses import dataclass
from datetime import timedelta

MAX_UNCLAIMED = timedelta(minutes=10)  # Later, readers of a lost run don't wait for it any more.


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When a run or its model is given up."""

    first_chunk: float  # until the model's first chunk, all retries included
    chunk: float  # without a byte of the model after its first chunk
    idle: float  # without any event of the run and any byte of its model
    runtime: float  # of the whole run


@dataclass(frozen=True, slots=True)
class PathLevels:
    """How quick a run on one path should be."""

    first_event: float
    first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class ServiceLevels:
    """How quick runs should be. A slower one is counted and logged as a miss."""

    light: PathLevels
    full: PathLevels
    cancel: float  # from a cancel to the ending
    tool: float  # each tool call
