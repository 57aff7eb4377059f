"""The list of runs: its columns, filters, search and export."""

from typing import Any, get_args

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from chat.models import Run
from chat.protocol.errors import Code

from .configurations import DIGEST, digests
from .content import first_words, visible, with_first_words
from .filters import ChoiceFilter, OwnerFilter, PeriodFilter, is_owner
from .listing import ListAdmin, id_range
from .readonly import milliseconds, owner_kind, path_taken, relative_time, two_lines

MODELS_OF = 1_000  # The filter offers the models of the newest runs.
MAX_IDS = 1_000


class StatusFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"
    # For an equal status, SQLite would read the index of leases and then each row; only
    # `runs_listed` has all columns. No status begins like another.
    options = {
        value: (str(label), Q(status__startswith=value)) for value, label in Run.Status.choices
    }


class PathFilter(ChoiceFilter):
    title = "path"
    parameter_name = "path"
    options = {
        "light": ("Light", Q(path="light")),
        "full": ("Full", Q(path="full")),
        "escalated": ("Full after light", Q(escalated=True)),
        "none": ("Not routed", Q(path="")),
    }


class ErrorFilter(ChoiceFilter):
    title = "error"
    parameter_name = "error"
    options = {
        code: (code.replace("_", " ").capitalize(), Q(error_code=code)) for code in get_args(Code)
    }


class LevelFilter(ChoiceFilter):
    title = "service levels"
    parameter_name = "sla"
    options = {
        "met": ("Met", Q(sla_met=True)),
        "missed": ("Missed", Q(sla_met=False)),
        "none": ("Not judged", Q(sla_met=None)),
    }


class DurationFilter(ChoiceFilter):
    title = "duration"
    parameter_name = "duration"
    options = {
        "1": ("Under 1 s", Q(total_ms__lt=1_000)),
        "5": ("1 to 5 s", Q(total_ms__gte=1_000, total_ms__lt=5_000)),
        "30": ("5 to 30 s", Q(total_ms__gte=5_000, total_ms__lt=30_000)),
        "120": ("30 s to 2 min", Q(total_ms__gte=30_000, total_ms__lt=120_000)),
        "more": ("Over 2 min", Q(total_ms__gte=120_000)),
    }


class ModelFilter(ChoiceFilter):
    title = "model"
    parameter_name = "model"
    column = "model"

    @classmethod
    def accepts(cls, name: str, value: str) -> bool:
        return len(value) <= 200

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = Run.objects.order_by("-created_at", "-pk").values_list(self.column, flat=True)
        models = {*self.always, self.value() or ""}
        return [
            (model, model)
            for model in sorted(models.union(newest[:MODELS_OF]))
            if model.isprintable() and model
        ]

    @property
    def always(self) -> tuple[str, ...]:
        """Models that are offered even if no run has used them."""
        return settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class AskedModelFilter(ModelFilter):
    title = "model that was chosen"
    parameter_name = "model_asked"
    column = "model_asked"
    always = ()


