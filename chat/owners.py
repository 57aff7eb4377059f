"""Who asks: a signed-in person, a browser (a random id inside its session), a script without either, or the terminal."""

import uuid
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

BROWSER_KEY = "browser_id"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversations and runs these are; `str(owner)` is what rows store."""

    kind: Literal["user", "browser", "script", "terminal"]
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


SCRIPT = Owner("script")
TERMINAL = Owner("terminal")


def owner_of_request(request: HttpRequest) -> Owner | None:
    """The owner of a page view; a browser without one gets its id here. None where signing in is required."""
    if settings.FLEET_AUTH == "anonymous" and not request.user.is_authenticated:
        request.session.setdefault(BROWSER_KEY, uuid.uuid4().hex)
    return owner_of_session(request)


def owner_of_cookie(session_key: str | None, *, is_browser: bool) -> Owner | None:
    """The owner behind a socket's session cookie; None where it has none and needs one. Reads the database."""
    if session_key:
        request = HttpRequest()
        request.session = session_store(session_key)
        request.user = get_user(request)
        if owner := owner_of_session(request):
            return owner
    return None if is_browser or settings.FLEET_AUTH == "required" else SCRIPT


def owner_of_session(request: HttpRequest) -> Owner | None:
    if request.user.is_authenticated:
        return Owner("user", str(request.user.pk))
    browser_id = request.session.get(BROWSER_KEY)
    return (
        Owner("browser", browser_id) if browser_id and settings.FLEET_AUTH == "anonymous" else None
    )


def session_store(session_key: str) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return store
