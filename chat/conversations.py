"""Conversations and their messages."""

import uuid
from collections.abc import Collection, Sequence

from django.db import models
from django.db.models.functions import Now

from tooling.clusters import shortened

from .access.owners import Owner
from .branches import Asked, Tree
from .entrance import SOCKET, Entrance
from .protocol.errors import FORBIDDEN, ProtocolError
from .protocol.requests import ChatRequest
from .record import Earlier, Exchange

MAX_EXCHANGES = 50  # Earlier exchanges loaded for a run. The workflow's token budget then picks.
BLOCK = MAX_EXCHANGES // 2  # If there are more, so many of the oldest are left out at once.
TITLE_LENGTH = 60


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def for_owner(self, owner: Owner) -> "ConversationQuerySet":
        return self.filter(owner=str(owner))

    def in_list(self, owner: Owner) -> "ConversationQuerySet":
        """Return the conversations in an owner's list: programs also have others, of one run."""
        return self.for_owner(owner).filter(is_kept=True)

    def for_request(
        self, owner: Owner, request: ChatRequest, entrance: Entrance = SOCKET
    ) -> "Conversation":
        """Return the conversation that `request` names, or a new one.

        Raise the same ProtocolError for a foreign id as for an unknown one, so that the answer
        doesn't show which ids exist.
        """
        if request.conversation_id is None:
            title = shortened(request.message, TITLE_LENGTH)
            chosen = {"pk": entrance.conversation_id} if entrance.conversation_id else {}
            return self.create(owner=str(owner), title=title, is_kept=entrance.is_kept, **chosen)
        if conversation := self.for_owner(owner).filter(pk=request.conversation_id).first():
            return conversation
        raise ProtocolError(FORBIDDEN)


