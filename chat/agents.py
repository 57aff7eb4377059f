"""The fleet as values: who there is, what each is told, and which model answers for it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Agent:
    """One member of the fleet. `tier` names the setting that holds its model."""

    id: str
    name: str
    instructions: str
    tier: Literal["light", "full"]


ASSISTANT = Agent(
    id="assistant",
    name="Assistant",
    instructions=(
        "You are a helpful assistant. Answer the question directly and correctly. "
        "Use Markdown where it helps. Say so when you do not know something."
    ),
    tier="light",
)
