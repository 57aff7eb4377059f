"""Find an owner's chats by words of their titles, questions and answers, with the places."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from .access.owners import Owner
from .branches import Asked, Tree
from .conversations import Message
from .folding import Folded
from .sidebar import Cursor, Filters, chats_of
from .snippets import Part, marked, snippet, words_of
from .words import Words

if TYPE_CHECKING:
    from .sidebar import Listed

MAX_CHATS = 20  # on a page of results; a button loads older ones
MAX_PLACES = 3  # of a chat
MAX_HITS = 5_000  # messages that are looked through for places


@dataclass(frozen=True, slots=True)
class Place:
    """A question that has the words, or whose answer has them."""

    question: int
    number: int  # of the question in its chat
    is_answer: bool
    snippet: Sequence[Part]


@dataclass(frozen=True, slots=True)
class FoundChat:
    chat: "Listed"
    title: Sequence[Part]
    places: Sequence[Place]
    more: int  # places that aren't shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    chats: Sequence[FoundChat]
    search: str
    zone: tzinfo
    current: UUID | None
    is_continued: bool
    next: Cursor | None

    @property
    def next_query(self) -> str:
        assert self.next
        return urlencode({"before": self.next.moment.isoformat(), "q": self.search})


@dataclass(frozen=True, slots=True)
class Hits:
    """The messages of one chat that have the words, by their questions, the newest first."""

    shown: Mapping[int, int]  # the message by its question
    more: int


def results_of(owner: Owner, filters: Filters, *, current: UUID | None, zone: tzinfo) -> Results:
    """Return a page of the owner's chats that have all words of a search, newest first.

    Four queries. Expect a search with words.
    """
    words = words_of(filters.search)
    size = max(MAX_CHATS, min(filters.shown, 5 * MAX_CHATS))
    titled = reduce(and_, [Q(title_words__contains=word) for word in words])
    said = Words.objects.filter(conversation=OuterRef("pk")).containing(words)
    found = chats_of(owner, running=filters.running).alias(
        title_words=Folded("title"),
        # Not EXISTS, for which PostgreSQL would first look for the words in all chats of everybody.
        said=Subquery(said.values("message_id")[:1]),
    )
    found = found.filter(titled | Q(said__isnull=False)).order_by("-updated_at")
    if filters.before:
        found = found.filter(updated_at__lt=filters.before.moment)
    page = list(found[: size + 1])
    chats = page[:size]
    hits = hits_in([chat.pk for chat in chats], words)
    places = places_of(hits, words)
    return Results(
        chats=[
            FoundChat(
                chat,
                marked(chat.title, words),
                places.get(chat.pk, []),
                hits[chat.pk].more if chat.pk in hits else 0,
            )
            for chat in chats
        ],
        search=filters.search,
        zone=zone,
        current=current,
        is_continued=filters.before is not None,
        next=Cursor(chats[-1].updated_at) if len(page) > size else None,
    )


def hits_in(chats: Sequence[UUID], words: Sequence[str]) -> dict[UUID, Hits]:
    """Return the messages of these chats that have the words: at most one of each question."""
    found = Words.objects.filter(conversation__in=chats).containing(words)
    # A question has the runs of its answers; an answer has one run.
    rows = found.order_by("-pk").values_list(
        "conversation_id", Coalesce("message__run__question_id", "message_id"), "message_id"
    )[:MAX_HITS]
    by_chat: defaultdict[UUID, dict[int, int]] = defaultdict(dict)
    for chat, question, message in rows:
        if message == question:
            by_chat[chat][question] = message
        else:
            by_chat[chat].setdefault(question, message)  # the newest answer
    return {
        chat: Hits(
            {question: of[question] for question in sorted(of, reverse=True)[:MAX_PLACES]},
            max(0, len(of) - MAX_PLACES),
        )
        for chat, of in by_chat.items()
    }


def places_of(hits: Mapping[UUID, Hits], words: Sequence[str]) -> dict[UUID, list[Place]]:
    """Return the places of these messages in their chats."""
    messages = [message for of in hits.values() for message in of.shown.values()]
    texts = dict(Message.objects.filter(pk__in=messages).values_list("pk", "text"))
    trees = trees_of(hits)
    return {
        chat: [
            Place(
                question,
                trees[chat].number(question),
                message != question,
                snippet(texts[message], words),
            )
            for question, message in of.shown.items()
            if message in texts
        ]
        for chat, of in hits.items()
        if chat in trees  # else it was deleted meanwhile
    }


def trees_of(chats: Iterable[UUID]) -> dict[UUID, Tree]:
    """Return the trees of the questions of these chats, with one query."""
    questions = Message.objects.filter(conversation__in=list(chats), role=Message.Role.USER)
    by_chat: defaultdict[UUID, list[Asked]] = defaultdict(list)
    columns = ("conversation_id", "pk", "branch_of", "follows")
    for chat, pk, branch_of, follows in questions.order_by("pk").values_list(*columns):
        by_chat[chat].append(Asked(pk, branch_of, follows))
    return {chat: Tree(asked) for chat, asked in by_chat.items()}
