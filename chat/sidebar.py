"""The list of chats beside every page, in groups; chat/finding.py searches it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.translation import gettext

from .access.owners import Owner
from .asks import Ask
from .conversations import Conversation
from .models import Run
from .runs import titles

MAX_CHATS = 40  # in the list; a button loads older ones
MAX_SHOWN = 400  # chats that a list keeps when it is shown anew
MAX_SEARCH_CHARS = 100
PINNED = "pinned"  # the key of the first group


class State(TypedDict):
    """What `chats_of` tells of a chat."""

    is_running: bool
    is_waiting: bool  # an answer waits for the owner
    last_status: str | None  # of the last answer
    answered_at: datetime  # when that ended, or when it was asked for


if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    Listed = WithAnnotations[Conversation, State]


class Label(NamedTuple):
    """The label of a group; `key` is the same in every language."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    label: Label
    chats: Sequence["Listed"]
    is_apart: bool = False  # above the others, and not a part of what is continued


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last chat of a page of the list."""

    moment: datetime
    is_pinned: bool = False

    @classmethod
    def of(cls, chat: Conversation) -> "Cursor":
        return cls(chat.pinned_at or chat.updated_at, chat.pinned_at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidebar:
    groups: Sequence[Group] = ()
    zone: tzinfo = UTC
    current: UUID | None = None
    running: bool = False
    under: str = ""  # the key of the label above which this page of the list continues
    next: Cursor | None = None  # for older chats, if there are any
    awaits_title: bool = False  # a model may be making one for the chat of the page

    @property
    def next_query(self) -> str:
        assert self.next
        # `under` keeps the next page from repeating the label that this one ends with.
        query = {
            "before": self.next.moment.isoformat(),
            "pinned": "1" if self.next.is_pinned else "",
            "under": self.groups[-1].label.key,
            "running": "1" if self.running else "",
        }
        return urlencode({name: value for name, value in query.items() if value})


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list of chats is restricted to."""

    search: str = ""
    running: bool = False
    before: Cursor | None = None
    under: str = ""
    shown: int = 0  # chats that the list has already

    @classmethod
    def of_query(cls, query: QueryDict) -> "Filters":
        moment = moment_of(query.get("before", ""))
        before = Cursor(moment, "pinned" in query) if moment else None
        # PostgreSQL rejects text with a NUL.
        search = query.get("q", "").strip()[:MAX_SEARCH_CHARS].replace("\0", "")
        under = query.get("under", "") if before else ""
        return cls(search, "running" in query, before, under, number_of(query.get("shown", "")))


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
    found = chats_of(owner, running=filters.running)
    listed = found
    if current and filters.before and not filters.running:
        listed = found.exclude(pk=current)  # the first page has it
    # Ask for one more than the page shows, to know if there are older ones.
    page = page_behind(filters.before, listed, size + 1)
    chats = page[:size]
    apart = None
    if current and not filters.running and not filters.before:
        # The chat of the page has a row even if it is older than all others that are shown.
        is_shown = any(chat.pk == current for chat in chats)
        apart = None if is_shown else found.filter(pk=current).first()
    today = timezone.now().astimezone(zone).date()

    def label(chat: "Listed") -> Label:
        if chat.pinned_at:
            return Label(PINNED, gettext("Pinned"))
        return label_of_day(chat.updated_at.astimezone(zone).date(), today)

    groups = [Group(name, list(group)) for name, group in groupby(chats, key=label)]
    if apart:
        groups.insert(0, Group(Label("apart", gettext("This chat")), [apart], is_apart=True))
    return Sidebar(
        groups=groups,
        zone=zone,
        current=current,
        running=filters.running,
        under=filters.under,
        next=Cursor.of(chats[-1]) if len(page) > size else None,
        awaits_title=any(chat.pk == current and may_get_title(chat) for chat in chats),
    )


def may_get_title(chat: "Listed") -> bool:
    """Return True if a model may be making the chat's title: it has just been answered."""
    return (
        titles.are_on()
        and chat.titled_by == Conversation.TitledBy.QUESTION
        and chat.last_status == Run.Status.COMPLETED
        and timezone.now() - chat.answered_at < timedelta(seconds=titles.TIMEOUT)
    )


def page_behind(cursor: Cursor | None, found: "QuerySet[Listed]", size: int) -> "list[Listed]":
    """Return the chats behind the cursor: first the pinned ones, then the others, newest first."""
    pinned = found.filter(pinned_at__isnull=False).order_by("-pinned_at")
    others = found.filter(pinned_at=None).order_by("-updated_at")
    if cursor is None:
        page = list(pinned[:size])
    elif cursor.is_pinned:
        page = list(pinned.filter(pinned_at__lt=cursor.moment)[:size])
    else:
        page, others = [], others.filter(updated_at__lt=cursor.moment)
    # Two queries, because each kind has an index in its order.
    return page + list(others[: size - len(page)])


def label_of_day(day: date, today: date) -> Label:
    """Return the label of the chats of a day.

    Days are those of the calendar, not 24 hours: at 1:00, a chat from 23:00 is of yesterday.
    """
    age = today - day
    if age < timedelta(days=1):
        return Label("today", gettext("Today"))
    if age < timedelta(days=2):
        return Label("yesterday", gettext("Yesterday"))
    if age <= timedelta(days=7):
        return Label("week", gettext("Previous 7 days"))
    form = "F" if day.year == today.year else "YEAR_MONTH_FORMAT"
    return Label(f"{day:%Y-%m}", date_format(day, form))


def chats_of(owner: Owner, *, running: bool) -> "QuerySet[Listed]":
    """Return the chats in the owner's list, each with its State."""
    found = with_state(Conversation.objects.in_list(owner))
    return found.filter(is_running=True) if running else found


def with_state(chats: "QuerySet[Conversation]") -> "QuerySet[Listed]":
    runs = Run.objects.filter(conversation=OuterRef("pk")).order_by("-answer_id")
    asks = Ask.objects.filter(
        conversation=OuterRef("pk"),
        state=Ask.State.OPEN,
        approver="owner",
        expires_at__gt=Now(),
    )
    found = chats.annotate(
        is_running=Exists(Run.objects.live().filter(conversation=OuterRef("pk"))),
        is_waiting=Exists(asks),
        last_status=Subquery(runs.values("status")[:1]),
        answered_at=Coalesce(Subquery(runs.values("ended_at")[:1]), "updated_at"),
    )
    return cast("QuerySet[Listed]", found)
