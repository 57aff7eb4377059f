"""The pages: check access, look up what the owner may see, render it.

Ids of other owners and unknown ids get the same 404.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from functools import wraps
from typing import Concatenate
from urllib.parse import unquote, urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    JsonResponse,
    QueryDict,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import Resolver404, resolve, reverse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from routing.models import RoutingDecision
from routing.policy import may_prefer
from tooling.clusters import shortened

from .access.browsers import account_tag, owner_of_request, reader_tag, remember
from .access.owners import Owner, may_see_settings
from .better_model import ways
from .choices import EFFORTS, EXAMPLES, MODES, PREFERENCES, STAND_IN_EXAMPLES, STAND_IN_MODES
from .conversations import TITLE_LENGTH, Conversation
from .deleting import delete_chat
from .finding import results_of
from .instructions import Instructions
from .llm.offers import BUILTIN_NAME, Offer, offers
from .models import Run
from .pages import (
    QuestionWithAnswers,
    Thread,
    answer_of,
    thread_around,
    thread_behind,
    thread_from,
    thread_of,
    totals_of,
    turns_since,
)
from .protocol.errors import ProtocolError
from .rendering.answer import AnswerView
from .rendering.turns import turn
from .sidebar import Filters, number_of, sidebar_of
from .snippets import words_of

ACCOUNT_HEADER = "Fleet-Account"
STILL_ANSWERING = gettext_lazy("This chat is still answering. Stop the answer, then delete it.")
RATINGS: dict[str, int | None] = {
    "up": RoutingDecision.Rating.UP,
    "down": RoutingDecision.Rating.DOWN,
    "none": None,
}


@dataclass(frozen=True, slots=True)
class ModelInUse:
    label: str
    is_stand_in: bool
    team_label: str = ""  # of the full team's model, if it is another one
    server: str = ""  # such as Ollama, if it was found on this machine


def for_owner[**P](
    view: Callable[Concatenate[HttpRequest, Owner, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Pass the owner as second argument; redirect to the sign-in page if there is none.

    Have a page load anew that asks on behalf of another account: somebody signed in or out in
    another tab.
    """

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        owner = owner_of_request(request)
        if owner is not None:
            account = request.headers.get(ACCOUNT_HEADER)
            if htmx(request) and account is not None and account != account_tag(owner):
                return HttpResponseClientRefresh()
            response = view(request, owner, *args, **kwargs)
            remember(request, response, owner)
            return response
        # After signing in, a browser opens this address as a page. A fragment or the address of a
        # POST would be none.
        is_page = request.method != "POST" and not htmx(request)
        back = redirect_to_login(request.get_full_path() if is_page else reverse("new_chat"))
        return HttpResponseClientRedirect(back.url) if htmx(request) else back

    return guarded


@require_safe
@for_owner
def new_chat(request: HttpRequest, owner: Owner) -> HttpResponse:
    return render(request, "chat/room.html", page_context(request, owner, None, Thread()))


