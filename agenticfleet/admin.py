"""The admin's site. Its first page is the operators' dashboard."""

from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse, reverse_lazy

from chat.dashboard.page import dashboard_of

from .guarded import GuardedPages


class FleetAdminSite(AdminSite):
    site_header = site_title = "AgenticFleet"
    site_url = reverse_lazy("new_chat")  # type: ignore[assignment]  # may be lazy

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the page on which all sign in, if they may come back."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        start = reverse("admin:index", current_app=self.name)
        return redirect_to_login(request.GET.get(REDIRECT_FIELD_NAME, start))

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models like Django's, with guarded pages."""
        pages = admin_class or ModelAdmin
        guarded = type(pages.__name__, (GuardedPages, pages), {"__module__": pages.__module__})
        super().register(model_or_iterable, guarded, **options)

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the dashboard above Django's list of pages, to those who may see figures of runs."""
        context = dict(extra_context or {})
        if request.user.has_perm("chat.view_run"):
            may_read = request.user.has_perm("chat.read_content")
            context["title"] = "Dashboard"
            context["dashboard"] = dashboard_of(request.GET, may_read=may_read)
        return super().index(request, context)
