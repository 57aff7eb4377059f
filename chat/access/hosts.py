"""The host names under which pages and sockets may be asked for.

Django refuses other names with a traceback in the log and a bare page. Somebody who opens the fleet
from another device for the first time must see what to do: where to find it, because a page for
everybody names no setting.
"""

import logging
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from chat.logs import Once

from .owners import LOCAL_HOSTS

logger = logging.getLogger(__name__)


MAX_LOGGED_CHARS = 100  # of a name
MAX_LOGGED = 100  # names
_logged = Once(MAX_LOGGED)


class AllowedHostMiddleware(MiddlewareMixin):
    """Answer requests for a host name that isn't allowed with a page that says where to look."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        try:
            request.get_host()
        except DisallowedHost:
            log_once(request.META.get("HTTP_HOST", ""))
            return HttpResponse(render_to_string("unknown_host.html"), status=400)
        return None


def is_allowed(host: str) -> bool:
    """Return True if a socket may be opened under this name, which may have a port."""
    domain, _ = split_domain_port(host)
    if validate_host(domain, settings.ALLOWED_HOSTS or LOCAL_HOSTS):
        return True
    log_once(host)
    return False


def absolute(request: HttpRequest, path: str) -> str:
    """Return the address under which people elsewhere find this path."""
    base = settings.FLEET_PUBLIC_URL
    return urljoin(base, path) if base else request.build_absolute_uri(path)


def log_once(host: str) -> None:
    name = ascii(host[:MAX_LOGGED_CHARS])
    if not _logged.is_first(name):
        return
    if settings.FLEET_PUBLIC_URL:
        logger.warning(
            "asked for as %s, but FLEET_PUBLIC_URL is %s; if a proxy in front calls it so, it must"
            " pass the Host on as it is (nginx: proxy_set_header Host $http_host); to allow the"
            " name, add it to DJANGO_ALLOWED_HOSTS, and start again",
            *(name, settings.FLEET_PUBLIC_URL),
        )
    else:
        logger.warning(
            "asked for as %s; to allow it, set FLEET_PUBLIC_URL to the address that people use, or"
            " add it to DJANGO_ALLOWED_HOSTS, and start again",
            name,
        )
