"""The page on which people make and revoke the tokens of their programs."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from chat.access.issuing import issue, revoke
from chat.access.tokens import SCOPES, TERM, NewToken, Token

MAX_TOKENS = 50  # of one person; more of them nobody looks through
NEVER = "never"
TERMS = [
    ("7", gettext_lazy("7 days")),
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("365", gettext_lazy("A year")),
    (NEVER, gettext_lazy("Until I revoke it")),
]
MEANINGS = {
    "ask": gettext_lazy("Ask questions and follow the answers"),
    "read": gettext_lazy("Read my chats"),
    "write": gettext_lazy("Rename and delete my chats"),
}
TOO_MANY = gettext_lazy("You have %(count)s tokens. Revoke one that you don't need any more.")


class TokenForm(forms.Form):
    name = forms.CharField(max_length=Token.MAX_NAME)
    scopes = forms.MultipleChoiceField(
        choices=[(scope, MEANINGS[scope]) for scope in SCOPES],
        initial=list(SCOPES),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one.")},
    )
    term = forms.ChoiceField(choices=TERMS, initial=str(TERM.days))

    @property
    def lasts(self) -> timedelta | None:
        term = self.cleaned_data["term"]
        return None if term == NEVER else timedelta(days=int(term))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    """Show a person's tokens. A POST makes one, which only its response shows, or revokes one."""
    assert isinstance(request.user, User)
    if request.method != "POST":
        return page(request, request.user, TokenForm())
    if (token_id := request.POST.get("revoke")) is not None:
        if token := request.user.tokens.filter(pk=token_id.replace("\0", "")).first():
            revoke(token, by=request.user)
        return redirect("tokens")
    form = TokenForm(request.POST)
    if form.is_valid() and kept_by(request.user).count() >= MAX_TOKENS:
        form.add_error(None, TOO_MANY % {"count": MAX_TOKENS})
    if not form.is_valid():
        return page(request, request.user, form, status=422)
    name, scopes = form.cleaned_data["name"], form.cleaned_data["scopes"]
    new = issue(request.user, name, by=request.user, scopes=scopes, term=form.lasts)
    return page(request, request.user, TokenForm(), new=new, status=201)


def page(
    request: HttpRequest,
    user: User,
    form: TokenForm,
    *,
    new: NewToken | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "new": new,
        "tokens": kept_by(user).order_by("-created_at"),
        "max_name": Token.MAX_NAME,
    }
    return render(request, "chat/tokens.html", context, status=status)


def kept_by(user: User) -> Any:
    return user.tokens.filter(revoked_at=None)
