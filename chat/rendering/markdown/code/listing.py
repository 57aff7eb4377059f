"""The code of a block in colours: each part once it is full, and all of it once it is complete.

A string or a comment may begin anywhere above a part, so a part's colours are right for certain
only when the code is complete. Then the parts that differ are sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from chat.rendering.markdown.parts import Part

from .colours import MAX_COLOURED_CHARS, colour_lines, coloured, is_loaded

MAX_CODE_LINES = 12  # lines of code in a part; they are sent again together
# What is read again above a part to colour it, so that its cost doesn't grow with the code.
MAX_PARTS_ABOVE, MAX_CHARS_ABOVE = 5, 2000
LONG_CODE = 4000  # characters; colouring them takes 2 to 8 ms


@dataclass(slots=True)
class Listing:
    """The parts of a block of code, each with at most MAX_CODE_LINES lines."""

    language: str
    parts: list[Part]
    is_slow: bool = False  # to colour: then the parts stay plain until the code is complete

    @property
    def may_take_long(self) -> bool:
        """Return True if colouring may take more than 10 ms."""
        return not is_loaded(self.language) or is_longer(self.parts, LONG_CODE)

    def colour_full(self, changed: set[int], growing: Part | None) -> set[int]:
        """Colour those of the changed parts that are full; return the numbers of these."""
        full = {
            number
            for number in changed
            if len(self.parts[number].lines) >= MAX_CODE_LINES and self.parts[number] is not growing
        }
        if not full or self.is_slow:
            return set()
        first, end = min(full), max(full) + 1
        if is_longer(self.parts[:end], MAX_COLOURED_CHARS):
            return set()
        above = self.first_above(first)
        lines = colour_lines(self.source(above, end), self.language)
        self.is_slow = lines is None
        if lines is None:
            return set()
        lines_above = sum(len(part.lines) for part in self.parts[above:first])
        return self.show(lines[lines_above:], first, end)

    def first_above(self, number: int) -> int:
        """Return the first of the parts above this one that are read again to colour it."""
        above = number
        while above and number - above < MAX_PARTS_ABOVE:
            if is_longer(self.parts[above - 1 : number], MAX_CHARS_ABOVE):
                break
            above -= 1
        return above

    def colour_all(self) -> set[int]:
        """Colour the complete code; return the numbers of the parts that this changed."""
        end = len(self.parts)
        return self.show(coloured(self.source(0, end), self.language), 0, end)

    def source(self, first: int, end: int) -> str:
        return "".join(f"{line}\n" for part in self.parts[first:end] for line in part.lines)

    def show(self, lines: Sequence[str], first: int, end: int) -> set[int]:
        """Show these lines as the parts from `first` to `end`; return those that this changed."""
        changed = set()
        html = iter(lines)
        for number in range(first, end):
            part = self.parts[number]
            head = "".join(f"{line}\n" for line in islice(html, len(part.lines)))
            if part.head != head:
                part.head = head
                changed.add(number)
        return changed


def is_longer(parts: Sequence[Part], chars: int) -> bool:
    """Return True if the parts have more characters than this. Don't count those behind them."""
    counts = accumulate(len(line) + 1 for part in parts for line in part.lines)
    return any(count > chars for count in counts)
