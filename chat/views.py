"""The pages: look up what is the owner's, and render it. Foreign and unknown ids are the same 404."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import wraps
from itertools import chain, groupby
from typing import Concatenate
from urllib.parse import unquote, urlencode
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from chat.rendering.answer import AnswerView
from routing.models import RoutingDecision

from .models import TITLE_LENGTH, Conversation, Message, Run
from .owners import Owner, owner_of_request
from .protocol.events import AnyEvent

QUESTIONS = 30  # of a conversation on the page before one asks for earlier ones
CHATS = 40  # in the list before one asks for older ones
EXAMPLES = [
    {"label": "Quick", "question": "What time is it in Tokyo?"},
    {"label": "Quick", "question": "How many days are left until 24 December?"},
    {
        "label": "Thorough",
        "question": "Compare Kafka and RabbitMQ for an order system with 500 orders per second.",
    },
    {
        "label": "Thorough",
        "question": "Plan a three-day visit to Lisbon for a family with two small children.",
    },
]


MODES = [
    {"value": "auto", "name": "Auto", "meaning": "One agent or the team, as needed"},
    {"value": "light", "name": "Light", "meaning": "One agent: quick and cheap"},
    {"value": "full", "name": "Full team", "meaning": "Plan, research, draft and review: slower"},
]
RATINGS: dict[str, int | None] = {
    "up": RoutingDecision.Rating.UP,
    "down": RoutingDecision.Rating.DOWN,
    "none": None,
}


@dataclass(frozen=True, slots=True)
class ModelInUse:
    label: str
    is_builtin: bool
    team_label: str = ""  # of the full team's model, where that is another one


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answers; the newest one is open, earlier ones are folded."""

    number: int | None = None
    text: str = ""
    answers: Sequence[AnswerView] = ()

    @property
    def text_json(self) -> str:
        """The exact text for the page's driver: attributes alone would change line ends."""
        return json.dumps(self.text)

    @property
    def newest(self) -> AnswerView | None:
        return self.answers[-1] if self.answers else None

    @property
    def earlier(self) -> Sequence[AnswerView]:
        return self.answers[:-1]


@dataclass(frozen=True, slots=True)
class Thread:
    turns: Sequence[Turn] = ()
    before: int | None = None  # cursor for earlier questions, if there are any


@dataclass(frozen=True, slots=True)
class Group:
    label: str
    chats: Sequence[Conversation]


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
        query = {
            "before": self.before,
            "under": self.groups[-1].label,
            "q": self.search,
            "running": "1" if self.running else "",
        }
        return urlencode({name: value for name, value in query.items() if value})


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is asked for."""

    search: str = ""
    running: bool = False
    before: datetime | None = None
    under: str = ""

    @classmethod
    def of_request(cls, request: HttpRequest) -> "Filters":
        query = request.GET
        before = _moment(query.get("before", ""))
        return cls(
            query.get("q", "").strip()[:100].replace("\0", ""),
            "running" in query,
            before,
            query.get("under", "") if before else "",
        )


# --- Views ------------------------------------------------------------------------------------------------------------


def for_owner[**P](
    view: Callable[Concatenate[HttpRequest, Owner, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """The view with the owner as its second argument; to the sign-in page if there is none."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        owner = owner_of_request(request)
        if owner is not None:
            return view(request, owner, *args, **kwargs)
        back = redirect_to_login(
            request.get_full_path() if request.method == "GET" and not _htmx(request) else "/"
        )
        return HttpResponseClientRedirect(back.url) if _htmx(request) else back

    return guarded


@require_GET
@for_owner
def new_chat(request: HttpRequest, owner: Owner) -> HttpResponse:
    return render(request, "chat/room.html", _page(request, owner, None, Thread()))


