"""The versions of questions: a conversation is a tree, and a page shows one path of it.

A question follows the one that was stored before it. Two kinds are stored with an id: one that was
asked instead of another (`branch_of`) follows what that one follows, and one that was asked in a
conversation with versions names the question before it (`follows`).
"""

from collections.abc import Iterable
from typing import NamedTuple


class Asked(NamedTuple):
    """The ids of a question's row."""

    pk: int
    branch_of: int | None = None
    follows: int | None = None


class Tree:
    """The questions of one conversation."""

    def __init__(self, questions: Iterable[Asked]) -> None:
        """Take all questions in the order of their ids."""
        self._before: dict[int, int | None] = {}
        self._numbers: dict[int, int] = {}
        self._after: dict[int | None, list[int]] = {}
        newest: int | None = None
        for asked in questions:
            # A question that is named and missing was removed with the oldest messages, and what
            # is before it was older.
            if asked.branch_of is not None:
                before = self._before.get(asked.branch_of)
            elif asked.follows is not None:
                before = asked.follows if asked.follows in self else None
            else:
                before = newest
            self._before[asked.pk] = before
            self._numbers[asked.pk] = 1 + (self._numbers[before] if before is not None else 0)
            self._after.setdefault(before, []).append(asked.pk)
            newest = asked.pk
        self._newest = newest

    @property
    def questions(self) -> list[int]:
        """All questions in the order of their ids."""
        return list(self._before)

    def __contains__(self, question: int | None) -> bool:
        return question in self._before

    def path(self, head: int | None = None) -> list[int]:
        """Return the questions that lead to `head`, or to the newest question, oldest first."""
        found: list[int] = []
        at = head if head in self else self._newest
        while at is not None:
            found.append(at)
            at = self._before[at]
        return found[::-1]

    def before(self, question: int) -> int | None:
        """Return the question that this one follows; None for a first one."""
        return self._before[question]

    def number(self, question: int) -> int:
        """Return the place of a question in the paths that lead through it, from 1."""
        return self._numbers[question]

    def versions(self, question: int) -> list[int]:
        """Return all versions of a question, oldest first: those that follow the same one."""
        return self._after[self._before[question]]

    def head_of(self, question: int) -> int:
        """Return the newest question of those whose paths lead through this one, or itself.

        Raise KeyError if it isn't here.
        """
        if question not in self:
            raise KeyError(question)
        through = {question}
        for pk, before in self._before.items():
            if before in through:
                through.add(pk)
        return max(through)
