"""The cache inspector: pages of the admin whose rows are in Redis."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from redis.exceptions import RedisError

from .inspector import DIGEST, MAX_DELETE_SECONDS, MAX_EXAMINED, TOOL, CachedEntry, Inspector
from .known import TOOLS
from .models import CachedResult, PinnedTool
from .pinned_admin import PinnedToolAdmin

MAX_SHOWN_CHARS = 100_000
MAX_SEARCHED_CHARS = 200
NO_SEARCH = "Searching by words needs the permission to read content."

type View = Callable[..., HttpResponse]

admin.site.register(PinnedTool, PinnedToolAdmin)


@admin.register(CachedResult)
class CachedResultAdmin(admin.ModelAdmin):
    """Show and delete entries in Redis. Replace all URLs of ModelAdmin, which need a table."""

    def get_urls(self) -> list[URLPattern]:
        def url(route: str, view: View, name: str) -> URLPattern:
            return path(
                route, self.admin_site.admin_view(view), name=f"tooling_cachedresult_{name}"
            )

        return [
            url("", require_safe(self.list_view), "changelist"),
            url(
                "delete/",
                require_http_methods(["GET", "HEAD", "POST"])(self.delete_matching_view),
                "delete_matching",
            ),
            url("reopen/", require_POST(self.reopen_view), "reopen"),
            url("<slug:tool>/<slug:digest>/", require_safe(self.entry_view), "entry"),
            url(
                "<slug:tool>/<slug:digest>/delete/",
                require_http_methods(["GET", "HEAD", "POST"])(self.delete_entry_view),
                "delete_entry",
            ),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def list_view(self, request: HttpRequest) -> HttpResponse:
        self.require(self.has_view_permission(request))
        tool, text = filters(request.GET.get("tool", ""), request.GET.get("q", ""))
        if text and not may_read_content(request):
            # The results of a search show which words the entries hold.
            messages.warning(request, f"{NO_SEARCH} The list shows all entries.")
            text = ""
        cursor = cursor_of(request.GET.get("cursor", ""))
        try:
            with self.inspector() as inspector:
                page = inspector.page(tool=tool, text=text, cursor=cursor)
                totals, closed = inspector.totals(), inspector.closed()
        except (RedisError, OSError):
            return self.redis_is_down(request)
        context = {
            "title": "Cached results",
            "page": replace(page, entries=[shown(request, entry) for entry in page.entries]),
            "totals": totals,
            "today": totals.days[0],
            "closed": closed,
            "tool": tool,
            "text": text,
            "tools": [name for name, each in TOOLS.items() if each.cache],
            "is_first": not cursor,
            "filters": urlencode({"tool": tool, "q": text}),
            "most_examined": MAX_EXAMINED,
            "may_search": may_read_content(request),
            "may_delete": self.has_delete_permission(request),
        }
        return self.rendered(request, "list", context)

    def entry_view(self, request: HttpRequest, tool: str, digest: str) -> HttpResponse:
        self.require(self.has_view_permission(request))
        try:
            with self.inspector() as inspector:
                found = inspector.entry(*address_of(tool, digest))
        except (RedisError, OSError):
            return self.redis_is_down(request)
        if found is None:
            return self.entry_is_gone(request)
        entry, value = shown(request, found[0]), found[1]
        context = {
            "title": entry.about.query or entry.digest,
            "entry": entry,
            "parameters": words(request, pretty(found[0].about.parameters)),
            "value": None if value is None else words(request, pretty(value)),
            "may_delete": self.has_delete_permission(request),
        }
        return self.rendered(request, "entry", context)

    def delete_entry_view(self, request: HttpRequest, tool: str, digest: str) -> HttpResponse:
        self.require(self.has_delete_permission(request))
        try:
            with self.inspector() as inspector:
                found = inspector.entry(*address_of(tool, digest))
                if found is None:
                    return self.entry_is_gone(request)
                entry = shown(request, found[0])
                if request.method != "POST":
                    return self.rendered(
                        request, "delete", {"title": "Are you sure?", "entry": entry}
                    )
                inspector.delete(tool, digest)
        except (RedisError, OSError):
            return self.redis_is_down(request)
        title = title_of(entry) if may_read_content(request) else entry.key
        self.log_deletion(request, key=entry.key, what=title, message="Deleted from the cache.")
        messages.success(request, f"“{title}” was deleted. The next call fetches a new result.")
        return self.to_list()

    def delete_matching_view(self, request: HttpRequest) -> HttpResponse:
        self.require(self.has_delete_permission(request))
        given = request.POST if request.method == "POST" else request.GET
        tool, text = filters(given.get("tool", ""), given.get("q", ""))
        # Don't leave the text out instead: that would delete more than was asked for.
        self.require(not text or may_read_content(request))
        what = described(tool, text)
        try:
            with self.inspector() as inspector:
                if request.method != "POST":
                    count, is_all = inspector.count_matching(tool=tool, text=text)
                    context = {
                        "title": "Are you sure?",
                        "tool": tool,
                        "text": text,
                        "what": what,
                        "count": count,
                        "is_all": is_all,
                    }
                    return self.rendered(request, "delete", context)
                deleted = inspector.delete_matching(tool=tool, text=text)
        except (RedisError, OSError):
            return self.redis_is_down(request)
        self.log_deletion(
            request, key="", what=f"results {what}", message=f"Deleted {deleted.count}."
        )
        if deleted.finished:
            messages.success(request, f"{deleted.count:,} deleted {what}.")
        else:
            messages.warning(
                request,
                f"{deleted.count:,} deleted in {MAX_DELETE_SECONDS:g} s, and there are more {what}."
                " Delete again.",
            )
        return self.to_list(tool=tool if text else "", text=text if not deleted.finished else "")

    def reopen_view(self, request: HttpRequest) -> HttpResponse:
        self.require(self.has_delete_permission(request))
        tool, _ = filters(request.POST.get("tool", ""), "")
        try:
            with self.inspector() as inspector:
                inspector.reopen(tool)
        except (RedisError, OSError):
            return self.redis_is_down(request)
        messages.success(request, f"{tool} is tried again, by each worker within a minute.")
        return self.to_list()

    def require(self, may: bool) -> None:
        if not may:
            raise PermissionDenied

    def inspector(self) -> Inspector:
        return Inspector(settings.REDIS_URL)

    def rendered(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
    ) -> HttpResponse:
        everywhere = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(
            request, f"admin/tooling/{template}.html", everywhere, status=status
        )

    def redis_is_down(self, request: HttpRequest) -> HttpResponse:
        return self.rendered(request, "down", {"title": "Cached results"}, status=503)

    def entry_is_gone(self, request: HttpRequest) -> HttpResponse:
        messages.warning(request, "This result is not kept any longer.")
        return self.to_list()

    def to_list(self, *, tool: str = "", text: str = "") -> HttpResponse:
        query = {name: value for name, value in (("tool", tool), ("q", text)) if value}
        address = reverse("admin:tooling_cachedresult_changelist", current_app=self.admin_site.name)
        return HttpResponseRedirect(f"{address}?{urlencode(query)}" if query else address)

    def log_deletion(self, request: HttpRequest, *, key: str, what: str, message: str) -> None:
        assert request.user.pk is not None
        LogEntry.objects.create(
            user_id=request.user.pk,
            content_type=ContentType.objects.get_for_model(CachedResult),
            object_id=key,
            object_repr=what[:200],
            action_flag=DELETION,
            change_message=message,
        )


def filters(tool: str, text: str) -> tuple[str, str]:
    """Return the filters, without a tool name that Redis would read as a pattern."""
    return (tool if re.fullmatch(TOOL, tool) else ""), text.replace("\x00", "").strip()[
        :MAX_SEARCHED_CHARS
    ]


def cursor_of(given: str) -> int:
    """Return the cursor of a page; the first page if it is not one."""
    return int(given) if re.fullmatch(r"[0-9]{1,20}", given) and int(given) < 2**64 else 0


def address_of(tool: str, digest: str) -> tuple[str, str]:
    """Return the place of an entry. Raise Http404 for other keys, which must not be read."""
    if not re.fullmatch(TOOL, tool) or not re.fullmatch(DIGEST, digest):
        raise Http404
    return tool, digest


def may_read_content(request: HttpRequest) -> bool:
    # The permission belongs to chat, which this app doesn't know; its name is enough.
    return request.user.has_perm("chat.read_content")


def words(request: HttpRequest, text: str) -> str:
    """Return `text`, or only its length if the operator may not read content."""
    return text if may_read_content(request) else f"{len(text):,} characters"


def shown(request: HttpRequest, entry: CachedEntry) -> CachedEntry:
    """Return the entry with its words, or only with their lengths."""
    about = entry.about
    query, topic = (text and words(request, text) for text in (about.query, about.topic))
    return replace(entry, about=msgspec.structs.replace(about, query=query, topic=topic))


def title_of(entry: CachedEntry) -> str:
    return entry.about.query or entry.key


def described(tool: str, text: str) -> str:
    return f"of {tool or 'all tools'}" + (f" with “{text}”" if text else "")


def pretty(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "\n…"
