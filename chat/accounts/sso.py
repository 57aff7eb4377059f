"""Single sign-on with an OpenID Connect server, by django-allauth. Imported if it is set up."""

import logging
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthError
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from requests import RequestException

logger = logging.getLogger(__name__)

OURS = (None, "none", "same-origin")  # Sec-Fetch-Site of a click on a page of this server


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Let everybody in whom the other server knows."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return True

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return failed(request, _("This account may not sign in here any more."))

    def add_message(self, *args: Any, **options: Any) -> None:
        """Say nothing: the page shows who is signed in."""


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Show why nobody is signed in. Raise ImmediateHttpResponse."""
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(redirect("login"))
        logger.warning("single sign-on failed: %s", exception or error)
        raise ImmediateHttpResponse(failed(request, _("The other server did not confirm it.")))


def failed(request: HttpRequest, why: str) -> HttpResponse:
    return render(request, "registration/sso_failed.html", {"why": why}, status=403)


@require_safe
def sign_in(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead to the other server, if a page of ours does."""
    if request.headers.get("Sec-Fetch-Site") not in OURS:
        return redirect("login")
    # allauth reads more of a query: `process=connect` would let one more person into the account.
    request.GET = QueryDict(urlencode({"next": request.GET.get("next", "")}))
    return answered(views.login, request, provider_id)


@require_safe
def come_back(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Sign in whom the other server sends back."""
    return answered(views.callback, request, provider_id)


def answered(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    """Return what a view of allauth does, which asks the other server."""
    if place := urlsplit(settings.FLEET_PUBLIC_URL).netloc:
        # By which the other server knows where to send people back, whatever a proxy calls us.
        request.META["HTTP_HOST"] = place
    try:
        response: HttpResponse = view(request, provider_id)
    except (RequestException, KeyError, TypeError, ValueError) as exc:
        # It is away, or what it sends isn't OpenID Connect.
        logger.warning("single sign-on failed: %s", type(exc).__name__)
        return failed(request, _("The other server does not answer as it must."))
    return response


# The checker reads the settings of a fleet without such a server.
[APP] = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]  # type: ignore[misc]
PROVIDER = {"provider_id": APP["provider_id"]}
urlpatterns = [
    path("login/", sign_in, PROVIDER, name="openid_connect_login"),
    path("callback/", come_back, PROVIDER, name="openid_connect_callback"),
]
