"""The versions of questions: a conversation is a tree, and a page shows one path of it.

A question follows the one that was stored before it. Two kinds are stored with an id: one that was
asked instead of another (`branch_of`) follows what that one follows, and one that was asked while
an older version was shown names the question before it (`follows`).
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
        self._after: dict[int | None, list[int]] = {}
        newest: int | None = None
        for asked in questions:
            before = newest
            # What they name may have been removed with the oldest messages.
            if asked.branch_of in self._before:
                before = self._before[asked.branch_of]
            elif asked.follows in self._before:
                before = asked.follows
            self._before[asked.pk] = before
            self._after.setdefault(before, []).append(asked.pk)
            newest = asked.pk
        self._newest = newest

    @property
    def questions(self) -> list[int]:
        """All questions in the order of their ids."""
        return list(self._before)

    def path(self, head: int | None = None) -> list[int]:
        """Return the questions that lead to `head`, or to the newest question, oldest first."""
        found: list[int] = []
        at = head if head in self._before else self._newest
        while at is not None:
            found.append(at)
            at = self._before[at]
        return found[::-1]

    def before(self, question: int) -> int | None:
        """Return the question that this one follows; None for a first one."""
        return self._before[question]

    def versions(self, question: int) -> list[int]:
        """Return all versions of a question, oldest first: those that follow the same one."""
        return self._after[self._before[question]]

    def head_of(self, question: int) -> int:
        """Return the end of the newest path through a question. Raise KeyError if it has none."""
        if question not in self._before:
            raise KeyError(question)
        while after := self._after.get(question):
            question = after[-1]
        return question
