"""The list of chats beside every page: its groups, its search, its filters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext

from .asks import Ask
from .conversations import Conversation, Message
from .folding import Folded, folded
from .models import Run
from .owners import Owner

MAX_CHATS = 40  # in the list; a button loads older ones
MAX_SHOWN = 400  # chats that a list keeps when it is shown anew
MAX_SEARCH_CHARS = 100


@dataclass(frozen=True, slots=True)
class Group:
    label: str
    chats: Sequence[Conversation]
    is_pinned: bool = False  # above the others, whatever its day


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidebar:
    groups: Sequence[Group] = ()
    current: UUID | None = None
    search: str = ""
    running: bool = False
    under: str = ""  # the label above which this page of the list continues
    before: str = ""  # cursor for older chats, if there are any

    @property
    def next_query(self) -> str:
        # `under` keeps the next page from repeating the label that this one ends with.
        query = {
            "before": self.before,
            "under": self.groups[-1].label,
            "q": self.search,
            "running": "1" if self.running else "",
        }
        return urlencode({name: value for name, value in query.items() if value})


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list of chats is restricted to."""

    search: str = ""
    running: bool = False
    before: datetime | None = None
    under: str = ""
    shown: int = 0  # chats that the list has already

    @classmethod
    def of_query(cls, query: QueryDict) -> "Filters":
        before = moment_of(query.get("before", ""))
        # PostgreSQL rejects text with a NUL.
        search = query.get("q", "").strip()[:MAX_SEARCH_CHARS].replace("\0", "")
        under = query.get("under", "") if before else ""
        return cls(search, "running" in query, before, under, number_of(query.get("shown", "")))

    @property
    def is_whole(self) -> bool:
        """Return True if no chat is left out."""
        return not self.search and not self.running


def number_of(text: str) -> int:
    """Return the number in a cursor; 0 if there is none that the database can compare."""
    # A number of 19 digits may not fit into the database's integers.
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def moment_of(text: str) -> datetime | None:
    """Return the time in a cursor; None if there is none that the database can compare."""
    try:
        moment = parse_datetime(text)
        return moment.astimezone(UTC) if moment and timezone.is_aware(moment) else None
    except (ValueError, OverflowError):
        return None


def sidebar_of(owner: Owner, filters: Filters, *, current: UUID | None, zone: tzinfo) -> Sidebar:
    """Return a page of the owner's chats, in groups by their day in the reader's time zone."""
    size = max(MAX_CHATS, min(filters.shown, MAX_SHOWN))
    found = chats_of(owner, filters)
    if current and filters.is_whole and filters.before:
        found = found.exclude(pk=current)  # the first page has it
    page = list(found[: size + 1])
    chats = page[:size]
    pinned = None
    if current and filters.is_whole and not filters.before:
        # The chat of the page has a row even if it is older than all others that are shown.
        is_shown = any(chat.pk == current for chat in chats)
        pinned = None if is_shown else found.filter(pk=current).first()
    # Days of the calendar, not periods of 24 hours: a chat from 23:00 is of yesterday at 1:00.
    today = timezone.now().astimezone(zone).date()

    def label(chat: Conversation) -> str:
        age = today - chat.updated_at.astimezone(zone).date()
        if age < timedelta(days=1):
            return gettext("Today")
        return gettext("Yesterday") if age < timedelta(days=2) else gettext("Earlier")

    groups = [Group(name, list(group)) for name, group in groupby(chats, key=label)]
    if pinned:
        groups.insert(0, Group(gettext("This chat"), [pinned], is_pinned=True))
    return Sidebar(
        groups=groups,
        current=current,
        search=filters.search,
        running=filters.running,
        under=filters.under,
        before=chats[-1].updated_at.isoformat() if len(page) > size else "",
    )


def chats_of(owner: Owner, filters: Filters) -> QuerySet[Conversation]:
    """Return the owner's chats that match, newest first.

    Each has `is_running`, and `is_waiting` if an answer waits for the owner.
    """
    live = Run.objects.live().filter(conversation=OuterRef("pk"))
    asks = Ask.objects.filter(
        conversation=OuterRef("pk"),
        state=Ask.State.OPEN,
        approver="owner",
        expires_at__gt=Now(),
    )
    found = Conversation.objects.for_owner(owner).annotate(
        is_running=Exists(live), is_waiting=Exists(asks)
    )
    if words := folded(filters.search):
        # A subquery, because a join would return a chat once for each question that matches.
        asked = Message.objects.alias(words=Folded("text")).filter(
            conversation=OuterRef("pk"), role=Message.Role.USER, words__contains=words
        )
        titled = Q(words__contains=words)
        found = found.alias(words=Folded("title")).filter(titled | Exists(asked))
    if filters.running:
        found = found.filter(is_running=True)
    if filters.before:
        found = found.filter(updated_at__lt=filters.before)
    return found.order_by("-updated_at")
