"""The list of conversations, and the page of one with its messages."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse

from chat.branches import Tree
from chat.conversations import Conversation, Message
from chat.models import Run
from tooling.clusters import beginning

from .content import first_words, length, visible, with_first_words, words
from .filters import OwnerFilter, PeriodFilter, is_owner
from .listing import ListAdmin
from .readonly import owner_kind, relative_time

MAX_MESSAGES = 50  # of a conversation on its page; a link leads to earlier ones
MAX_MESSAGE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message on the page of its conversation; an answer has the run that wrote it.

    `place` says which question this is, and which version if it has several.
    """

    message: Message
    text: str
    run: Run | None
    place: str = ""


@admin.register(Conversation)
class ConversationAdmin(ListAdmin):
    list_display = ("short_id", "title_start", "updated", "created", "runs", "owner_kind")
    list_display_links = ("short_id", "title_start")
    filters = (PeriodFilter, OwnerFilter)
    search_fields = ("pk",)
    search_help_text = "Words of its questions, the beginning of its id, or its owner (user:5)"
    time_field = "updated_at"
    change_form_template = "admin/conversation.html"
    fields = ("id", "owner", "created", "updated")
    export_words = frozenset({"title"})
    export_columns = {
        "id": "pk",
        "title": "title",
        "owner": "owner",
        "created_at": "created_at",
        "updated_at": "updated_at",
    }
    # A conversation that goes on during an export would move in the order of time, and be missed.
    export_by_time = False

    def rows(self, request: HttpRequest) -> QuerySet[Conversation]:
        of_one = Run.objects.filter(conversation=OuterRef("pk")).order_by()
        counted = of_one.values("conversation").annotate(number=Count("pk")).values("number")
        conversations = Conversation.objects.annotate(
            number_of_runs=Coalesce(Subquery(counted, IntegerField()), 0)
        )
        return with_first_words(request, conversations, "title")

    def with_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        return queryset.filter(owner=term) if is_owner(term) else super().with_id(queryset, term)

    def about(self, queryset: QuerySet[Any], questions: list[int]) -> QuerySet[Any]:
        # A list of ids, because a subquery would be made for the count and for the page.
        of_questions = Message.objects.filter(pk__in=questions).order_by()
        found = of_questions.values_list("conversation", flat=True).distinct()
        return queryset.filter(pk__in=list(found))

    @admin.display(description="conversation")
    def short_id(self, conversation: Conversation) -> str:
        return str(conversation.pk)[:8]

    @admin.display(description="title")
    def title_start(self, conversation: Any) -> str:
        return first_words(conversation.words_start, conversation.words_length)

    @admin.display(description="last activity", ordering="updated_at")
    def updated(self, conversation: Conversation) -> str:
        return relative_time(conversation.updated_at)

    @admin.display(description="begun")
    def created(self, conversation: Conversation) -> str:
        return relative_time(conversation.created_at)

    @admin.display(description="runs")
    def runs(self, conversation: Any) -> str:
        return f"{conversation.number_of_runs:,}"

    @admin.display(description="owner")
    def owner_kind(self, conversation: Conversation) -> str:
        return owner_kind(conversation.owner)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        before = request.GET.get("before", "")
        is_number = before.isdecimal() and len(before) < 19
        if before and not is_number:
            messages.warning(request, "There is no such page of messages. These are the newest.")
        conversation = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if conversation is not None:
            context["words_of_title"] = words(request, visible(conversation.title))
            shown = newest_messages(
                request, conversation, before=int(before) if is_number else None
            )
            context["shown"] = shown[-MAX_MESSAGES:]
            context["has_earlier"] = len(shown) > MAX_MESSAGES
            context["is_newest"] = not is_number
        return super().change_view(request, object_id, form_url, context)


def newest_messages(
    request: HttpRequest, conversation: Conversation, *, before: int | None
) -> list[ShownMessage]:
    """Return the newest messages, or those before one, oldest first, and one more if there is."""
    ids = conversation.messages.order_by()
    if before is not None:
        ids = ids.filter(pk__lt=before)
    # Sort here: for the newest of an old conversation, PostgreSQL would go through all messages.
    newest = sorted(ids.values_list("pk", flat=True), reverse=True)[: MAX_MESSAGES + 1]
    page = Message.objects.filter(pk__in=newest).order_by("pk").defer("text")
    found = list(with_first_words(request, page, "text", chars=MAX_MESSAGE_CHARS))
    runs = Run.objects.filter(answer__in=found).defer(
        "text_so_far", "steps", "summary_so_far", "ending"
    )
    by_answer = {run.answer_id: run for run in runs}
    tree = conversation.tree()
    # With versions, it isn't plain which question an answer belongs to.
    questions = {run.answer_id: run.question_id for run in runs}
    path = set(tree.path(conversation.head))
    return [
        ShownMessage(
            message,
            text_of(message),
            by_answer.get(message.pk),
            place_of(questions.get(message.pk, message.pk), tree, path),
        )
        for message in found
    ]


def place_of(question: int, tree: Tree, path: Collection[int]) -> str:
    """Return which question this is: “3”, or “3, version 1 of 2, not shown”."""
    if question not in tree:
        return ""
    place, versions = str(tree.number(question)), tree.versions(question)
    if len(versions) > 1:
        place += f", version {versions.index(question) + 1} of {len(versions)}"
    return place if question in path else f"{place}, not shown"


def text_of(message: Any) -> str:
    if message.words_length is not None:
        return length(message.words_length)
    start = visible(message.words_start)
    return start if len(start) <= MAX_MESSAGE_CHARS else f"{beginning(start, MAX_MESSAGE_CHARS)}…"
