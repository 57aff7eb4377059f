"""Conversations and their messages."""

import uuid
from collections.abc import Sequence

from django.db import models
from django.db.models.functions import Now

from tooling.clusters import shortened

from .access.owners import Owner
from .branches import Asked, Tree
from .entrance import SOCKET, Entrance
from .protocol.errors import FORBIDDEN, ProtocolError
from .protocol.requests import ChatRequest
from .record import Exchange

MAX_EXCHANGES = 50  # Earlier exchanges loaded for a run. The workflow's token budget then picks.
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

    def exchanges_before(self, question: "Message") -> list[Exchange]:
        """Return the exchanges that lead to `question`, oldest first, each with its newest answer.

        One query; one more if the conversation has versions.
        """
        before: Sequence[int] | models.QuerySet[Message, int]
        if self.head is None:
            # Named by a query of their own, which has an index. PostgreSQL would look for their
            # runs among those of everybody.
            earlier = self.messages.filter(role=Message.Role.USER, pk__lt=question.pk)
            before = earlier.order_by("-pk").values_list("pk", flat=True)[:MAX_EXCHANGES]
        else:
            before = self.tree().path(question.pk)[:-1][-MAX_EXCHANGES:]
        runs = self.runs.filter(question__in=before).exclude(answer__text="")
        runs = runs.order_by("-question_id", "-answer_id")
        newest: dict[int, Exchange] = {}
        for question_id, asked, answered in runs.values_list(
            "question_id", "question__text", "answer__text"
        )[:MAX_EXCHANGES]:
            newest.setdefault(question_id, Exchange(asked, answered))
        return [newest[key] for key in sorted(newest)]


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
    # In the row of a question.
    summary = models.TextField(
        blank=True,
        db_default="",
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
