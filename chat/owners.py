"""The owners of conversations: signed-in users, browsers, scripts and the terminal.

A browser is known by a random id in its session, a script by having no session.
"""

import uuid
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from typing import Literal

from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.http.request import split_domain_port

BROWSER_KEY = "browser_id"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of conversations and runs. Rows store `str(owner)`."""

    kind: Literal["user", "browser", "script", "terminal"]
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


SCRIPT = Owner("script")
TERMINAL = Owner("terminal")


def is_operator(owner: str) -> bool:
    """Return True if a row's owner may see hosts and names of settings: the terminal, or staff.

    Read the database, so don't call this in the event loop.
    """
    kind, _, user_id = owner.partition(":")
    if kind != "user":
        return owner == str(TERMINAL)
    return get_user_model().objects.filter(pk=user_id, is_staff=True, is_active=True).exists()


def may_see_settings(request: HttpRequest) -> bool:
    """Return True if a page may tell this person the names of settings, and how to set them.

    These are staff, and everybody at a fleet that only this machine can reach and that asks nobody
    to sign in: who uses it has started it.
    """
    if request.user.is_staff:
        return True
    host, _ = split_domain_port(request.get_host())
    return (
        settings.FLEET_IS_LOCAL
        and settings.FLEET_AUTH == "anonymous"
        and is_local(request)
        and host in LOCAL_HOSTS  # A proxy that tells nothing of its clients may pass their host.
    )


def is_local(request: HttpRequest) -> bool:
    """Return True if a program of this machine asks, and not a proxy on behalf of another one."""
    if any(name in request.headers for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded")):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def owner_of_request(request: HttpRequest) -> Owner | None:
    """Return the owner of a page view, or None if the reader must sign in first.

    Give a new browser its id.
    """
    if settings.FLEET_AUTH == "anonymous" and not request.user.is_authenticated:
        request.session.setdefault(BROWSER_KEY, uuid.uuid4().hex)
    return owner_of_session(request)


def owner_of_cookie(session_key: str | None, *, is_browser: bool) -> Owner | None:
    """Return the owner of a socket by its session cookie, or None if it needs one and has none.

    Read the database, so don't call this in the event loop.
    """
    if session_key:
        request = HttpRequest()
        request.session = session_store(session_key)
        request.user = get_user(request)
        if owner := owner_of_session(request):
            return owner
    return None if is_browser or settings.FLEET_AUTH == "required" else SCRIPT


def owner_of_session(request: HttpRequest) -> Owner | None:
    """Return the user or browser of a session, or None if it belongs to neither."""
    if request.user.is_authenticated:
        return Owner("user", str(request.user.pk))
    browser_id = request.session.get(BROWSER_KEY)
    # An id from before signing in became required counts no longer.
    if browser_id and settings.FLEET_AUTH == "anonymous":
        return Owner("browser", browser_id)
    return None


def session_store(session_key: str) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return store
