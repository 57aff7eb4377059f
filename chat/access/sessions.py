"""Sessions that last as long as they are used, cookies, and pages that no cache keeps."""

import time
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

from .signins import ADDRESS_KEY, AGENT_KEY, MAX_AGENT, SIGNED_IN_KEY

OLD_COOKIE = "sessionid"  # Django's name, which all its sites on a host share
RENEWED_KEY = "renewed_at"
RENEWED_AFTER = 86_400  # seconds: one write a day extends a session, not one for each request


class SessionMiddleware(middleware.SessionMiddleware):
    """Django's, for sessions and pages of people who may share a machine with others."""

    def process_request(self, request: HttpRequest) -> None:
        adopt_old_session(request.COOKIES)
        super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # While the database is away, reading the session would fail, and would take as long again.
        if response.status_code < 500:
            renew(request.session)
        # Nearly every page holds somebody's words. After a sign-out, Back must ask the server.
        # What holds none says that it is public.
        if "public" not in response.get("Cache-Control", ""):
            patch_cache_control(response, no_store=True)
        response = super().process_response(request, response)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response


def adopt_old_session(cookies: dict[str, str]) -> None:
    """Let a browser that comes for the first time since an update keep its session.

    Until then its cookie had Django's name. A key that another site gave is unknown here.
    """
    ours = (settings.SESSION_COOKIE_NAME, settings.FLEET_BROWSER_COOKIE)
    if OLD_COOKIE in cookies and not any(name in cookies for name in ours):
        cookies[settings.SESSION_COOKIE_NAME] = cookies[OLD_COOKIE]


def renew(session: SessionBase) -> None:
    """Extend the session of a signed-in user that was used, at most once a day."""
    if not session.accessed or SESSION_KEY not in session:
        return
    now = int(time.time())
    if now - session.get(RENEWED_KEY, 0) > RENEWED_AFTER:
        session[RENEWED_KEY] = now


@receiver(user_logged_in)
def note_the_beginning(*, request: HttpRequest | None, **rest: Any) -> None:
    """Keep what the row of a session shows, and spare the first request after it a write."""
    if request is not None:
        request.session[AGENT_KEY] = request.headers.get("User-Agent", "")[:MAX_AGENT]
        request.session[ADDRESS_KEY] = request.META.get("REMOTE_ADDR", "")
        request.session[SIGNED_IN_KEY] = int(time.time())
        renew(request.session)
