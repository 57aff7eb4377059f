"""The page of what models refuse. Its rows are in Redis."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST, require_safe
from redis.exceptions import RedisError

from chat.llm.refusals.memory import Refusal
from chat.refusals import RefusedPart, digest_of, forget, stored_refusals
from tooling.bounded import blocking_client


@admin.register(RefusedPart)
class RefusedPartAdmin(admin.ModelAdmin):
    """Show and forget refusals. Replace all URLs of ModelAdmin, which need a table."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = "chat_refusedpart"
        return [
            path("", wrap(require_safe(self.list_view)), name=f"{name}_changelist"),
            path(
                "<slug:digest>/forget/", wrap(require_POST(self.forget_view)), name=f"{name}_forget"
            ),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def list_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            with blocking_client(settings.REDIS_URL) as client:
                refusals = stored_refusals(client)
        except (RedisError, OSError):
            return self.rendered(request, {"is_down": True}, status=503)
        return self.rendered(
            request,
            {
                "rows": [row_of(refusal) for refusal in refusals],
                "may_forget": self.has_delete_permission(request),
            },
        )

    def forget_view(self, request: HttpRequest, digest: str) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        try:
            with blocking_client(settings.REDIS_URL) as client:
                refusal = forget(client, digest)
        except (RedisError, OSError):
            return self.rendered(request, {"is_down": True}, status=503)
        if refusal is None:
            messages.warning(request, "This refusal is not remembered any longer.")
        else:
            self.log_forgetting(request, digest, refusal)
            messages.success(
                request,
                f"“{refusal.change.name}” was forgotten for {refusal.model}."
                " The next question sends the request as a whole.",
            )
        name = "admin:chat_refusedpart_changelist"
        return HttpResponseRedirect(reverse(name, current_app=self.admin_site.name))

    def rendered(
        self, request: HttpRequest, context: dict[str, Any], *, status: int = 200
    ) -> HttpResponse:
        everywhere = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Refused parts",
            **context,
        }
        return TemplateResponse(
            request, "admin/chat/refusedpart/list.html", everywhere, status=status
        )

    def log_forgetting(self, request: HttpRequest, digest: str, refusal: Refusal) -> None:
        assert request.user.pk is not None
        LogEntry.objects.create(
            user_id=request.user.pk,
            content_type=ContentType.objects.get_for_model(RefusedPart),
            object_id=digest,
            object_repr=f"{refusal.model}: {refusal.change.name}"[:200],
            action_flag=DELETION,
            change_message="Forgotten.",
        )


def row_of(refusal: Refusal) -> dict[str, Any]:
    return {
        "digest": digest_of(refusal),
        "server": refusal.server,
        "model": refusal.model,
        "name": refusal.change.name,
        "since": datetime.fromtimestamp(refusal.since, UTC),
        "until": datetime.fromtimestamp(refusal.until, UTC),
    }
