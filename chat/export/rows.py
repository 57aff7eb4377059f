"""Read a chat for an export in pieces, so that a long one is never in memory as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched, groupby

from chat.chains import chains_of
from chat.conversations import Conversation, Message
from chat.models import Run

QUESTIONS_AT_ONCE = 20  # with their answers, which may have thousands of words


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its answers, oldest first; each answer is the chain of its runs."""

    number: int
    message: Message
    answers: Sequence[Sequence[Run]]
    follows: int | None  # the number of the question before
    is_shown: bool


class Questions:
    """The questions of a chat, numbered from 1 in the order in which they were asked.

    Those that are asked, or deleted, while they are being read are not among them.
    """

    def __init__(self, chat: Conversation) -> None:
        self._tree = chat.tree()
        self.all = self._tree.questions
        self.shown = self._tree.path(chat.head)
        self._is_shown = set(self.shown)
        self._numbers = {pk: number for number, pk in enumerate(self.all, 1)}

    def number(self, pk: int) -> int:
        return self._numbers[pk]

    @staticmethod
    def pieces(pks: Sequence[int]) -> Iterator[Sequence[int]]:
        """Return the questions in pieces of one `read` each."""
        return batched(pks, QUESTIONS_AT_ONCE, strict=False)

    def read(self, pks: Sequence[int]) -> list[Asked]:
        """Return these questions with their answers, in this order. Two queries."""
        messages = Message.objects.in_bulk(pks)
        runs = Run.objects.filter(question__in=pks).select_related("answer")
        grouped = groupby(runs.order_by("question_id", "answer_id"), lambda run: run.question_id)
        answers = {pk: chains_of(group) for pk, group in grouped}
        return [
            Asked(
                self._numbers[pk],
                messages[pk],
                answers.get(pk, []),
                follows=self._numbers[before] if (before := self._tree.before(pk)) else None,
                is_shown=pk in self._is_shown,
            )
            for pk in pks
            if pk in messages
        ]
