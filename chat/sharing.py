"""Sharing a chat by a link: the owner's dialogs, and the page that everybody with the link sees.

The page is the same for all its readers. It reads and sets no cookie, asks nobody to sign in, and
shows what the owner chose to share: questions, answers, sources, and with which model and when they
were written. The steps are left out, because they hold what the owner didn't see as the answer:
search queries, arguments of tools, notes of agents. So are costs, ratings and reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from .access.hosts import absolute
from .access.owners import Owner
from .chains import chains_of, results_with_sources
from .conversations import Conversation
from .languages import language_of
from .models import Run
from .rendering.answer import AnswerView
from .rendering.ending import MAX_MODEL_CHARS, PATHS
from .rendering.turns import turn
from .rendering.wording import duration, shortened
from .shares import NothingToShare, Share, answers_to_share
from .views import for_owner

QUESTIONS_ON_A_PAGE = 30
MAX_LISTED = 200  # links in the dialog; somebody who has more can revoke the newest ones first


@dataclass(frozen=True, slots=True)
class Link:
    """A chat's link as its owner sees it."""

    share: Share
    url: str
    is_current: bool = True  # it shows all that is there now


# --- What the owner sees


@require_http_methods(["GET", "HEAD", "POST"])
@for_owner
def share(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Show the dialog of a chat; a POST makes its link, or updates what it shows."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    fault = ""
    if request.method == "POST":
        try:
            Share.objects.show(chat)
        except NothingToShare:
            fault = _("There is no finished answer to share yet.")
    found = Share.objects.filter(conversation=chat).first()
    context = {"conversation": chat, "link": link_of(request, chat, found), "fault": fault}
    return render(request, "chat/share.html#link", context)


@require_POST
@for_owner
def revoke(request: HttpRequest, owner: Owner, pk: UUID) -> HttpResponse:
    """Let the link to a chat show nothing any more; it can't be had back."""
    chat = get_object_or_404(Conversation.objects.for_owner(owner), pk=pk)
    Share.objects.filter(conversation=chat).delete()
    if "list" in request.POST:
        return links(request, owner)
    return render(request, "chat/share.html#link", {"conversation": chat, "is_revoked": True})


@require_safe
@for_owner
def shares(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Show the list of all links to the owner's chats."""
    return links(request, owner)


def links(request: HttpRequest, owner: Owner) -> HttpResponse:
    found = Share.objects.for_owner(owner).select_related("conversation")[:MAX_LISTED]
    listed = [Link(share, address_of(request, share)) for share in found]
    return render(request, "chat/share.html#links", {"links": listed})


def link_of(request: HttpRequest, chat: Conversation, found: Share | None) -> Link | None:
    if found is None:
        return None
    is_current = found.title == chat.title and found.answers == answers_to_share(chat)
    return Link(found, address_of(request, found), is_current)


def address_of(request: HttpRequest, share: Share) -> str:
    return absolute(request, reverse("shared", args=[share.token]))


# --- What everybody with the link sees


@dataclass(frozen=True, slots=True)
class SharedTurn:
    """A question with the answer that is shared."""

    number: int
    question: str
    answer: AnswerView
    written_at: datetime
    badges: Sequence[str]
    outcome: str  # a sentence on an answer that isn't complete


@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show a shared chat, in three queries at most; the same 404 for all other addresses."""
    # That of the browser, whatever a cookie says.
    accepted = request.headers.get("Accept-Language", "")
    translation.activate(language_of("", cookies={}, accepted=accepted))
    share = Share.objects.filter(token=token.replace("\0", "")).first()
    if share is None:
        return public(render(request, "chat/shared.html", status=404))
    pages = Paginator(share.answers, QUESTIONS_ON_A_PAGE)
    page = pages.get_page(request.GET.get("page"))
    with turn:
        turns = turns_of(list(page.object_list), first=page.start_index())
        context = {"share": share, "page": page, "turns": turns}
        return public(render(request, "chat/shared.html", context))


def public(response: HttpResponse) -> HttpResponse:
    """Return the response with what keeps it out of search engines, and its address secret."""
    response["X-Robots-Tag"] = "noindex, nofollow"
    # The address is the key: sites that an answer links to must not learn it.
    response["Referrer-Policy"] = "no-referrer"
    return response


def turns_of(answers: Sequence[int], *, first: int) -> list[SharedTurn]:
    """Return the questions with these answers, numbered from `first`. One query."""
    # All answers to the same questions, because an answer may go on with runs that paused.
    questions = Run.objects.filter(answer__in=answers).values("question")
    runs = Run.objects.filter(question__in=questions).select_related("question", "answer")
    grouped = groupby(runs.order_by("question_id", "answer_id"), lambda run: run.question_id)
    chains = {chain[-1].answer_id: chain for _, group in grouped for chain in chains_of(group)}
    return [
        turn_of(number, chains[answer])
        for number, answer in enumerate(answers, first)
        if answer in chains  # the oldest messages may have been pruned
    ]


def turn_of(number: int, chain: Sequence[Run]) -> SharedTurn:
    run = chain[-1]
    # Named by its number: ids of runs and people are nobody else's business.
    answer = AnswerView.of_record(
        str(number), results_with_sources(chain), run.answer.text, run.recorded_ending
    )
    return SharedTurn(
        number, run.question.text, answer, run.created_at, badges_of(chain), outcome_of(run)
    )


def badges_of(chain: Sequence[Run]) -> list[str]:
    """Return which path and model an answer took, and how long it took."""
    run = chain[-1]
    path = next((str(name) for path, name in PATHS.items() if path == run.path), "")
    # A model may be named by its file, whose folders are nobody else's business.
    file = run.model.rpartition("/")[2] if run.model.startswith("/") else run.model
    model = settings.FLEET_MODELS.get(run.model) or file
    total_ms = sum(each.total_ms or 0 for each in chain)
    badges = [path, shortened(model, MAX_MODEL_CHARS), duration(total_ms) if total_ms else ""]
    return [badge for badge in badges if badge]


def outcome_of(run: Run) -> str:
    """Return a sentence on an answer that isn't complete, without the reason: it may name hosts."""
    match run.status:
        case Run.Status.CANCELLED:
            return _("This answer was stopped before it was complete.")
        case Run.Status.FAILED:
            return _("This answer broke off.")
        case _:
            return ""
