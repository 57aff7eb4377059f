"""The addresses of the pages and of the socket."""

from django.urls import path

from . import sharing, views
from .accounts.instructions import instructions, prefer
from .accounts.tokens import tokens
from .consumers import ChatConsumer
from .export.views import export
from .languages import choose_language, javascript_catalogue
from .manifest import manifest
from .preview import preview

urlpatterns = [
    path("", views.new_chat, name="new_chat"),
    path("c/<uuid:pk>/", views.conversation, name="conversation"),
    path("c/<uuid:pk>/turns/", views.turns, name="turns"),
    path("c/<uuid:pk>/versions/<uuid:run_id>/", views.version, name="version"),
    path("c/<uuid:pk>/totals/", views.totals, name="totals"),
    path("c/<uuid:pk>/pin/", views.pin, name="pin"),
    path("c/<uuid:pk>/rename/", views.rename, name="rename"),
    path("c/<uuid:pk>/delete/", views.delete, name="delete"),
    path("c/<uuid:pk>/export/", export, name="export"),
    path("c/<uuid:pk>/share/", sharing.share, name="share"),
    path("c/<uuid:pk>/share/revoke/", sharing.revoke, name="revoke_share"),
    path("s/<str:token>/", sharing.shared, name="shared"),
    path("instructions/", instructions, name="instructions"),
    path("manifest.webmanifest", manifest, name="manifest"),
    path("account/tokens/", tokens, name="tokens"),
    path("account/preference/", prefer, name="prefer"),
    path("shares/", sharing.shares, name="shares"),
    path("chats/", views.conversations, name="conversations"),
    path("current/", views.current, name="current"),
    path("answers/ahead/", preview, name="preview"),
    path("answers/<uuid:pk>/", views.answer, name="answer"),
    path("answers/<uuid:pk>/text/", views.answer_text, name="answer_text"),
    path("answers/<uuid:pk>/rating/", views.rate, name="rate"),
    path("language/", choose_language, name="choose_language"),
    path(
        "jsi18n/<slug:language>/<slug:version>.js",
        javascript_catalogue,
        name="javascript_catalogue",
    ),
]

SOCKET_PATH = "ws/chat/"
CANCEL_PATH = f"{SOCKET_PATH}cancel/"  # for pages that have no socket
websocket_urlpatterns = [path(SOCKET_PATH, ChatConsumer.as_asgi())]
