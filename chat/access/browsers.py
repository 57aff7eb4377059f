"""Browsers: the owners of page views and sockets, and what a person keeps who signs in.

A browser is known by a random id in a signed cookie of its own. It outlives sessions: one that
ends, or whose cookie another site on the same host replaces, costs no chats.
"""

import uuid
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import salted_hmac

from chat.asks import Ask
from chat.conversations import Conversation
from chat.instructions import Instructions
from chat.models import Run

from .owners import Owner
from .sessions import adopt_old_session

SALT = "chat.browsers"
MAX_AGE = 400 * 86_400  # seconds; no browser keeps a cookie longer
RENEWED_AFTER = 86_400  # seconds
# Where a user's session has the id of its browser. The version before kept all ids in sessions.
BROWSER_KEY = "browser_id"


def owner_of_request(request: HttpRequest) -> Owner | None:
    """Return the owner of a page view, or None if the reader must sign in first.

    A new browser gets an id, which `remember` puts into its cookie.
    """
    owner = owner_of(request)
    if owner is None and settings.FLEET_AUTH == "anonymous":
        return Owner("browser", uuid.uuid4().hex)
    return owner


def owner_of_cookies(cookies: dict[str, str]) -> Owner | None:
    """Return the user or the browser of a socket, or None if its cookies name neither.

    Read the database, so don't call this in the event loop.
    """
    adopt_old_session(cookies)
    request = HttpRequest()
    request.COOKIES = cookies
    request.session = session_store(cookies.get(settings.SESSION_COOKIE_NAME))
    request.user = get_user(request)
    return owner_of(request)


def owner_of(request: HttpRequest) -> Owner | None:
    """Return the user or the browser of a request, or None if it names neither."""
    if request.user.is_authenticated:
        user = Owner("user", str(request.user.pk))
        # A question that the browser sent just before it got the session of the user. The id is the
        # session's, because another site on this host may put its own session into a cookie.
        signed_in = request.session.get(BROWSER_KEY)
        if signed_in and Run.objects.filter(owner=str(Owner("browser", signed_in))).exists():
            claim(signed_in, user)
        return user
    browser_id = browser_id_of(request)
    # An id from before signing in became required counts no longer.
    if browser_id and settings.FLEET_AUTH == "anonymous":
        return Owner("browser", browser_id)
    return None


def browser_id_of(request: HttpRequest) -> str | None:
    """Return the id in the browser's cookie, or in the session of a version before."""
    return cookie_of(request) or request.session.get(BROWSER_KEY)


def cookie_of(request: HttpRequest, max_age: int | None = None) -> str | None:
    """Return the id in the browser's cookie; None if that is none of ours, or older."""
    name = settings.FLEET_BROWSER_COOKIE
    return request.get_signed_cookie(name, default=None, salt=SALT, max_age=max_age)


def remember(request: HttpRequest, response: HttpResponseBase, owner: Owner) -> None:
    """Put the browser's id into its cookie, if that has none or is older than a day."""
    browser_id = owner.id if owner.kind == "browser" else cookie_of(request)
    if browser_id and not cookie_of(request, max_age=RENEWED_AFTER):
        response.set_signed_cookie(
            settings.FLEET_BROWSER_COOKIE,
            browser_id,
            salt=SALT,
            max_age=MAX_AGE,
            path=settings.SESSION_COOKIE_PATH,
            httponly=True,
            samesite="Lax",
        )


def reader_tag(owner: Owner) -> str:
    """Return what a page knows its reader by: it tells readers apart and identifies none."""
    return salted_hmac(f"{SALT}.reader", str(owner), algorithm="sha256").hexdigest()[:16]


def account_tag(owner: Owner) -> str:
    """Return the tag of a signed-in reader; empty for all others, whom a page may outlast."""
    return reader_tag(owner) if owner.kind == "user" else ""


def session_store(session_key: str | None) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return store


# --- Signing in


def claim(browser_id: str, user: Owner) -> int:
    """Give a user what a browser owns. Return the number of conversations.

    Live runs go on: their workers don't look at owners. A request that a browser still sends with
    its old cookies is refused in these conversations; in a new one, it is claimed with the next
    request of the user.
    """
    browser = str(Owner("browser", browser_id))
    runs = Run.objects.filter(owner=browser)
    with transaction.atomic():
        count = Conversation.objects.filter(owner=browser).update(owner=str(user))
        # The page that sent a message_id as both follows the run of the user.
        known = Run.objects.filter(owner=str(user)).values("message_id")
        for run in runs.filter(message_id__in=known).only("pk"):
            runs.filter(pk=run.pk).update(message_id=uuid.uuid4())
        Ask.objects.filter(run__in=runs, replied_by=browser).update(replied_by=str(user))
        runs.update(owner=str(user))
        Instructions.objects.claim(Owner("browser", browser_id), user)
    return count


@receiver(user_logged_in)
def claim_at_sign_in(*, request: HttpRequest | None, user: AbstractBaseUser, **rest: Any) -> None:
    """Move the chats of the browser into the account, and tell the person."""
    if request is None or not (browser_id := browser_id_of(request)):
        return
    request.session[BROWSER_KEY] = browser_id
    count = claim(browser_id, Owner("user", str(user.pk)))
    if count:
        chats = "1 chat of this browser is" if count == 1 else f"{count} chats of this browser are"
        messages.success(request, f"{chats} now in your account.", fail_silently=True)
