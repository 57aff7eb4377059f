"""The words of questions and answers, in the form in which texts are compared.

The search of an owner reads those of the owner's chats, for any part of a word in any script. With
30,000 questions and answers of 2,000 characters it takes at most 0.6 s. Folding the texts for each
search took 3.8 s, and held the interpreter's lock. An index of trigrams takes 0.6 ms for each
answer, and doesn't find words of two characters, as most Chinese ones are.
"""

from collections.abc import Iterable

from django.db import connection, models, transaction
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan

from .conversations import Conversation, Message
from .folding import folded

# Characters of a word up to which LIKE is used: on SQLite it takes half the time for the words of
# people, on PostgreSQL twice the time. It compares nearly the whole word at each place of a text
# such as "aaaa…": 0.4 s for a MB and 100 characters, for which the other way takes 0.01 s on SQLite
# and at most 0.2 s on PostgreSQL.
MAX_LIKE = 20 if connection.vendor == "sqlite" else 0


class WordsQuerySet(models.QuerySet["Words"]):
    def store(self, messages: Iterable[int]) -> None:
        """Store the words of these messages, instead of those that are stored.

        Called some seconds after a run has ended, so that it delays no event.
        """
        with transaction.atomic():
            # Locked, so that none is deleted meanwhile.
            rows = (
                Message.objects.filter(pk__in=messages)
                .select_for_update(no_key=True)
                .order_by("pk")
            )
            found = rows.values_list("pk", "conversation_id", "text")
            self.bulk_create(
                [
                    Words(message_id=pk, conversation_id=chat, text=folded(text))
                    for pk, chat, text in found
                ],
                update_conflicts=True,
                unique_fields=["message"],
                update_fields=["text"],
            )

    def store_older(self, count: int) -> int:
        """Store the words of messages that an earlier version has left out, the newest first.

        Return how many these were, at most `count`.
        """
        oldest = self.aggregate(oldest=models.Min("pk"))["oldest"]
        messages = Message.objects.order_by("-pk")
        if oldest is not None:
            messages = messages.filter(pk__lt=oldest)
        found = list(messages.values_list("pk", flat=True)[:count])
        self.store(found)
        return len(found)

    def containing(self, words: Iterable[str]) -> "WordsQuerySet":
        """Return those with all of these words, which are folded. Each may be a part of one."""
        found = self
        for word in words:
            if len(word) <= MAX_LIKE:
                found = found.filter(text__contains=word)
            else:
                found = found.filter(GreaterThan(StrIndex("text", models.Value(word)), 0))
        return found


class Words(models.Model):
    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    text = models.TextField()

    objects = WordsQuerySet.as_manager()

    def __str__(self) -> str:
        return f"words of {self.message_id}"
