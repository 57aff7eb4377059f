"""The admin's site. Its first page is the operators' dashboard."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from chat.dashboard.page import dashboard_of


class FleetAdminSite(AdminSite):
    site_header = site_title = "AgenticFleet"

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
