"""The page of what is used up today: of the site's limits, and by whom."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_safe

from chat.access.limits import SITE
from chat.access.reached import today
from chat.access.spending import DayUse
from chat.access.usage import usage_of_site
from tooling.clusters import shortened

MAX_ROWS = 50
MAX_NAME_CHARS = 40


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    use: DayUse


@admin.register(DayUse)
class DayUseAdmin(admin.ModelAdmin):
    """Show who has used most today. Replace all URLs of ModelAdmin: nothing is to be changed."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.list_view))
        return [path("", view, name="chat_dayuse_changelist")]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def list_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        uses = DayUse.objects.filter(day=today().date()).exclude(subject=SITE)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Used today",
            "site": usage_of_site(),
            "rows": named(uses.order_by("-tokens", "-money", "subject")[:MAX_ROWS]),
            "most": MAX_ROWS,
        }
        return TemplateResponse(request, "admin/chat/dayuse/list.html", context)


def named(uses: Iterable[DayUse]) -> list[Row]:
    """Return the rows with names that operators know."""
    found = list(uses)
    ids = [use.subject.removeprefix("user:") for use in found if use.subject.startswith("user:")]
    names = {
        f"user:{pk}": name
        for pk, name in User.objects.filter(pk__in=ids).values_list("pk", "username")
    }
    return [
        Row(shortened(names.get(use.subject, use.subject), MAX_NAME_CHARS), use) for use in found
    ]