class ConfigFilter(ChoiceFilter):
    """What was in force, by its digest."""

    title = "configuration"
    parameter_name = "config"

    @classmethod
    def accepts(cls, name: str, value: str) -> bool:
        return DIGEST.fullmatch(value) is not None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        offered = dict.fromkeys([*digests(), self.value() or ""])
        return [(digest, digest) for digest in offered if digest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(config=self.value()) if self.value() else queryset


class RunList(ListAdmin):
    """The list of runs. RunAdmin adds the page of a run."""

    list_display = (
        "short_id",
        "created",
        "asked",
        "ended_as",
        "path_taken",
        "first_event",
        "first_token",
        "total",
        "tokens",
        "calls",
        "cost_in_money",
        "service_levels",
    )
    list_display_links = ("short_id", "asked")
    filters = (
        PeriodFilter,
        StatusFilter,
        ErrorFilter,
        PathFilter,
        LevelFilter,
        DurationFilter,
        ModelFilter,
        AskedModelFilter,
        ConfigFilter,
        OwnerFilter,
    )
    search_fields = ("pk",)
    search_help_text = "Words of the question, the beginning of an id, or an owner (user:5)"
    export_words = frozenset({"question", "answer"})
    export_columns = {
        "id": "pk",
        "message_id": "message_id",
        "conversation_id": "conversation_id",
        "rerun_of": "rerun_of_id",
        "continues": "continues_id",
        "created_at": "created_at",
        "ended_at": "ended_at",
        "owner": "owner",
        "door": "door",
        "token": "token_id",
        "end_user": "end_user",
        "question": "question__text",
        "answer": "answer__text",
        "status": "status",
        "error_code": "error_code",
        "mode": "mode",
        "path": "path",
        "escalated": "escalated",
        "model": "model",
        "model_asked": "model_asked",
        "first_event_ms": "first_event_ms",
        "first_token_ms": "first_token_ms",
        "total_ms": "total_ms",
        "input_tokens": "input_tokens",
        "output_tokens": "output_tokens",
        "is_estimated": "is_estimated",
        "model_calls": "model_calls",
        "tool_calls": "tool_calls",
        "cache_hits": "cache_hits",
        "search_credits": "search_credits",
        "cost": "cost",
        "sla_met": "sla_met",
        "epoch": "epoch",
        "deaths": "deaths",
        "worked_s": "worked_s",
        "trace_id": "trace_id",
        "config": "config",
    }

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        has_prices = settings.FLEET_PRICES is not None
        return [name for name in self.list_display if has_prices or name != "cost_in_money"]

    def rows(self, request: HttpRequest) -> QuerySet[Run]:
        return with_first_words(request, Run.objects.all(), "question__text").defer(
            "text_so_far", "steps", "summary_so_far"
        )

    def with_id(self, queryset: QuerySet[Run], term: str) -> QuerySet[Run] | None:
        if is_owner(term):
            return queryset.filter(owner=term)
        ids = id_range(term)
        if ids is None:
            return None
        # Two short queries, because one with OR reads neither index on PostgreSQL.
        found = [
            pk
            for field in ("pk", "message_id")
            for pk in Run.objects.filter(**{f"{field}__range": ids})
            .order_by()
            .values_list("pk", flat=True)[:MAX_IDS]
        ]
        return queryset.filter(pk__in=found)

    def about(self, queryset: QuerySet[Run], questions: list[int]) -> QuerySet[Run]:
        return queryset.filter(question__in=questions)

    @admin.display(description="run")
    def short_id(self, run: Run) -> str:
        return str(run.pk)[:8]

    @admin.display(description="when, by", ordering="created_at")
    def created(self, run: Run) -> str:
        return two_lines(relative_time(run.created_at), owner_kind(run.owner))

    @admin.display(description="question")
    def asked(self, run: Any) -> str:
        return first_words(run.words_start, run.words_length)

    @admin.display(description="status")
    def ended_as(self, run: Run) -> str:
        status = format_html('<span class="status {}">{}</span>', run.status, run.status)
        times = f" × {run.epoch}" if run.epoch > 1 else ""
        taken_over = f"taken over{times}" if run.epoch else ""
        return two_lines(status, run.error_code.replace("_", " ") or taken_over)

    @admin.display(description="path, model")
    def path_taken(self, run: Run) -> str:
        return two_lines(path_taken(run.path, is_escalated=run.escalated), visible(run.model))

    @admin.display(description="first event (ms)")
    def first_event(self, run: Run) -> str:
        return milliseconds(run.first_event_ms)

    @admin.display(description="first token (ms)")
    def first_token(self, run: Run) -> str:
        return milliseconds(run.first_token_ms)

    @admin.display(description="total (ms)", ordering="total_ms")
    def total(self, run: Run) -> str:
        return milliseconds(run.total_ms)

    @admin.display(description="tokens in → out")
    def tokens(self, run: Run) -> str:
        about = "≈ " if run.is_estimated else ""
        return two_lines(f"{about}{run.input_tokens:,}", f"→ {run.output_tokens:,}")

    @admin.display(description="calls (tools)")
    def calls(self, run: Run) -> str:
        return f"{run.model_calls:,} ({run.tool_calls:,})"

    @admin.display(description="cost")
    def cost_in_money(self, run: Run) -> str:
        return "–" if run.cost is None else f"{run.cost:,.4f}"

    @admin.display(description="levels")
    def service_levels(self, run: Run) -> str:
        if run.sla_met is None:
            return "–"
        if run.sla_met:
            return "met"
        ending = run.recorded_ending
        missed = ending.sla.missed if ending and ending.sla else {}
        by = ", ".join(f"{level} by {ms:,.0f} ms" for level, ms in missed.items())
        return format_html('<span class="missed" title="{}">missed</span>', by)