@require_GET
@for_owner
def conversation(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """A conversation; for htmx its earlier questions."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    before = request.GET.get("before", "")
    thread = thread_of(
        chat, before=int(before) if before.isdecimal() and len(before) < 19 else None
    )
    if _htmx(request):
        return render(request, "chat/room.html#turns", {"conversation": chat, "thread": thread})
    return render(request, "chat/room.html", _page(request, owner, chat, thread))


@require_GET
@for_owner
def conversations(request: HttpRequest, owner: Owner) -> HttpResponse:
    """The list for the sidebar, also as search and continued; `opened` adds the title of the conversation that is new on the page."""
    chat = None
    if opened := _uuid(request.GET.get("opened", "")):
        chat = Conversation.objects.for_owner(owner).filter(pk=opened).first()
    current = chat.pk if chat else current_of(request)
    sidebar = sidebar_of(owner, Filters.of_request(request), current=current, zone=_zone(request))
    return render(
        request,
        "chat/room.html#conversations",
        {"sidebar": sidebar, "opened": chat, "conversation": chat},
    )


@require_POST
@for_owner
def rename(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    title = " ".join(request.POST.get("title", "").replace("\0", "").split())[:TITLE_LENGTH]
    if title:
        # Not save(): a new name is no news that moves the conversation up.
        Conversation.objects.filter(pk=chat.pk).update(title=title)
    return redirect("conversation", pk=chat.pk)


@require_POST
@for_owner
def delete(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    if Run.objects.live().filter(conversation=chat).exists():
        messages.error(request, "This chat is still answering. Stop the answer, then delete it.")
        return redirect("conversation", pk=chat.pk)
    chat.delete()
    return redirect("new_chat")


@require_GET
@for_owner
def answer_text(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """An answer as the model wrote it, for Copy."""
    run = get_object_or_404(Run.objects.filter(owner=str(owner)).select_related("answer"), pk=pk)
    text = run.answer.text if run.recorded_ending else run.text_so_far
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


@require_POST
@for_owner
def rate(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Store a person's thumb on an answer, or take it back; the thumbs as they are now."""
    word = request.POST.get("rating", "")
    if word not in RATINGS:
        return HttpResponseBadRequest("rating is up, down or none")
    run = get_object_or_404(Run.objects.filter(owner=str(owner)).only("pk"), pk=pk)
    if not RoutingDecision.objects.rate(run.pk, RATINGS[word]):
        raise Http404
    answer = AnswerView(str(run.pk))
    answer.rating = RATINGS[word]
    return render(request, "chat/room.html#rating", {"answer": answer})


# --- What the pages show ----------------------------------------------------------------------------------------------


def _page(
    request: HttpRequest, owner: Owner, chat: Conversation | None, thread: Thread
) -> dict[str, object]:
    sidebar = sidebar_of(owner, Filters(), current=chat.pk if chat else None, zone=_zone(request))
    return {
        "conversation": chat,
        "thread": thread,
        "sidebar": sidebar,
        "model": model_in_use(),
        "modes": MODES,
        "search_is_off": settings.FLEET_SEARCH == "off",
        "examples": EXAMPLES,
        "blank": {"turn": Turn()},
        # Rounded, because templates localize floats and the script could not read the result.
        "heartbeat_ms": round(settings.FLEET_HEARTBEAT * 1000),
    }


def model_in_use() -> ModelInUse:
    if settings.FLEET_MODEL_BUILTIN:
        return ModelInUse("SmolLM2 (built-in)", is_builtin=True)
    light, full = settings.FLEET_LIGHT_MODEL or settings.FLEET_MODEL, settings.FLEET_MODEL
    return ModelInUse(light, is_builtin=False, team_label=full if full != light else "")


def thread_of(chat: Conversation, *, before: int | None = None) -> Thread:
    """The newest questions, or those before one, with all their answers, in a fixed number of queries."""
    questions = chat.messages.filter(role=Message.Role.USER)
    page = list(
        (questions.filter(pk__lt=before) if before else questions).order_by("-pk")[: QUESTIONS + 1]
    )
    shown = page[:QUESTIONS][::-1]
    if not shown:
        return Thread()
    has_more = len(page) > QUESTIONS
    first = questions.filter(pk__lt=shown[0].pk).count() + 1 if has_more else 1
    runs = (
        Run.objects.filter(question__in=shown)
        .select_related("answer")
        .order_by("question_id", "answer_id")
    )
    runs_of = {
        question_id: list(group)
        for question_id, group in groupby(runs, key=lambda run: run.question_id)
    }
    ratings = ratings_of(chain.from_iterable(runs_of.values()))
    turns = [
        Turn(
            number,
            question.text,
            [view_of(run, number, ratings.get(run.pk)) for run in runs_of.get(question.pk, [])],
        )
        for number, question in enumerate(shown, first)
    ]
    return Thread(turns, before=shown[0].pk if has_more else None)


def ratings_of(runs: Iterable[Run]) -> dict[UUID, int]:
    rated = RoutingDecision.objects.filter(
        workflow_id__in=[run.pk for run in runs], rating__isnull=False
    )
    return {
        pk: rating
        for pk, rating in rated.values_list("workflow_id", "rating")
        if rating is not None
    }


def view_of(run: Run, number: int, rating: int | None) -> AnswerView:
    ending = run.recorded_ending
    steps = [event for step in run.steps if (event := event_of(step))]
    text = run.answer.text if ending else run.text_so_far
    view = AnswerView.of_record(str(run.pk), steps, text, ending, ended_at=run.ended_at)
    view.message_id, view.conversation_id, view.number = (
        str(run.message_id),
        str(run.conversation_id),
        number,
    )
    view.rating = rating
    return view


def event_of(step: object) -> AnyEvent | None:
    """A stored step as its event; None for one that an older version wrote and this one does not know."""
    try:
        event: AnyEvent = msgspec.convert(step, AnyEvent)
    except msgspec.ValidationError:
        return None
    return event


def sidebar_of(owner: Owner, filters: Filters, *, current: UUID | None, zone: tzinfo) -> Sidebar:
    live = Run.objects.live().filter(conversation=OuterRef("pk"))
    found = (
        Conversation.objects.for_owner(owner)
        .annotate(is_running=Exists(live))
        .order_by("-updated_at")
    )
    if filters.search:
        asked = Message.objects.filter(
            conversation=OuterRef("pk"), role=Message.Role.USER, text__icontains=filters.search
        )
        found = found.filter(Q(title__icontains=filters.search) | Exists(asked))
    if filters.running:
        found = found.filter(is_running=True)
    if filters.before:
        found = found.filter(updated_at__lt=filters.before)
    page = list(found[: CHATS + 1])
    chats = page[:CHATS]
    today = timezone.now().astimezone(zone).date()

    def label(chat: Conversation) -> str:
        age = today - chat.updated_at.astimezone(zone).date()
        return (
            "Today"
            if age < timedelta(days=1)
            else "Yesterday"
            if age < timedelta(days=2)
            else "Earlier"
        )

    groups = [Group(name, list(group)) for name, group in groupby(chats, key=label)]
    before = chats[-1].updated_at.isoformat() if len(page) > CHATS else ""
    return Sidebar(
        groups=groups,
        current=current,
        search=filters.search,
        running=filters.running,
        under=filters.under,
        before=before,
    )


def _htmx(request: HttpRequest) -> HtmxDetails:
    details: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # HtmxMiddleware puts it there
    return details


def current_of(request: HttpRequest) -> UUID | None:
    """The conversation of the page that sent this request."""
    try:
        match = resolve(_htmx(request).current_url_abs_path or "")
    except Resolver404:
        return None
    pk = match.kwargs.get("pk")
    return pk if isinstance(pk, UUID) else None


def _moment(text: str) -> datetime | None:
    """The point in time that a cursor names; None for one that the database could not compare."""
    try:
        moment = parse_datetime(text)
        return moment.astimezone(UTC) if moment and timezone.is_aware(moment) else None
    except (ValueError, OverflowError):
        return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _zone(request: HttpRequest) -> tzinfo:
    """The reader's time zone, as static/chat/theme.js noted it."""
    try:
        return ZoneInfo(unquote(request.COOKIES.get("tz", "UTC")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
