"""Shares of small samples, with what is known of the true ones."""

import math
from dataclasses import dataclass
from typing import Self

Z = 1.96  # standard errors: an interval has the true value 19 times of 20


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, with Wilson's interval.

    Both may be sums of weights. `size` is how many equal ones would say as much as they do.
    """

    part: float
    whole: float
    size: float

    @classmethod
    def of(cls, part: int, whole: int) -> Self:
        return cls(part, whole, whole)

    @property
    def value(self) -> float | None:
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share is; anywhere, if nothing was counted."""
        if not self.whole:
            return 0, 1
        share, size = self.part / self.whole, self.size
        middle = share + Z * Z / (2 * size)
        reach = Z * math.sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
        scale = 1 + Z * Z / size
        return max(0, (middle - reach) / scale), min(1, (middle + reach) / scale)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its interval; both are None of less than two values."""

    value: float | None
    reach: float | None  # from the mean to either end of the interval

    @classmethod
    def of(cls, values: list[float]) -> Self:
        count = len(values)
        if count < 2:
            return cls(None, None)
        mean = math.fsum(values) / count
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        return cls(mean, Z * math.sqrt(variance / count))
