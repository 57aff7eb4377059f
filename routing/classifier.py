"""Estimate how likely one agent answers a question well in one call, and why.

The classifier is linear, and its weights are a text file that people can read and compare.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from routing.features import LastAnswer, Reading, read
from routing.preferences import PREFERENCES
from routing.reasons import strongest_reasons

WEIGHTS = Path(__file__).parent / "weights" / "router.tsv"
FORMAT = "router-weights 2"


class BrokenWeights(Exception):
    """Raised for a weights file that cannot be used; names the file and the reason in one line."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The estimate for a question; `light` is the probability that the light path answers well."""

    light: float
    reasons: tuple[str, ...]
    features: Mapping[str, float]
    core: str  # what is asked, without greetings and background


@dataclass(frozen=True, slots=True)
class Scale:
    """The weight of a named feature, and the mean and spread by which its value is scaled."""

    weight: float
    mean: float
    spread: float


class Classifier:
    """A linear classifier with the weights that `train_router` wrote."""

    def __init__(
        self,
        grams: Mapping[str, float],
        scales: Mapping[str, Scale],
        constants: Mapping[str, float],
        digest: str,
    ) -> None:
        self.grams = grams
        self.scales = scales
        self.bias = constants["bias"]
        self.slope = constants["slope"]
        # By what a wrong path costs, for each preference that a person may have.
        self.thresholds = {name: constants[f"threshold.{name}"] for name in PREFERENCES}
        self.threshold = self.thresholds["balanced"]
        # Of the file as it was read: an update may replace it under a process that goes on.
        self.digest = digest

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        """Return the classifier of a weights file, or raise BrokenWeights.

        The file may be missing, cut off, of another version, or not numbers.
        """
        grams: dict[str, float] = {}
        scales: dict[str, Scale] = {}
        constants: dict[str, float] = {}
        # A feature that was renamed since the training must not be ignored in silence.
        known = read("").named
        content = content_of(path)
        for number, (kind, key, *values) in fields_of(path, content):
            try:
                if kind == "gram":  # first, because nearly all lines are
                    (value,) = values
                    grams[key] = finite(value)
                elif kind == "named":
                    scales[key] = Scale(*map(finite, values))
                    if key not in known or scales[key].spread <= 0:
                        raise ValueError(f"{key!r} is no feature, or has no spread")
                elif kind == "constant":
                    (value,) = values
                    constants[key] = finite(value)
                else:
                    raise ValueError(f"unknown kind {kind!r}")
            except (ValueError, TypeError) as exc:
                raise BrokenWeights(path, f"line {number}: {exc}") from exc
        try:
            return cls(grams, scales, constants, sha256(content).hexdigest()[:12])
        except KeyError as exc:
            raise BrokenWeights(path, f"no constant {exc}") from exc

    def judge(
        self, text: str, context: Sequence[str] = (), answered: LastAnswer | None = None
    ) -> Judgement:
        """Return the probability of light, three reasons, the features to store, and the core."""
        reading = read(text, context, answered)
        by_gram = self.weigh_grams(reading)
        by_name = {
            name: scale.weight * (reading.named[name] - scale.mean) / scale.spread
            for name, scale in self.scales.items()
        }
        score = self.bias + sum(by_gram.values()) + sum(by_name.values())
        high = {name for name, scale in self.scales.items() if reading.named[name] > scale.mean}
        # Bounded, because math.exp overflows beyond 709.
        light = 1 / (1 + math.exp(-max(-30.0, min(30.0, self.slope * score))))
        return Judgement(
            light=light,
            reasons=strongest_reasons(
                by_gram, by_name, high=high, is_light=light >= self.threshold
            ),
            features={name: round(value, 3) for name, value in reading.named.items() if value},
            core=reading.core,
        )

    def weigh_grams(self, reading: Reading) -> dict[str, float]:
        weights = self.grams
        # Texts count alike, however many n-grams they have.
        norm = math.sqrt(len(reading.grams) or 1)
        return {gram: weights[gram] / norm for gram in reading.grams if gram in weights}


def finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BrokenWeights(path, exc.strerror or "cannot be read") from exc


def fields_of(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line, or raise BrokenWeights."""
    try:
        lines = content.decode().replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as exc:
        raise BrokenWeights(path, "not UTF-8") from exc
    if lines[0] != FORMAT:
        raise BrokenWeights(path, f"not of the version {FORMAT!r}")
    if lines[-2:] != [f"end\t{len(lines) - 3}", ""]:
        raise BrokenWeights(path, "cut off: its last line does not count the lines before it")
    for number, line in enumerate(lines[1:-2], start=2):
        fields = line.split("\t")
        if len(fields) < 3:
            raise BrokenWeights(path, f"line {number}: fewer than three fields")
        yield number, fields
