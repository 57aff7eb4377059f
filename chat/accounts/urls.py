"""The addresses of accounts."""

from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from chat.export.everything import export_all

from . import page
from .resetting import NewPassword, Reset, ResetDone, ResetSent
from .signing_in import SignIn, SignUp

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", SignUp.as_view(), name="sign_up"),
    path("password/reset/", Reset.as_view(), name="reset"),
    path("password/reset/sent/", ResetSent.as_view(), name="reset_sent"),
    path("password/reset/done/", ResetDone.as_view(), name="reset_done"),
    path("password/reset/<uidb64>/<token>/", NewPassword.as_view(), name="new_password"),
    path("account/", page.account, name="account"),
    path("account/profile/", page.change_profile, name="change_profile"),
    path("account/password/", page.change_password, name="change_password"),
    path("account/sessions/end/", page.end_other_sessions, name="end_other_sessions"),
    path("account/sessions/<str:tag>/end/", page.end_session, name="end_session"),
    path("account/export/", export_all, name="export_all"),
    path("account/chats/delete/", page.delete_chats, name="delete_chats"),
    path("account/delete/", page.delete_account, name="delete_account"),
]
if settings.FLEET_SSO:
    urlpatterns.append(path("sso/", include("chat.accounts.sso")))
