"""Where a socket may be opened from, and its stand-in over HTTP.

Browsers send the Origin of the page with a handshake, and cookies, to any server. No token of a
form protects sockets, so a page elsewhere must not get further than this.
"""

import logging
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.template.loader import render_to_string
from django.utils.http import is_same_domain

from chat.logs import Once
from chat.protocol.errors import FOREIGN_ORIGIN, UNKNOWN_HOST, ErrorInfo

from .hosts import is_allowed

logger = logging.getLogger(__name__)

SCHEMES = {"ws": "http", "wss": "https"}  # of pages, by that of their sockets
MAX_LOGGED_CHARS = 100  # of an origin, and of a host
MAX_LOGGED = 100  # origins
_logged = Once(MAX_LOGGED)
WITHOUT_ORIGIN = (
    "a browser's socket for %s names no page: the proxy in front must pass the header Origin on, by"
    " which pages of other sites are refused"
)


def refusal_of(scope: dict[str, Any], *, shows_token: bool = False) -> ErrorInfo | None:
    """Return why a socket may not be opened; None if it may.

    A token may allow pages of other sites; it is looked up with the request.
    """
    if not is_allowed(header(scope, b"host")):
        return UNKNOWN_HOST
    if not shows_token and is_foreign(scope):
        log_once("a socket", header(scope, b"origin"), header(scope, b"host"))
        return FOREIGN_ORIGIN
    if not shows_token and lacks_origin(scope):
        return FOREIGN_ORIGIN
    return None


def refusal_of_request(scope: dict[str, Any]) -> ErrorInfo | None:
    """Return why a page may not send a request that its cookies alone let in; None if it may.

    Browsers name the page of each POST. If a proxy drops that, they must say that it is ours.
    """
    if not is_allowed(header(scope, b"host")):
        return UNKNOWN_HOST
    if is_foreign(scope):
        log_once("a request", header(scope, b"origin"), header(scope, b"host"))
        return FOREIGN_ORIGIN
    is_named = header(scope, b"origin") or header(scope, b"sec-fetch-site") == "same-origin"
    return None if is_named else FOREIGN_ORIGIN


def refused_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that Django refuses: with no token of ours, or of a page of another site."""
    origin = request.headers.get("Origin", "")
    host = request.headers.get("Host", "")
    if origin and origin != f"{request.scheme}://{host}" and not is_trusted(origin):
        log_once("a form", origin, host)
    return HttpResponseForbidden(render_to_string("403_csrf.html", request=request))


def is_foreign(scope: dict[str, Any]) -> bool:
    """Return True if a page of another site asks. A program sends no Origin."""
    origin = header(scope, b"origin")
    own = own_origin(scope, header(scope, b"host"))
    return bool(origin) and origin != own and not is_trusted(origin)


def lacks_origin(scope: dict[str, Any]) -> bool:
    """Return True if a proxy has dropped the Origin of a page that the browser calls foreign.

    A browser names the page of every socket. If a proxy drops that, only the cookies' own rules
    keep pages elsewhere from opening one, and what newer browsers say in addition.
    """
    is_browser = header(scope, b"user-agent").startswith("Mozilla/") and header(scope, b"cookie")
    if header(scope, b"origin") or not is_browser:
        return False
    if _logged.is_first(WITHOUT_ORIGIN):
        logger.warning(WITHOUT_ORIGIN, ascii(header(scope, b"host")[:MAX_LOGGED_CHARS]))
    return header(scope, b"sec-fetch-site") in ("cross-site", "same-site")


def own_origin(scope: dict[str, Any], host: str) -> str:
    scheme = scope.get("scheme") or "ws"
    return f"{SCHEMES.get(scheme, scheme)}://{host}"


def is_trusted(origin: str) -> bool:
    """Return True if the operator has named this origin: scheme, host and port."""
    # Not urlsplit(), which raises if the origin is malformed.
    scheme, _, place = origin.partition("://")
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        trusted_scheme, _, pattern = trusted.partition("://")
        # Like Django's check of forms: *.chat.example stands for all subdomains.
        if scheme == trusted_scheme and is_same_domain(place, pattern.removeprefix("*")):
            return True
    return False


def log_once(what: str, origin: str, host: str) -> None:
    """Tell the operator what to set, in case the page is one of this server behind a proxy."""
    shown = ascii(origin[:MAX_LOGGED_CHARS]), ascii(host[:MAX_LOGGED_CHARS])
    if _logged.is_first(shown):
        logger.warning(
            "refused %s of a page of %s, which asked for %s; if that page is yours, set"
            " FLEET_PUBLIC_URL to its address, or add it to DJANGO_CSRF_TRUSTED_ORIGINS; a proxy in"
            " front must pass the Host on with its port (nginx: proxy_set_header Host $http_host)",
            *(what, *shown),
        )


def header(scope: dict[str, Any], name: bytes) -> str:
    return next((value for key, value in scope["headers"] if key == name), b"").decode("latin-1")


def below_root(scope: dict[str, Any]) -> str:
    """Return the path of a request without what all paths of this site begin with."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
