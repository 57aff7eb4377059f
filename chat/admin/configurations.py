"""Configurations: what was in force when runs were answered, and what changed from one to the next.

They hold prompts, which are words of the operator, not of people who ask.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from chat.config.texts import ConfigText

from .readonly import ReadOnly, relative_time

DIGEST = re.compile(r"[0-9a-f]{12}")
HEADER = re.compile(r"\[[\w.\"-].*\]")
CONTEXT = 3  # lines around a change
MAX_LINES = 4_000  # of both texts


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference."""

    kind: Literal["same", "added", "removed", "table"]
    text: str


def changes(before: str, after: str) -> list[Line]:
    """Return the lines that differ, with those around them; none if the texts are the same."""
    old, new = before.splitlines(), after.splitlines()
    # Lines such as `tools = []` come often, and are compared as others, unless that takes long.
    matcher = SequenceMatcher(None, old, new, autojunk=len(old) + len(new) > MAX_LINES)
    groups = matcher.get_grouped_opcodes(CONTEXT)
    found: list[Line] = []
    for group in groups:
        found.append(Line("table", table_of(old[: group[0][1]])))
        for kind, *(old_from, old_to, new_from, new_to) in group:
            if kind == "equal":
                found += (Line("same", text) for text in old[old_from:old_to])
                continue
            found += (Line("removed", text) for text in old[old_from:old_to])
            found += (Line("added", text) for text in new[new_from:new_to])
    return found


def table_of(lines: Sequence[str]) -> str:
    """Return the header of the table in which these lines end; empty before the first one."""
    return next((line for line in reversed(lines) if HEADER.fullmatch(line)), "")


@admin.register(ConfigText)
class ConfigTextAdmin(ReadOnly):
    list_display = ("digest", "since", "runs")
    list_per_page = 50
    ordering = ("-first_seen_at",)
    show_full_result_count = False

    class Media:
        css = {"all": ("fleet/admin.css",)}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: those that no run has are pruned."""
        return False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ConfigText | None:
        # PostgreSQL refuses a NUL, which an address may have.
        is_digest = DIGEST.fullmatch(object_id) is not None
        return super().get_object(request, object_id, from_field) if is_digest else None

    @admin.display(description="first in force", ordering="first_seen_at")
    def since(self, config: ConfigText) -> str:
        return relative_time(config.first_seen_at)

    @admin.display(description="runs")
    def runs(self, config: ConfigText) -> str:
        return format_html('<a href="{}">Runs with it</a>', runs_with(config.pk))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        config = self.get_object(request, object_id)
        if config is None:
            messages.warning(request, "This configuration is gone: no run has it any more.")
            return HttpResponseRedirect(reverse("admin:chat_configtext_changelist"))
        before = ConfigText.objects.before(config)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Configuration {config.pk}",
            "opts": self.opts,
            "config": config,
            "before": before,
            "changes": changes(before.text, config.text) if before else [],
            "runs_with": runs_with(config.pk) if request.user.has_perm("chat.view_run") else "",
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/chat/configtext/change_form.html", context)


def runs_with(digest: str) -> str:
    """Return the address of the list of runs with this configuration."""
    return f"{reverse('admin:chat_run_changelist')}?config={digest}"


def digests() -> Iterator[str]:
    """Yield the digests of the newest configurations."""
    newest = ConfigText.objects.order_by("-first_seen_at")
    yield from newest.values_list("pk", flat=True)[:50]
