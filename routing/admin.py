"""The admin of routing decisions: paths, tokens saved, escalations and ratings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Avg, FloatField, Q, QuerySet, Sum, Value, aggregates
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from .models import RoutingDecision

DAYS = 14  # of the table above the list
LIGHT = Q(path="light", escalated=False)
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


@admin.register(RoutingDecision)
class RoutingDecisionAdmin(admin.ModelAdmin):
    list_display = (
        "created",
        "path",
        "shown_confidence",
        "mode",
        "asked",
        "escalated",
        "outcome",
        "shown_tokens",
        "tokens_saved",
        "rating",
    )
    list_filter = ("path", "mode", "asked", "escalated", "outcome", "rating", "created_at")
    search_fields = ("workflow_id__startswith", "text_hash", "reasons")
    date_hierarchy = "created_at"
    list_per_page = 50
    show_full_result_count = False
    change_list_template = "admin/routing/routingdecision/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[RoutingDecision]:
        decisions: QuerySet[RoutingDecision] = super().get_queryset(request)
        return decisions.defer("features").annotate(
            tokens_of_full=Value(tokens_of_full(), FloatField())
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(
            request, {**(extra_context or {}), "summary": Summary(by_day())}
        )

    @admin.display(description="created", ordering="created_at")
    def created(self, decision: RoutingDecision) -> str:
        exact = f"{decision.created_at:%Y-%m-%d %H:%M:%S} UTC"
        return format_html('<span title="{}">{}</span>', exact, naturaltime(decision.created_at))

    @admin.display(description="confidence", ordering="confidence")
    def shown_confidence(self, decision: RoutingDecision) -> str:
        return f"{decision.confidence:.2f}"

    @admin.display(description="tokens", ordering="tokens")
    def shown_tokens(self, decision: RoutingDecision) -> str:
        return f"{decision.tokens:,}"

    @admin.display(description="tokens saved (estimate)")
    def tokens_saved(self, decision: RoutingDecision) -> str:
        full: float | None = decision.tokens_of_full  # type: ignore[attr-defined]  # annotated above
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
    rows = (
        RoutingDecision.objects.filter(created_at__gte=first)
        .annotate(date=TruncDate("created_at"))
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
        .order_by("-date")
    )
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
        for row in rows
    ]
