"""Read labelled questions, one JSON object a line, to train and to evaluate the router."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from routing.features import LastAnswer

type Label = Literal["light", "full"]
type Correction = Literal["light", "full", "drop"]


class BadLine(Exception):
    """Raised for a line that cannot be read; names file, line and reason in one line."""

    def __init__(self, path: Path, number: int, reason: str) -> None:
        super().__init__(f"{path}:{number}: {reason}")


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the same person's earlier questions, and the path that it should take.

    Two examples of one author with the same `pair` differ in what is asked, not in topic or length.
    """

    text: str
    label: Label
    context: tuple[str, ...] = ()
    answered: LastAnswer | None = None
    slice: str = ""
    language: str = ""
    source: str = ""
    author: str = ""
    pair: int = 0
    id: str = ""

    @property
    def is_light(self) -> bool:
        return self.label == "light"


def read_examples(path: Path) -> list[Example]:
    """Return all examples of a file. Raise BadLine for the first wrong line, or OSError."""
    return [example(path, number, line) for number, line in objects(path)]


def read_corrections(path: Path) -> dict[str, Correction]:
    """Return corrections by the ids of examples. Raise BadLine for the first wrong line."""
    corrections: dict[str, Correction] = {}
    for number, line in objects(path):
        if not isinstance(line.get("id"), str) or line.get("label") not in (
            "light",
            "full",
            "drop",
        ):
            raise BadLine(
                path, number, "a correction has an `id` and a `label` of light, full or drop"
            )
        corrections[line["id"]] = line["label"]
    return corrections


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line that is not blank."""
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as exc:  # bad JSON, bad UTF-8, brackets without end
            raise BadLine(path, number, f"not JSON ({exc})") from exc
        if not isinstance(found, dict):
            raise BadLine(path, number, "not a JSON object")
        yield number, found


def example(path: Path, number: int, line: dict[str, Any]) -> Example:
    """Return the example in a line, or raise BadLine."""
    text, label, context = line.get("text"), line.get("label"), line.get("context") or ()
    if not isinstance(text, str):
        raise BadLine(path, number, "`text` must be a string")
    if label not in ("light", "full"):
        raise BadLine(path, number, f"`label` must be light or full, not {json.dumps(label)}")
    turns = (
        (context,)
        if isinstance(context, str)
        else tuple(context)
        if isinstance(context, (list, tuple))
        else None
    )
    if turns is None or not all(isinstance(turn, str) for turn in turns):
        raise BadLine(path, number, "`context` must be a string or a list of strings")
    kind = {"slice": line.get("slice", line.get("kind", ""))}
    kind["language"] = line.get("language", line.get("lang", ""))
    names = kind | {name: line.get(name, "") for name in ("source", "author", "id")}
    if not all(isinstance(value, str) for value in names.values()):
        raise BadLine(path, number, f"{', '.join(f'`{name}`' for name in names)} must be strings")
    pair = line.get("pair", 0)
    if not isinstance(pair, int):
        raise BadLine(path, number, "`pair` must be a number")
    answered = last_answer(path, number, line.get("answer"))
    return Example(text, label, turns, answered, pair=pair, **names)


def last_answer(path: Path, number: int, found: object) -> LastAnswer | None:
    """Return the kind of the last answer, if a line has it, or raise BadLine."""
    match found:
        case None:
            return None
        case {
            "path": "light" | "full" as taken,
            "words": int() as words,
            "has_code": bool() as has_code,
            "has_plan": bool() as has_plan,
        }:
            return LastAnswer(taken, words, has_code, has_plan)
        case _:
            raise BadLine(path, number, "`answer` has a `path`, `words`, `has_code` and `has_plan`")
