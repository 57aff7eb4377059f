"""Signing in, for people and staff alike, and making an account."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from .forms import SignInForm, SignUpForm
from .trying import TryingView


class SignIn(TryingView, LoginView):
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Return where a person goes then. Not back here, where Django fails with a person."""
        url = super().get_redirect_url(request)
        return "" if url == self.request.path else url

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(
            may_sign_up=settings.FLEET_AUTH == "signup",
            sso=settings.FLEET_SSO,
            **more,
        )


@method_decorator(sensitive_post_parameters(), name="dispatch")
class SignUp(TryingView, FormView):
    """Make an account, where everybody may, and sign its owner in."""

    form_class = SignUpForm
    template_name = "registration/sign_up.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.FLEET_AUTH != "signup":
            raise Http404
        if request.user.is_authenticated:
            return redirect("new_chat")
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        login(self.request, form.save(), backend=settings.AUTHENTICATION_BACKENDS[0])
        return redirect(settings.LOGIN_REDIRECT_URL)
