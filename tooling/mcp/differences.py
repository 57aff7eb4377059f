"""What differs between two definitions of a tool, as people read it."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from tooling.models import Defined

MAX_LINES = 3000  # of a schema, which are compared line by line

MAX_PAIRS = 100_000  # of pieces that are the same: comparing takes seconds with more

type Kind = Literal["same", "gone", "new"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text: in both, only in the accepted one, or only in the other one."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs: words of the description, and lines of the schema."""

    description: Sequence[Part]
    schema: Sequence[Part]


def difference_of(accepted: Defined, other: Defined) -> Difference:
    """Return what differs. A definition that isn't there has neither words nor lines."""
    return Difference(
        parts(words_of(accepted.description), words_of(other.description)),
        parts(lines_of(accepted), lines_of(other)),
    )


def words_of(text: str) -> list[str]:
    return re.findall(r"\s+|\S+", text)


def lines_of(defined: Defined) -> list[str]:
    if not defined.schema:
        return []
    # As ASCII: what looks like another character is not taken for it.
    text = json.dumps(defined.schema, indent=2, sort_keys=True)
    return text.splitlines(keepends=True)[:MAX_LINES]


def parts(before: Sequence[str], after: Sequence[str]) -> list[Part]:
    """Return the pieces in their order; what is gone stands before what has come in its place."""
    found: list[Part] = []
    for start, end, new_start, new_end in stretches(before, after):
        if before[start:end] == after[new_start:new_end]:
            found += [Part("same", "".join(before[start:end]))] if end > start else []
            continue
        if end > start:
            found.append(Part("gone", "".join(before[start:end])))
        if new_end > new_start:
            found.append(Part("new", "".join(after[new_start:new_end])))
    return found


def stretches(before: Sequence[str], after: Sequence[str]) -> list[list[int]]:
    """Return where each piece is in both."""
    times = Counter(after)
    if sum(times[each] for each in before) <= MAX_PAIRS:
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        return [where for _, *where in matcher.get_opcodes()]
    # Only what both begin and end with is compared: a server may have seen to it that all takes
    # minutes.
    head = shared(before, after)
    tail = shared(before[head:][::-1], after[head:][::-1])
    end, new_end = len(before) - tail, len(after) - tail
    return [
        [0, head, 0, head],
        [head, end, head, new_end],
        [end, len(before), new_end, len(after)],
    ]


def shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return with how many of the same pieces both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