class Conversation(models.Model):
    class TitledBy(models.TextChoices):
        QUESTION = "question"  # its first words
        MODEL = "model"
        PERSON = "person"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(
        max_length=80, help_text="user:<id>, browser:<id>, script: or terminal:"
    )
    title = models.CharField(max_length=TITLE_LENGTH)
    titled_by = models.CharField(
        max_length=8,
        choices=TitledBy,
        default=TitledBy.QUESTION,
        # During an update, workers of the version before don't know this column.
        db_default=TitledBy.QUESTION,
    )
    is_kept = models.BooleanField(
        default=True,
        # During an update, workers of the version before don't know this column.
        db_default=True,
        help_text="in its owner's list; others are of programs, and removed after 30 days",
    )
    pinned_at = models.DateTimeField(null=True, blank=True)
    head = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="the last question of the versions that are shown; empty: there are no versions",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-updated_at",)
        indexes = (
            models.Index(fields=("owner", "-updated_at")),
            # A program may have made many that its owner's list doesn't show.
            models.Index(
                fields=("owner", "-updated_at"),
                condition=models.Q(is_kept=True),
                name="chats_kept",
            ),
            models.Index(
                fields=("updated_at",), condition=models.Q(is_kept=False), name="chats_to_prune"
            ),
            models.Index(
                fields=("owner", "-pinned_at"),
                condition=models.Q(pinned_at__isnull=False),
                name="chats_pinned",
            ),
            # The admin's list is read from this index alone, backwards: appending to an index is
            # cheaper than inserting at its beginning.
            models.Index(fields=("updated_at", "id", "owner"), name="conversations_listed"),
        )

    def __str__(self) -> str:
        # Django's pages and its log of deletions show this also to staff who may not read titles.
        return f"conversation {str(self.pk)[:8]}"

    def tree(self) -> Tree:
        """Return all versions of the questions. One query."""
        questions = self.messages.filter(role=Message.Role.USER).order_by("pk")
        rows = questions.values_list("pk", "branch_of", "follows")
        return Tree(Asked(*row) for row in rows)

    def shown_path(self) -> list[int]:
        """Return the ids of the questions that are shown, oldest first. One query."""
        return self.tree().path(self.head)

    def show(self, question: int) -> Tree:
        """Show the newest path through a question, unless the shown one leads through it.

        Return the tree. Raise KeyError if the conversation doesn't have this question.
        """
        tree = self.tree()
        if question not in tree.path(self.head):
            self.head = tree.head_of(question)
            # Not save(), which would set updated_at and move the conversation up in the list.
            Conversation.objects.filter(pk=self.pk).update(head=self.head)
        return tree

    def pin(self, is_pinned: bool) -> None:
        """Put the chat above the others in its owner's list, or back among them."""
        # As above, not save(). Pinning twice doesn't move it among the pinned ones.
        row = Conversation.objects.filter(pk=self.pk)
        if is_pinned:
            row.filter(pinned_at=None).update(pinned_at=Now())
        else:
            row.update(pinned_at=None)

    def rename(self, title: str) -> None:
        """Store a person's title, which no model changes."""
        row = Conversation.objects.filter(pk=self.pk)
        row.update(title=title, titled_by=self.TitledBy.PERSON)

    def new_question(self, text: str, *, instead_of: "Message | None" = None) -> "Message":
        """Return a question, not stored yet: the next one that is shown, or a version of one."""
        return Message(
            conversation=self,
            role=Message.Role.USER,
            text=text,
            branch_of=instead_of.pk if instead_of else None,
            follows=None if instead_of else self.head,
        )

    def go_on_with(self, question: "Message", *, is_new: bool) -> None:
        """Store that a question was asked just now; if there are versions, it is shown."""
        if is_new and (question.branch_of or self.head):
            self.head = question.pk
        elif self.head:
            self.show(question.pk)
        self.save(update_fields=["updated_at", "head"])

    def path_before(self, question: int) -> list[int]:
        """Return the ids of the questions that lead to this one, oldest first. One query."""
        if self.head is not None:
            return self.tree().path(question)[:-1]
        earlier = self.messages.filter(role=Message.Role.USER, pk__lt=question)
        return list(earlier.order_by("pk").values_list("pk", flat=True))

    def before(self, question: int) -> Earlier:
        """Return what leads to a question. Two queries; one more if not all of it is loaded."""
        return self.loaded(self.path_before(question))

    def loaded(self, path: Sequence[int]) -> Earlier:
        """Return what is loaded of these questions, which lead to another one."""
        start = first_loaded(len(path))
        exchanges = self.exchanges(path[start:])
        if not start:
            return Earlier(exchanges)
        summary, summarized = self.summary_of(path[:start])
        return Earlier(exchanges, start, summary, summarized)

    def exchanges(self, questions: Collection[int]) -> list[Exchange]:
        """Return those of these questions that have an answer, oldest first, with the newest one.

        One query.
        """
        runs = self.runs.filter(question__in=questions).exclude(answer__text="")
        newest = {
            question_id: Exchange(asked, answered, question_id, summary or "", path)
            for question_id, asked, answered, summary, path in runs.order_by(
                "question_id", "answer_id"
            ).values_list(
                "question_id", "question__text", "answer__text", "question__summary", "path"
            )
        }
        return list(newest.values())

    def summary_of(self, path: Sequence[int]) -> tuple[str, int]:
        """Return the newest summary of these questions, and for how many of them it stands."""
        asked = self.messages.filter(role=Message.Role.USER, pk__lte=path[-1])
        has_one = asked.exclude(summary=None)
        places = {question: place for place, question in enumerate(path, 1)}
        # Those of other versions are not on the path.
        for question, summary in has_one.order_by("-pk").values_list("pk", "summary").iterator():
            if summary and question in places:
                return summary, places[question]
        return "", 0

    def forget_summaries(self, since: int) -> None:
        """Remove the summaries that stand for this question: it gets another answer."""
        covering = self.messages.filter(role=Message.Role.USER, pk__gte=since)
        covering.exclude(summary=None).update(summary=None)


def first_loaded(count: int) -> int:
    """Return the place of the first of so many exchanges that is loaded.

    Many questions in a row have the same one: model servers read on where a request begins as the
    one before.
    """
    too_many = max(0, count - MAX_EXCHANGES)
    return -(-too_many // BLOCK) * BLOCK


def newest(known: Earlier) -> Earlier:
    """Return what is loaded of these exchanges."""
    count = known.unloaded + len(known.exchanges)
    fewer = max(0, first_loaded(count) - known.unloaded)
    return Earlier(known.exchanges[fewer:], known.unloaded + fewer, *known.summary_before(fewer))


class Message(models.Model):
    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    role = models.CharField(max_length=10, choices=Role)
    text = models.TextField(blank=True)
    # Plain ids, because messages live and die with their conversation: an index would cost every
    # message a write. chat/branches.py makes a tree of them.
    branch_of = models.BigIntegerField(
        null=True, blank=True, help_text="the question that this one was asked instead of"
    )
    follows = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="the question before this one, in a conversation with versions",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    # In the row of a question. Nullable, because SQLite would else copy the table to add it, and
    # lose the triggers that index its words.
    summary = models.TextField(  # noqa: DJ001
        null=True,
        blank=True,
        help_text="of the chat up to the answer of this question, made by the light model",
    )

    class Meta:
        ordering = ("pk",)
        indexes = (
            # The tree of a chat is read from this index alone: the rows of a long chat are far
            # apart.
            models.Index(
                fields=("conversation", "id", "branch_of", "follows"),
                condition=models.Q(role="user"),
                name="questions_of_chat",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"
