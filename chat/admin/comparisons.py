"""The page of what comparisons of both paths say: how often the other one would have been better.

This is part of chat, because routing knows nothing of the admin's pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe

from chat.dashboard.wording import NONE, grouped, percent
from routing.intervals import Mean, Share
from routing.models import Comparison
from routing.regret import Compared, Regret, bands_of, weights_digest

DAYS = 90


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of a band of confidence, or of all, as they are shown."""

    name: str
    light: str
    light_regret: str
    full: str
    full_regret: str
    needless: str
    saved: str
    wasted: str

    @classmethod
    def of(cls, name: str, regret: Regret) -> "Row":
        return cls(
            name,
            grouped(regret.light.whole),
            with_interval(regret.light),
            grouped(regret.full.whole),
            with_interval(regret.full),
            with_interval(regret.needless),
            with_reach(regret.saved),
            with_reach(regret.wasted),
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of the comparisons since a moment."""

    total: Row
    bands: Sequence[Row]
    count: int
    others: int  # of decisions with other weights
    tokens: int  # that the comparisons have used

    @classmethod
    def since(cls, moment: datetime) -> "Shown":
        weights = weights_digest()
        rows = Comparison.objects.since(moment, weights=weights)
        recent = Comparison.objects.filter(created_at__gte=moment).order_by()
        used = recent.aggregate(answers=Sum("tokens", default=0), judging=Sum("judging", default=0))
        return cls(
            Row.of("All", Regret.of(rows)),
            band_rows(rows),
            len(rows),
            recent.exclude(weights=weights).count(),
            used["answers"] + used["judging"],
        )


@admin.register(Comparison)
class ComparisonAdmin(admin.ModelAdmin):
    """Show figures. Replace all URLs of ModelAdmin: nothing is to be changed."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.list_view))
        return [path("", view, name="routing_comparison_changelist")]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # There is no page for it, but an operator who deletes a decision is asked for both.
        return request.user.has_perm("routing.delete_routingdecision")

    def list_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Light and full compared",
            "days": DAYS,
            "shown": Shown.since(timezone.now() - timedelta(days=DAYS)),
            "sampling": settings.FLEET_COMPARE,
            "share": percent(settings.FLEET_COMPARE.share, 1),
        }
        return TemplateResponse(request, "admin/routing/comparison/list.html", context)


def band_rows(rows: Sequence[Compared]) -> list[Row]:
    return [Row.of(f"{band.start:.2f} to {band.end:.2f}", band.regret) for band in bands_of(rows)]


def with_interval(share: Share) -> str:
    """Return a share in percent, with the interval of the true one in brackets."""
    if share.value is None:
        return NONE
    low, high = share.interval
    return f"{percent(share.part, share.whole)} ({100 * low:.0f}–{100 * high:.0f})"


def with_reach(mean: Mean) -> str:
    """Return “1,234 ± 56”."""
    if mean.value is None or mean.reach is None:
        return NONE
    return f"{mean.value:,.0f} ± {mean.reach:,.0f}"