@require_safe
@for_owner
def conversation(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Show a conversation, around the question `at` if the reader comes from a search.

    For htmx, show only the earlier or later questions that it asks for.
    """
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    thread = thread_asked_for(chat, request.GET)
    if htmx(request):
        template, context = "chat/room.html#turns", {"conversation": chat, "thread": thread}
    else:
        template, context = "chat/room.html", page_context(request, owner, chat, thread)
    with turn:
        return render(request, template, context)


def thread_asked_for(chat: Conversation, query: QueryDict) -> Thread:
    before, after, at = (number_of(query.get(name, "")) for name in ("before", "after", "at"))
    if after:
        return thread_behind(chat, after)
    with suppress(KeyError):
        if at:
            return thread_around(chat, at)
    return thread_of(chat, before=before or None)


@require_safe
@for_owner
def turns(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Show the questions with answers that the page doesn't have: others were asked elsewhere."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    shown = uuid_of(request.GET.get("shown", ""))
    thread = turns_since(chat, number_of(request.GET.get("after", "")), shown=shown)
    return render(request, "chat/room.html#news", {"conversation": chat, "thread": thread})


@require_POST
@for_owner
def version(request: HttpRequest, owner: Owner, pk: UUID, run_id: UUID) -> HttpResponse:
    """Show the version of a question that this run answered, here and on all pages of the chat."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    run = get_object_or_404(chat.runs.only("question_id", "conversation_id"), pk=run_id)
    thread = thread_from(chat, run)
    with turn:
        return render(request, "chat/room.html#news", {"conversation": chat, "thread": thread})


@require_safe
@for_owner
def conversations(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Show the list for the sidebar, also for a search and for older chats.

    `opened` adds the title of a conversation that has just begun on the page.
    """
    chat = None
    if opened := uuid_of(request.GET.get("opened", "")):
        chat = Conversation.objects.for_owner(owner).filter(pk=opened).first()
    current = chat.pk if chat else current_of(request)
    filters, zone = Filters.of_query(request.GET), zone_of(request)
    context: dict[str, object] = {"opened": chat, "conversation": chat}
    if words_of(filters.search):
        context["results"] = results_of(owner, filters, current=current, zone=zone)
        return render(request, "chat/found.html", context)
    context["sidebar"] = sidebar_of(owner, filters, current=current, zone=zone)
    return render(request, "chat/chats.html", context)


@require_safe
@for_owner
def totals(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Show what the answers of a conversation took and cost; its menu asks when it is opened."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    return render(request, "chat/room.html#totals", {"totals": totals_of(chat)})


@require_POST
@for_owner
def pin(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Put a chat above the others in the list, or back among them."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    chat.pin(request.POST.get("pinned") == "1")
    return changed(request, chat)


@require_POST
@for_owner
def rename(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    title = shortened(request.POST.get("title", "").replace("\0", ""), TITLE_LENGTH)
    if title:
        chat.rename(title)
    return changed(request, chat)


@require_POST
@for_owner
def delete(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    try:
        delete_chat(chat)
    except ProtocolError:
        if htmx(request):
            return HttpResponse(STILL_ANSWERING)  # in the dialog, which stays open
        messages.error(request, STILL_ANSWERING)
        return redirect("conversation", pk=chat.pk)
    if htmx(request) and current_of(request) != pk:
        return HttpResponse()  # deleted from the list of another chat's page
    start = redirect("new_chat")
    return HttpResponseClientRedirect(start.url) if htmx(request) else start


def changed(request: HttpRequest, chat: Conversation) -> HttpResponse:
    """Answer a change of a chat. The page's script then shows the list anew."""
    return HttpResponse() if htmx(request) else redirect("conversation", pk=chat.pk)


@require_safe
@for_owner
def current(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Tell a page that its browser has kept for Back whether it may still be shown."""
    is_current = constant_time_compare(request.GET.get("reader", ""), reader_tag(owner))
    if is_current and (pk := uuid_of(request.GET.get("conversation", ""))):
        is_current = Conversation.objects.for_owner(owner).filter(pk=pk).exists()
    return JsonResponse({"is_current": is_current})


@require_safe
@for_owner
def answer(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Show an answer as it is now: the page asks if it was decided elsewhere."""
    run = get_object_or_404(Run.objects.filter(owner=str(owner)), pk=pk)
    return render(request, "chat/room.html#answer", {"answer": answer_of(run)})


@require_safe
@for_owner
def answer_text(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Return an answer as the model wrote it, for the copy button."""
    run = get_object_or_404(Run.objects.filter(owner=str(owner)).select_related("answer"), pk=pk)
    text = run.answer.text if run.recorded_ending else run.text_so_far
    # A model wrote this, so a browser must not guess that it is HTML.
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


@require_POST
@for_owner
def rate(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Store or remove the reader's rating of an answer; show the buttons in their new state."""
    word = request.POST.get("rating", "")
    if word not in RATINGS:
        return HttpResponseBadRequest("rating is up, down or none")
    run = get_object_or_404(Run.objects.filter(owner=str(owner)).only("pk"), pk=pk)
    if not RoutingDecision.objects.rate(run.pk, RATINGS[word]):
        raise Http404
    # The buttons need nothing but the run's id and its rating, so don't load the answer.
    answer = AnswerView(str(run.pk))
    answer.rating = RATINGS[word]
    return render(request, "chat/room.html#rating", {"answer": answer})


def page_context(
    request: HttpRequest, owner: Owner, chat: Conversation | None, thread: Thread
) -> dict[str, object]:
    sidebar = sidebar_of(owner, Filters(), current=chat.pk if chat else None, zone=zone_of(request))
    model = model_in_use()
    has_choice = may_prefer() and not model.is_stand_in
    return {
        "conversation": chat,
        "thread": thread,
        "sidebar": sidebar,
        "model": model,
        "modes": STAND_IN_MODES if model.is_stand_in else MODES,
        "ways": ways() if model.is_stand_in else (),
        "preferences": PREFERENCES if has_choice else (),
        "preference": Instructions.objects.of(owner).preference if has_choice else "",
        "has_preview": not model.is_stand_in and settings.FLEET_LIGHT_MODE,
        "efforts": EFFORTS,
        "models": models_to_choose_from(),
        "search_is_off": settings.FLEET_SEARCH == "off",
        "may_see_settings": may_see_settings(request),
        "examples": STAND_IN_EXAMPLES if model.is_stand_in else EXAMPLES,
        "max_message": settings.FLEET_LIMITS.message,
        "blank_question": QuestionWithAnswers(),
        # Rounded, because templates localize floats and the script could not read the result.
        "heartbeat_ms": round(settings.FLEET_HEARTBEAT * 1000),
        "reader": reader_tag(owner),
        "account": account_tag(owner),
    }


def model_in_use() -> ModelInUse:
    if settings.FLEET_MODEL_IS_STAND_IN:
        return ModelInUse(BUILTIN_NAME, is_stand_in=True)
    named = [settings.FLEET_LIGHT_MODEL or settings.FLEET_MODEL, settings.FLEET_MODEL]
    light, full = (settings.FLEET_MODELS.get(model) or model for model in named)
    return ModelInUse(
        light,
        is_stand_in=False,
        team_label=full if full != light else "",
        server=settings.FLEET_MODEL_SERVER,
    )


def models_to_choose_from() -> list[Offer]:
    """Return the models of the menu; none if all questions would get the same one anyway."""
    found = offers()
    different = {settings.FLEET_LIGHT_MODEL, settings.FLEET_MODEL, *(offer.id for offer in found)}
    return found if len(different) > 1 else []


def htmx(request: HttpRequest) -> HtmxDetails:
    details: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # HtmxMiddleware puts it there
    return details


def current_of(request: HttpRequest) -> UUID | None:
    """Return the conversation of the page that sent this request."""
    try:
        # A link to a source leaves its fragment in the address.
        path = urlsplit(htmx(request).current_url_abs_path or "").path
        match = resolve(path.removeprefix(settings.FORCE_SCRIPT_NAME or ""))
    except (Resolver404, ValueError):  # The header may hold anything.
        return None
    pk = match.kwargs.get("pk")
    return pk if isinstance(pk, UUID) else None


def uuid_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def zone_of(request: HttpRequest) -> tzinfo:
    """Return the reader's time zone, from the cookie that static/chat/theme.js sets."""
    # A cookie may hold anything, also a path: ZoneInfo then raises OSError or ValueError.
    try:
        return ZoneInfo(unquote(request.COOKIES.get(settings.FLEET_ZONE_COOKIE, "UTC")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
