"""The pages of runs: how each went, and where its time went."""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from chat.models import Run

from .readonly import milliseconds
from .run_page import RunPageAdmin


@admin.register(Run)
class RunAdmin(RunPageAdmin):
    list_display = (
        "short_id",
        "created",
        "status",
        "path",
        "error_code",
        "first_event",
        "first_token",
        "total",
        "output_tokens",
        "model_calls",
        "model",
        "owner",
    )
    list_filter = ("status", "path", "mode", "error_code", "model", "created_at")
    search_fields = ("id__startswith", "message_id__startswith", "owner", "worker")
    date_hierarchy = "created_at"
    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ("fleet/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        # The list doesn't show texts and steps, which may be large.
        return super().get_queryset(request).defer("text_so_far", "steps", "summary_so_far")

    @admin.display(description="run", ordering="id")
    def short_id(self, run: Run) -> str:
        return str(run.pk)[:8]

    @admin.display(description="created", ordering="created_at")
    def created(self, run: Run) -> str:
        exact = f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC"
        return format_html('<span title="{}">{}</span>', exact, naturaltime(run.created_at))

    @admin.display(description="first event (ms)", ordering="first_event_ms")
    def first_event(self, run: Run) -> str:
        return milliseconds(run.first_event_ms)

    @admin.display(description="first token (ms)", ordering="first_token_ms")
    def first_token(self, run: Run) -> str:
        return milliseconds(run.first_token_ms)

    @admin.display(description="total (ms)", ordering="total_ms")
    def total(self, run: Run) -> str:
        return milliseconds(run.total_ms)
