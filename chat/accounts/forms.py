"""What people may tell about their accounts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django import forms
from django.contrib.auth.forms import (
    AuthenticationForm,
    PasswordChangeForm,
    PasswordResetForm,
    SetPasswordForm,
    UserCreationForm,
    UsernameField,
)
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chat.access.addresses import address_of_request

from .trying import (
    RESETS,
    RESETS_OF_ADDRESS,
    SIGN_UPS,
    PasswordTry,
    TryingForm,
)

# E-mails are sent behind the answer: else it would take longer for addresses that are known.
postman = ThreadPoolExecutor(1, thread_name_prefix="mail")


def rules() -> str:
    """Return what agenticfleet/accounts.py asks of a password."""
    return _("At least 10 characters, not only digits, no common password, and not like your name.")


def word(field: forms.Field, label: str, help_text: str = "") -> None:
    """Give a field of Django's our words."""
    field.label, field.help_text = label, help_text
    field.widget.attrs.pop("autofocus", None)


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


class SignUpForm(TryingForm, UserCreationForm[User]):
    class Meta(UserCreationForm.Meta):
        fields = ("username", "email")

    def __init__(self, request: HttpRequest, **options: Any) -> None:
        super().__init__(**options)
        self.request = request
        word(self.fields["username"], _("Name"))
        word(
            self.fields["email"],
            _("E-mail, if you like"),
            _("For a link if you lose the password."),
        )
        word(self.fields["password1"], _("Password"), rules())
        word(self.fields["password2"], _("Password, once more"))

    def clean_username(self) -> str:
        # Before anything tells whether there is such a name.
        self.take(SIGN_UPS.of(address_of_request(self.request)))
        return super().clean_username()


class ResetForm(TryingForm, PasswordResetForm):
    """Ask for an e-mail with a link. Whether an account has this address, is not told."""

    def __init__(self, request: HttpRequest, **options: Any) -> None:
        super().__init__(**options)
        self.request = request
        word(self.fields["email"], _("E-mail"))

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        address = address_of_request(self.request)
        self.take(RESETS.of(email.casefold()), RESETS_OF_ADDRESS.of(address))
        return email

    def send_mail(self, *args: Any, **options: Any) -> None:
        postman.submit(super().send_mail, *args, **options)


def word_new_password(form: SetPasswordForm) -> None:
    word(form.fields["new_password1"], _("New password"), rules())
    word(form.fields["new_password2"], _("New password, once more"))


class ChosenPasswordForm(SetPasswordForm):
    """For who came by a link."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        word_new_password(self)


class PasswordCheck(TryingForm):
    """A form in which a signed-in person confirms with the password."""

    request: HttpRequest
    user: User

    def check_password(self, password: str) -> None:
        attempt = PasswordTry(self.request, self.user.username)
        self.take(attempt.of_name, attempt.of_address)
        if not self.user.check_password(password):
            raise ValidationError(_("That is not your password."))
        attempt.was_right()


class ProfileForm(PasswordCheck, forms.ModelForm):
    """Name and e-mail address. A new address can get a new password, so it needs the old one."""

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        help_text=gettext_lazy("Only for a new e-mail address."),
        strip=False,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    class Meta:
        model = User
        fields = ("username", "email")
        field_classes = {"username": UsernameField}

    def __init__(self, request: HttpRequest, user: User, **options: Any) -> None:
        super().__init__(instance=user, **options)
        self.request, self.user = request, user
        word(self.fields["username"], _("Name"))
        word(self.fields["email"], _("E-mail"), _("For a link if you lose the password."))
        if not user.has_usable_password():
            # The e-mail address is then that of the single sign-on.
            del self.fields["password"], self.fields["email"]

    def clean_username(self) -> str:
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exclude(pk=self.user.pk).exists():
            raise ValidationError(_("Somebody else has this name."))
        return name

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if "email" in self.changed_data:
            self.check_password(password)
        return password


class NewPasswordForm(PasswordCheck, PasswordChangeForm):
    def __init__(self, request: HttpRequest, user: User, **options: Any) -> None:
        super().__init__(user, **options)
        self.request, self.user = request, user
        word(self.fields["old_password"], _("Your password"))
        word_new_password(self)

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        self.check_password(password)
        return password


class DeleteForm(PasswordCheck, forms.Form):
    """Confirm with the password; without one, by writing the name."""

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    name = forms.CharField(label=gettext_lazy("Your name, to confirm"))

    def __init__(self, request: HttpRequest, user: User, **options: Any) -> None:
        super().__init__(**options)
        self.request, self.user = request, user
        del self.fields["name" if user.has_usable_password() else "password"]

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        self.check_password(password)
        return password

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.user.username:
            raise ValidationError(_("That is not your name."))
        return name
