"""Signing in: the page, for people and staff alike."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView

from .trying import PasswordTry, TryingForm, TryingView


class SignInForm(TryingForm, AuthenticationForm):
    """Django's form, whose password may be wrong only so often."""

    def clean(self) -> dict[str, Any]:
        if {"username", "password"} <= self.cleaned_data.keys():
            assert self.request
            attempt = PasswordTry(self.request, self.cleaned_data["username"])
            self.take(attempt.of_name, attempt.of_address)
            super().clean()
            attempt.was_right()
        return self.cleaned_data


class SignIn(TryingView, LoginView):
    authentication_form = SignInForm
    redirect_authenticated_user = True
