"""All pages: the chat, signing in and out, the admin, and the metrics."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from agenticfleet.health import metrics_page

handler500 = "chat.outages.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    # Asked for by browsers on pages that name no icon, as the admin's.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}chat/icon.svg")),
    path("metrics", metrics_page),
    path("", include("chat.accounts.urls")),
    path("", include("chat.urls")),
]
