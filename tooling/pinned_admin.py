"""The pages of MCP tools: what was accepted, what has changed, and the button that accepts it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from .mcp.differences import difference_of
from .models import PinnedTool


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"
    states = {
        "closed": ("Closed", Q(accepted_digest="") | ~Q(other_digest="")),
        "open": ("Open", Q(other_digest="") & ~Q(accepted_digest="")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, title) for value, (title, _) in self.states.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.states.get(self.value() or "")
        return queryset.filter(state[1]) if state else queryset


class PinnedToolAdmin(admin.ModelAdmin):
    """Rows that workers write. Staff with the permission accept what has changed."""

    actions = None
    list_display = ("server", "tool", "shown_state", "changed_at", "accepted_at", "accepted_by")
    list_display_links = ("server", "tool")
    list_filter = (StateFilter, "server")
    search_fields = ("server", "tool")
    empty_value_display = "–"

    @admin.display(description="state")
    def shown_state(self, pin: PinnedTool) -> str:
        return pin.state.label

    def get_queryset(self, request: HttpRequest) -> QuerySet[PinnedTool]:
        return super().get_queryset(request).defer("accepted", "other")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deleting one would not forget it, but make it a new one.
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        may_accept = self.has_change_permission(request)
        pin = self.get_object(request, object_id)
        if pin is None:
            messages.warning(request, "There is no such tool of an MCP server.")
            return HttpResponseRedirect(reverse("admin:tooling_pinnedtool_changelist"))
        if request.method == "POST":
            if not may_accept:
                raise PermissionDenied
            return self.accept(request, pin)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(pin),
            "pin": pin,
            "accepted": pin.accepted_definition,
            "difference": difference_of(
                pin.accepted_definition,
                pin.other_definition if pin.other else pin.accepted_definition,
            ),
            "may_accept": may_accept,
        }
        return TemplateResponse(request, "admin/tooling/pinnedtool/change_form.html", context)

    def accept(self, request: HttpRequest, pin: PinnedTool) -> HttpResponse:
        """Accept the definition that the page has shown."""
        address = HttpResponseRedirect(reverse("admin:tooling_pinnedtool_change", args=[pin.pk]))
        digest = request.POST.get("digest", "")
        if not pin.accept(digest, by=request.user.get_username()):
            messages.error(request, "Nothing was changed: the definition is another one by now.")
            return address
        self.log_change(request, pin, f"Accepted the definition {digest[:12]}.")
        messages.success(request, f"{pin} is accepted. Workers open it within seconds.")
        return address
