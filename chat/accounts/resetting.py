"""A new password for those who have lost theirs, by a link in an e-mail."""

from typing import Any

from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpResponse
from django.urls import reverse_lazy

from chat.access.hosts import absolute
from chat.access.owners import may_see_settings

from .forms import ChosenPasswordForm, ResetForm
from .trying import TryingView


class Reset(TryingView, views.PasswordResetView):
    form_class = ResetForm
    template_name = "registration/reset.html"
    email_template_name = "registration/reset_email.txt"
    subject_template_name = "registration/reset_subject.txt"
    success_url = reverse_lazy("reset_sent")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        origin = absolute(self.request, "/").removesuffix("/")
        self.extra_email_context = {"origin": origin}
        return super().form_valid(form)


class ResetSent(views.PasswordResetDoneView):
    """Say what comes now. Without a mail server, that is nothing unless the operator acts."""

    template_name = "registration/reset_sent.html"

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(
            sends_mail=settings.FLEET_SENDS_MAIL,
            may_see_settings=may_see_settings(self.request),
            **more,
        )


class NewPassword(views.PasswordResetConfirmView):
    form_class = ChosenPasswordForm
    template_name = "registration/new_password.html"
    success_url = reverse_lazy("reset_done")


class ResetDone(views.PasswordResetCompleteView):
    template_name = "registration/reset_done.html"
