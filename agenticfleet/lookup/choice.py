"""Which model of those on this machine to use. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from .servers import LocalModel, Server

# A model needs more memory than its file has: for the texts that it reads and writes.
ROOM = 1.2
# With more parameters, most machines need minutes until the first word.
MAX_PARAMETERS = 14.0  # billions


@dataclass(frozen=True, slots=True)
class Found:
    """A model on this machine, and the server to ask for it."""

    server: Server
    model: LocalModel

    def __str__(self) -> str:
        return f"{self.model.id} by {self.server}"


def preferred(servers: Iterable[Server], *, available: int) -> list[Found]:
    """Return the models that may be used, the best one first.

    Those in memory answer at once. Of the others the largest one that fits into `available` bytes
    is the best.
    """
    found = [Found(server, model) for server in servers for model in server.models]
    usable = [each for each in found if is_usable(each.model, available)]
    return sorted(
        usable, key=lambda each: (each.model.is_loaded, each.model.size or 0), reverse=True
    )


def is_usable(model: LocalModel, available: int) -> bool:
    if not model.can_chat:
        return False
    if model.is_loaded:
        return True
    is_small = model.parameters is None or model.parameters <= MAX_PARAMETERS
    return is_small and model.size is not None and model.size * ROOM <= available
