"""The page of an account: name, password, sign-ins, export, deletion.

A browser that nobody has signed in with has chats, too: it gets the parts that fit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from chat.access.addresses import address_of_request
from chat.access.leaving import delete_all_of, end_sockets, tag_of_session
from chat.access.owners import Asker, Owner
from chat.access.signins import Session
from chat.access.tokens import Token
from chat.access.usage import usage_of
from chat.conversations import Conversation
from chat.models import Run
from chat.shares import Share
from chat.views import for_owner

from .devices import browser_of
from .forms import DeleteForm, NewPasswordForm, ProfileForm
from .trying import refused


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session as its owner sees it."""

    tag: str  # in place of its key, which is a password
    browser: str
    address: str
    since: datetime | None
    used_at: datetime
    is_this: bool


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a deletion takes."""

    chats: int
    links: int
    live: int  # answers that are being written
    tokens: int

    @classmethod
    def of(cls, owner: Owner) -> "Belongings":
        return cls(
            Conversation.objects.for_owner(owner).count(),
            Share.objects.for_owner(owner).count(),
            Run.objects.live().filter(owner=str(owner)).count(),
            Token.objects.usable().filter(user=int(owner.id)).count()
            if owner.kind == "user"
            else 0,
        )


def user_of(request: HttpRequest) -> User:
    """Return the signed-in user, as a copy that a form may change."""
    assert request.user.pk is not None
    return User.objects.get(pk=request.user.pk)


@require_safe
@for_owner
def account(request: HttpRequest, owner: Owner) -> HttpResponse:
    return shown(request, owner)


def shown(request: HttpRequest, owner: Owner, **filled: forms.BaseForm) -> HttpResponse:
    """Return the page; forms that were filled in wrongly stand in it."""
    asker = Asker(owner, address=address_of_request(request))
    context: dict[str, Any] = {"belongings": Belongings.of(owner), "usage": usage_of(asker)}
    if owner.kind == "user":
        user = user_of(request)
        context |= {"sessions": sessions_of(request), "profile": ProfileForm(request, user)}
        if user.has_usable_password():
            context["password"] = NewPasswordForm(request, user)
    response = render(request, "registration/account.html", {**context, **filled})
    for form in filled.values():
        response.status_code = 422
        refused(response, form)
    return response


def sessions_of(request: HttpRequest) -> Sequence[SignedIn]:
    """Return where the user is signed in, first here, then where it was used last."""
    rows = live_sessions(request).order_by("-used_at", "-signed_in_at")
    key = request.session.session_key
    found = [
        SignedIn(
            tag_of_session(row.session_key),
            browser_of(row.agent),
            row.address,
            row.signed_in_at,
            row.used_at,
            is_this=row.session_key == key,
        )
        for row in rows
    ]
    return sorted(found, key=lambda session: not session.is_this)


def live_sessions(request: HttpRequest) -> QuerySet[Session]:
    return Session.objects.filter(user=request.user.pk, expire_date__gt=timezone.now())


# --- Changes


@require_POST
@login_required
def change_profile(request: HttpRequest) -> HttpResponse:
    form = ProfileForm(request, user_of(request), data=request.POST)
    if not form.is_valid():
        return shown(request, Owner("user", str(request.user.pk)), profile=form)
    form.save()
    messages.success(request, _("Your account is changed."))
    return redirect("account")


@sensitive_post_parameters()
@require_POST
@login_required
def change_password(request: HttpRequest) -> HttpResponse:
    """Set a new password, which signs the person out everywhere else."""
    form = NewPasswordForm(request, user_of(request), data=request.POST)
    if not form.is_valid():
        return shown(request, Owner("user", str(request.user.pk)), password=form)
    update_session_auth_hash(request, form.save())
    messages.success(request, _("Your password is changed. Everywhere else you are signed out."))
    return redirect("account")


@require_POST
@login_required
def end_session(request: HttpRequest, tag: str) -> HttpResponse:
    """Sign the person out where this session is, perhaps here."""
    for row in live_sessions(request):
        if tag_of_session(row.session_key) == tag:
            end([row])
    return redirect("account")


@require_POST
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    end(live_sessions(request).exclude(session_key=request.session.session_key))
    messages.success(request, _("Everywhere else you are signed out."))
    return redirect("account")


def end(rows: Iterable[Session]) -> None:
    for row in rows:
        tag = tag_of_session(row.session_key)
        row.delete()
        end_sockets(tag)


# --- The end


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete_account(request: HttpRequest) -> HttpResponse:
    """Say what goes, and delete the account with everything once that is confirmed."""
    user = user_of(request)
    owner = Owner("user", str(user.pk))
    form = DeleteForm(request, user, data=request.POST or None)
    is_last = user.is_superuser and not (
        User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk).exists()
    )
    if request.method != "POST" or is_last or not form.is_valid():
        context = {"form": form, "belongings": Belongings.of(owner), "is_last": is_last}
        response = render(request, "registration/delete.html", context)
        if request.method == "POST":
            response.status_code = 422
        return refused(response, form)
    # First, so that nothing is asked any more: this signs out everywhere, and no token counts.
    user.is_active = False
    user.save(update_fields=["is_active"])
    logout(request)
    delete_all_of(owner)
    user.delete()
    return render(request, "registration/deleted.html")


@require_http_methods(["GET", "HEAD", "POST"])
@for_owner
def delete_chats(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Say what goes, and delete all chats of this account or browser."""
    if request.method != "POST":
        context = {"belongings": Belongings.of(owner)}
        return render(request, "registration/delete_chats.html", context)
    delete_all_of(owner)
    return redirect("account")
