"""What a run may spend. `settings.py` builds the caps of both paths once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which answers are compared with what the other path writes, and what that may use."""

    share: float  # of the answers in mode auto; 0: none
    tokens: int  # a day, read and written by models


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits of a run on one path."""

    supersteps: int  # rounds of model calls; agents that work side by side share them
    tool_calls: int
    fan_out: int  # agents that work at once
    tokens: int  # written by models, without hidden thinking; on the full path, before the answer
    seconds: float  # after that, only the final answer may begin
    # Of the whole run, in the currency of the price list. An answer is always written.
    money: float | None = None
