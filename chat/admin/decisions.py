"""Routing decisions: paths, tokens saved, escalations and ratings.

This is part of chat, because routing knows neither runs nor who may read their words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, get_args

from django.contrib import admin
from django.db.models import (
    Avg,
    DateField,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
    aggregates,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from chat.models import Run
from routing.models import Comparison, Outcome, RoutingDecision

from .content import first_words, length, may_read_content, visible, with_first_words
from .filters import ChoiceFilter, PeriodFilter
from .listing import ListAdmin
from .readonly import path_taken, relative_time

DAYS = 14  # of the table above the list
LIGHT = Q(path="light", escalated=False)
# Of the answer that the person got.
VERDICTS = {
    Comparison.Verdict.BETTER: "this answer was better than the other path's",
    Comparison.Verdict.WORSE: "the other path's answer was better",
    Comparison.Verdict.TIE: "both paths' answers were as good",
}
SAVING = LIGHT & Q(outcome="completed")  # a failed or cancelled answer saves nothing


@dataclass(frozen=True, slots=True)
class Count:
    """The router's figures of one day, or of all days."""

    date: date | None
    questions: int = 0
    light: int = 0
    asked: int = 0
    escalated: int = 0
    forced: int = 0
    light_down: int = 0
    light_rated: int = 0
    tokens_saved: int | None = None  # against the mean of full answers; None if there is none yet

    @property
    def light_share(self) -> float:
        return 100 * self.light / self.questions

    def __add__(self, other: "Count") -> "Count":
        return Count(
            None,
            self.questions + other.questions,
            self.light + other.light,
            self.asked + other.asked,
            self.escalated + other.escalated,
            self.forced + other.forced,
            self.light_down + other.light_down,
            self.light_rated + other.light_rated,
            other.tokens_saved
            if self.tokens_saved is None
            else self.tokens_saved + (other.tokens_saved or 0),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of the last days, newest first."""

    days: Sequence[Count]
    length: int = DAYS

    @property
    def total(self) -> Count:
        return sum(self.days, Count(None))


class PathFilter(ChoiceFilter):
    title = "path"
    parameter_name = "path"
    options = {
        "light": ("Light", Q(path="light")),
        "full": ("Full", Q(path="full")),
        "escalated": ("Light, then escalated", Q(escalated=True)),
    }


class ModeFilter(ChoiceFilter):
    title = "mode"
    parameter_name = "mode"
    options = {mode: (str(label), Q(mode=mode)) for mode, label in RoutingDecision.Mode.choices}


class AskedFilter(ChoiceFilter):
    title = "router's model"
    parameter_name = "asked"
    options = {"1": ("Asked", Q(asked=True)), "0": ("Not asked", Q(asked=False))}


class OutcomeFilter(ChoiceFilter):
    title = "outcome"
    parameter_name = "outcome"
    options = {each: (each.capitalize(), Q(outcome=each)) for each in get_args(Outcome)}


class RatingFilter(ChoiceFilter):
    title = "rating"
    parameter_name = "rating"
    options = {
        "up": ("Up", Q(rating=1)),
        "down": ("Down", Q(rating=-1)),
        "none": ("Not rated", Q(rating=None)),
    }


@admin.register(RoutingDecision)
class RoutingDecisionAdmin(ListAdmin):
    list_display = (
        "short_id",
        "created",
        "question",
        "path_taken",
        "shown_confidence",
        "mode",
        "asked_model",
        "outcome",
        "shown_tokens",
        "tokens_saved",
        "rating",
    )
    filters = (
        PeriodFilter,
        PathFilter,
        ModeFilter,
        AskedFilter,
        OutcomeFilter,
        RatingFilter,
    )
    list_display_links = ("short_id", "question")
    sortable_by = ("created", "shown_confidence", "shown_tokens")
    search_fields = ("pk",)
    search_help_text = "Words of the question, the beginning of the run's id, or the text's hash"
    change_list_template = "admin/routing/routingdecision/change_list.html"
    fields = (
        "created",
        "path_taken",
        "confidence",
        "mode",
        "asked_model",
        "outcome",
        "shown_tokens",
        "rating",
        "compared",
        "text_hash",
        "features",
    )
    export_words = frozenset({"reasons"})
    export_columns = {
        "workflow_id": "pk",
        "created_at": "created_at",
        "path": "path",
        "escalated": "escalated",
        "confidence": "confidence",
        "mode": "mode",
        "asked": "asked",
        "reasons": "reasons",
        "outcome": "outcome",
        "tokens": "tokens",
        "rating": "rating",
        "text_hash": "text_hash",
    }

    def rows(self, request: HttpRequest) -> QuerySet[RoutingDecision]:
        question = Run.objects.filter(pk=OuterRef("pk")).values("question__text")
        decisions = RoutingDecision.objects.defer("features", "reasons").alias(
            question_text=Coalesce(Subquery(question, TextField()), Value(""))
        )
        shown: QuerySet[RoutingDecision] = with_first_words(request, decisions, "question_text")
        return shown.annotate(tokens_of_full=Value(tokens_of_full(), FloatField()))

    def with_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        # A hash is as long as half an id, so it could be the beginning of one.
        of_text = queryset.filter(text_hash=term)
        if re.fullmatch("[0-9a-f]{16}", term) and of_text.exists():
            return of_text
        return super().with_id(queryset, term)

    def about(self, queryset: QuerySet[Any], questions: list[int]) -> QuerySet[Any]:
        runs = Run.objects.filter(question__in=questions).order_by()
        return queryset.filter(pk__in=list(runs.values_list("pk", flat=True)))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(
            request, {**(extra_context or {}), "summary": Summary(by_day())}
        )

    @admin.display(description="run")
    def short_id(self, decision: RoutingDecision) -> str:
        return str(decision.pk)[:8]

    @admin.display(description="when", ordering="created_at")
    def created(self, decision: RoutingDecision) -> str:
        return relative_time(decision.created_at)

    @admin.display(description="question")
    def question(self, decision: Any) -> str:
        return first_words(decision.words_start, decision.words_length)

    @admin.display(description="path")
    def path_taken(self, decision: RoutingDecision) -> str:
        return path_taken(decision.path, is_escalated=decision.escalated)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        run = "run" if request.user.has_perm("chat.view_run") else "workflow_id"
        why = "why" if may_read_content(request) else "length_of_why"
        return [run, *self.fields, why]

    @admin.display(description="reasons")
    def why(self, decision: RoutingDecision) -> str:
        return visible(decision.reasons)

    @admin.display(description="reasons")
    def length_of_why(self, decision: RoutingDecision) -> str:
        return length(len(decision.reasons))

    @admin.display(description="run")
    def run(self, decision: RoutingDecision) -> str:
        address = reverse("admin:chat_run_change", args=[decision.pk])
        return format_html('<a href="{}">{}</a>', address, decision.pk)

    @admin.display(description="router's model")
    def asked_model(self, decision: RoutingDecision) -> str:
        return "asked" if decision.asked else "–"

    @admin.display(description="compared")
    def compared(self, decision: RoutingDecision) -> str:
        found = Comparison.objects.filter(pk=decision.pk).first()
        return VERDICTS[Comparison.Verdict(found.verdict)] if found else "–"

    @admin.display(description="confidence", ordering="confidence")
    def shown_confidence(self, decision: RoutingDecision) -> str:
        return f"{decision.confidence:.2f}"

    @admin.display(description="tokens", ordering="tokens")
    def shown_tokens(self, decision: RoutingDecision) -> str:
        return f"{decision.tokens:,}"

    @admin.display(description="tokens saved (estimate)")
    def tokens_saved(self, decision: Any) -> str:
        full: float | None = decision.tokens_of_full
        if (
            full is None
            or decision.path == "full"
            or decision.escalated
            or decision.outcome != "completed"
        ):
            return "–"
        return f"{full - decision.tokens:,.0f}"


def tokens_of_full() -> float | None:
    """Return the mean tokens of the last hundred full answers, or None if there is none yet."""
    newest = RoutingDecision.objects.filter(path="full", outcome="completed").order_by(
        "-created_at"
    )[:100]
    mean: float | None = RoutingDecision.objects.filter(pk__in=newest.values("pk")).aggregate(
        mean=Avg("tokens")
    )["mean"]
    return mean


def by_day() -> list[Count]:
    """Return the figures of the last days, newest first. The oldest day is a whole one, too."""
    full = tokens_of_full()
    first = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        days=DAYS - 1
    )
    days = [of_day(first + timedelta(days=number)) for number in range(DAYS)]
    return [
        Count(
            date=row["date"],
            questions=row["questions"],
            light=row["light"],
            asked=row["opinions"],
            escalated=row["escalations"],
            forced=row["forced"],
            light_down=row["light_down"],
            light_rated=row["light_rated"],
            tokens_saved=None
            if full is None
            else round(full * row["savings"] - row["tokens_of_savings"]),
        )
        for row in days[0].union(*days[1:], all=True).order_by("-date")
        if row["questions"]
    ]


def of_day(midnight: datetime) -> QuerySet[Any, Any]:
    """Return a query for the figures of one day."""
    # A range can be read from the index. To group by date, SQLite calls Python for each row.
    of_this_day = Q(created_at__gte=midnight, created_at__lt=midnight + timedelta(days=1))
    return (
        RoutingDecision.objects.filter(of_this_day)
        .order_by()
        .annotate(date=Value(midnight.date(), DateField()))
        .values("date")
        .annotate(
            questions=aggregates.Count("pk"),
            light=aggregates.Count("pk", filter=LIGHT),
            savings=aggregates.Count("pk", filter=SAVING),
            tokens_of_savings=Sum("tokens", filter=SAVING, default=0),
            opinions=aggregates.Count("pk", filter=Q(asked=True)),
            escalations=aggregates.Count("pk", filter=Q(escalated=True)),
            forced=aggregates.Count("pk", filter=~Q(mode="auto")),
            light_down=aggregates.Count("pk", filter=LIGHT & Q(rating=-1)),
            light_rated=aggregates.Count("pk", filter=LIGHT & Q(rating__isnull=False)),
        )
    )
