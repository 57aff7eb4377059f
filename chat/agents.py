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
    # Plain on purpose: the built-in model goes astray with anything longer, and strong ones need no more.
    instructions="You are a helpful assistant.",
    tier="light",
)
