"""Forms and pages of what may be tried only so often."""

import logging
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from chat.access.addresses import address_of_request
from chat.access.tries import Allowance, Subject, TooManyTries, Tries
from chat.rendering.wording import age

logger = logging.getLogger(__name__)

A_QUARTER = timedelta(minutes=15)
AN_HOUR = timedelta(hours=1)
# Of passwords: for a name from an address, and from an address for all names. A whole office may
# share an address, and a password that was right isn't counted.
PASSWORDS = Allowance("passwords", 5, A_QUARTER)
PASSWORDS_OF_ADDRESS = Allowance("passwords of address", 50, A_QUARTER)
SIGN_UPS = Allowance("sign-ups", 20, AN_HOUR)
RESETS = Allowance("resets", 3, AN_HOUR)  # of an account
RESETS_OF_ADDRESS = Allowance("resets of address", 20, AN_HOUR)
# Each keeps a thread busy.
EXPORTS = Allowance("exports", 10, AN_HOUR)  # of an owner
# Of people who have not signed in: each request may be from one more browser.
INSTRUCTIONS_OF_ADDRESS = Allowance("instructions of address", 60, AN_HOUR)

MAX_LOGGED = 30  # characters of a name


class TryingForm(forms.BaseForm):
    """A form whose check counts as a try."""

    refusal: TooManyTries | None = None

    def take(self, *subjects: Subject) -> None:
        """Count a try, or raise ValidationError with words that say when to come back."""
        try:
            Tries.objects.take(subjects)
        except TooManyTries as refusal:
            self.refusal = refusal
            raise ValidationError(words_of(refusal), code="too_many_tries") from refusal


class TryingView:
    """A view whose form may be a TryingForm."""

    def form_invalid(self, form: forms.BaseForm) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)  # type: ignore[misc]
        return refused(response, form)


def refused(response: HttpResponse, form: forms.BaseForm) -> HttpResponse:
    """Give a response the status of a form that was tried too often, if it was."""
    if isinstance(form, TryingForm) and form.refusal:
        response.status_code = 429
        response["Retry-After"] = str(seconds_of(form.refusal))
    return response


def too_often(refusal: TooManyTries) -> HttpResponse:
    """Refuse what no form can show."""
    headers = {"Retry-After": str(seconds_of(refusal))}
    return HttpResponse(words_of(refusal), status=429, content_type="text/plain", headers=headers)


def seconds_of(refusal: TooManyTries) -> int:
    return max(1, -int(-refusal.wait.total_seconds() // 1))


def words_of(refusal: TooManyTries) -> str:
    """Return when to come back, rounded up to what people read."""
    seconds = seconds_of(refusal)
    rounded = seconds if seconds < 60 else seconds + 59
    return _("That was tried too often. Try again in %(time)s.") % {"time": age(rounded)}


class PasswordTry:
    """A try of a name's password from where a request comes from."""

    def __init__(self, request: HttpRequest, name: str) -> None:
        address = address_of_request(request)
        self.of_name = PASSWORDS.of(name.casefold(), address)
        self.of_address = PASSWORDS_OF_ADDRESS.of(address)

    def was_right(self) -> None:
        Tries.objects.forget(self.of_name)
        Tries.objects.give_back(self.of_address)


@receiver(user_login_failed)
def log_failure(
    *, credentials: dict[str, Any], request: HttpRequest | None = None, **rest: Any
) -> None:
    """Log a wrong password with the name, which may be anything, and the address."""
    name = ascii(str(credentials.get("username", ""))[:MAX_LOGGED])
    address = request.META.get("REMOTE_ADDR", "") if request else "-"
    logger.warning("sign-in failed: name=%s address=%s", name, address)
