"""Links that show a chat to everybody who has them, until they are revoked.

What a link shows is fixed when it is made: the newest ended answer to each question that is shown
then. Runs that have ended never change, so the ids of their answers are enough. Later questions, a
new title and other versions are shown once the owner updates the link.
"""

import secrets

from django.db import models

from .access.owners import Owner
from .conversations import TITLE_LENGTH, Conversation

TOKEN_BYTES = 24  # 192 random bits, as 32 characters of an address


class NothingToShare(Exception):
    """Raised for a chat in which no answer with words has ended yet."""


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def answers_to_share(chat: Conversation) -> list[int]:
    """Return the ids of the answers that a link made now shows, in the order of their questions."""
    ended = chat.runs.exclude(status__in=("running", "paused")).exclude(answer__text="")
    newest = dict(ended.order_by("answer_id").values_list("question_id", "answer_id"))
    return [newest[question] for question in chat.shown_path() if question in newest]


class ShareQuerySet(models.QuerySet["Share"]):
    def for_owner(self, owner: Owner) -> "ShareQuerySet":
        """Return the links to this owner's chats, those that were updated last first."""
        return self.filter(conversation__owner=str(owner)).order_by("-updated_at", "-pk")

    def show(self, chat: Conversation) -> "Share":
        """Let the chat's link show what is there now, and return it; make one if it has none.

        Raise NothingToShare.
        """
        answers = answers_to_share(chat)
        if not answers:
            raise NothingToShare
        found, _ = self.update_or_create(
            conversation=chat, defaults={"title": chat.title, "answers": answers}
        )
        return found


class Share(models.Model):
    """The link to one chat. Whose chat it is, is the conversation's alone to say."""

    token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)
    conversation = models.OneToOneField(Conversation, models.CASCADE, related_name="share")
    title = models.CharField(max_length=TITLE_LENGTH, help_text="as it was when it was shared")
    answers = models.JSONField(help_text="the ids of the answers that are shown, in their order")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ShareQuerySet.as_manager()

    def __str__(self) -> str:
        # Without the token: Django's log of deletions would keep it.
        return f"link {self.pk}"

    @property
    def count(self) -> int:
        return len(self.answers)
