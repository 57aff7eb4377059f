"""Tokens and services: what there is, making tokens of services, revoking any.

A person makes their own tokens on their own page: a token of somebody else would read that
person's chats.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import ActionLocation
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html

from chat.access.issuing import delete_service, issue, revoke
from chat.access.tokens import (
    LIMITS,
    SCOPES,
    TERM,
    NewToken,
    Service,
    Token,
    limit_of,
    origin_of,
)
from chat.conversations import Conversation

from .content import visible
from .filters import ChoiceFilter
from .readonly import ReadOnly, relative_time

UNUSED = timedelta(days=90)
EXPIRING = timedelta(days=14)
MAX_DAYS = 3_650


class StateFilter(ChoiceFilter):
    title = "state"
    parameter_name = "state"
    options = {
        "usable": ("Usable", Q()),
        "unused": ("Unused for 90 days", Q()),
        "expiring": ("Expiring within 14 days", Q()),
        "expired": ("Expired", Q()),
        "revoked": ("Revoked", Q(revoked_at__isnull=False)),
    }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # These depend on the time.
        now = timezone.now()
        match self.value():
            case "usable":
                return queryset & Token.objects.usable()
            case "unused":
                never = Q(used_at=None, created_at__lt=now - UNUSED)
                return queryset.filter(never | Q(used_at__lt=now - UNUSED), revoked_at=None)
            case "expiring":
                return queryset.filter(expires_at__range=(now, now + EXPIRING), revoked_at=None)
            case "expired":
                return queryset.filter(expires_at__lte=now, revoked_at=None)
        return super().queryset(request, queryset)


class OwnerKindFilter(ChoiceFilter):
    title = "owner"
    parameter_name = "owner"
    options = {
        "user": ("People", Q(user__isnull=False)),
        "service": ("Services", Q(service__isnull=False)),
    }


class LinesField(forms.CharField):
    """Values, one a line, each read by a function that raises ValueError."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})

    def __init__(self, read: Callable[[str], Any], **options: Any) -> None:
        super().__init__(required=False, max_length=2_000, **options)
        self.read = read

    def clean(self, value: Any) -> list[Any]:
        try:
            lines = map(str.strip, super().clean(value).split("\n"))
            return [self.read(line) for line in lines if line]
        except ValueError as exc:
            raise ValidationError(f"{exc}.") from exc


class IssueForm(forms.Form):
    """A token of a service."""

    service = forms.ModelChoiceField(Service.objects.order_by("slug"))
    name = forms.CharField(max_length=Token.MAX_NAME, help_text="What the program is for")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        initial=list(SCOPES),
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_DAYS,
        initial=TERM.days,
        help_text="Until it expires; empty: never",
    )
    model_ids = LinesField(
        str, label="Models", help_text="That it may choose, one a line; empty: all"
    )
    origins = LinesField(
        origin_of,
        help_text="Of other sites whose pages may use it, one a line, such as https://shop.example",
    )
    limits = LinesField(
        limit_of, help_text=f"Its own, one a line, such as runs=2; there are: {', '.join(LIMITS)}"
    )

    def issue(self, by: User) -> NewToken:
        """Make the token of the valid form."""
        cleaned = self.cleaned_data
        return issue(
            cleaned["service"],
            cleaned["name"],
            by=by,
            scopes=cleaned["scopes"],
            term=timedelta(days=cleaned["days"]) if cleaned["days"] else None,
            model_ids=cleaned["model_ids"],
            origins=cleaned["origins"],
            limits=dict(cleaned["limits"]),
        )


@admin.register(Token)
class TokenAdmin(ReadOnly):
    list_display = ("beginning", "named", "owner", "allows", "used", "from_where", "state")
    list_filter = (StateFilter, OwnerKindFilter)
    list_select_related = ("user", "service")
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    ordering = ("-created_at",)
    search_fields = ("id", "name", "user__username", "service__slug")
    actions = ("revoke_selected",)
    fields = (
        *("id", "named", "owner", "scopes", "model_ids", "origins", "limits"),
        *("created_at", "expires_at", "used_at", "used_from", "revoked_at"),
    )
    readonly_fields = ("named", "owner")

    class Media:
        css = {"all": ("fleet/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.add_token")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_token")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True if tokens may go with their owner. Alone they are revoked instead."""
        may_delete = request.user.has_perm
        return may_delete("auth.delete_user") or may_delete("chat.delete_service")

    def get_actions(
        self, request: HttpRequest, action_location: ActionLocation = ActionLocation.CHANGE_LIST
    ) -> dict[str, Any]:
        found = super().get_actions(request, action_location)
        found.pop("delete_selected", None)
        return found

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form; a POST makes a token, which only its response shows."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        assert isinstance(request.user, User)  # The admin's pages need one.
        form = IssueForm(request.POST if request.method == "POST" else None)
        new = form.issue(request.user) if form.is_valid() else None
        context = {
            **self.admin_site.each_context(request),
            "title": "Token made" if new else "Make a token of a service",
            "opts": self.opts,
            "form": form,
            "new": new,
        }
        return TemplateResponse(request, "admin/chat/token/add.html", context)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        assert isinstance(request.user, User)
        tokens = list(queryset.filter(revoked_at=None).select_related("user", "service"))
        for token in tokens:
            revoke(token, by=request.user)
        messages.success(request, f"Revoked: {len(tokens)}. They count no more, from now on.")

    @admin.display(description="name", ordering="name")
    def named(self, token: Token) -> str:
        return format_html("<bdi>{}</bdi>", visible(token.name))

    @admin.display(description="owner")
    def owner(self, token: Token) -> str:
        return format_html("<bdi>{}</bdi>", token.user or f"service {token.service}")

    @admin.display(description="scopes")
    def allows(self, token: Token) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="last used", ordering="used_at")
    def used(self, token: Token) -> str:
        return relative_time(token.used_at) if token.used_at else "never"

    @admin.display(description="from", ordering="used_from")
    def from_where(self, token: Token) -> str:
        return token.used_from or "–"

    @admin.display(description="state", ordering="expires_at")
    def state(self, token: Token) -> str:
        if token.revoked_at:
            return "revoked"
        if token.expires_at is None:
            return "usable"
        return f"{'expired' if token.is_expired else 'until'} {token.expires_at:%Y-%m-%d}"


@admin.register(Service)
class ServiceAdmin(ReadOnly):
    """Services, which are made and deleted. A name is never changed: it says whose chats are."""

    list_display = ("slug", "created_at", "tokens")
    search_fields = ("slug",)
    fields = ("slug",)
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.add_service")

    def delete_model(self, request: HttpRequest, obj: Service) -> None:
        delete_service(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        for service in queryset:
            delete_service(service)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count the chats, too, which are deleted without being related."""
        listed, counts, *rest = super().get_deleted_objects(objs, request)
        owners = [str(service.owner) for service in objs]
        counts["chats"] = Conversation.objects.filter(owner__in=owners).count()
        return listed, counts, *rest

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        kept = Count("tokens", filter=Q(tokens__revoked_at=None))
        services: QuerySet[Service] = super().get_queryset(request)
        return services.annotate(kept=kept)

    @admin.display(description="tokens")
    def tokens(self, service: Any) -> int:
        return int(service.kept)
