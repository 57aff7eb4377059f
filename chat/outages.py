"""What pages answer while the database is away, locked, full or read-only."""

import logging
import sys

from django.http import HttpRequest, HttpResponse, HttpResponseServerError
from django.template.loader import render_to_string
from django.utils import translation

from .database import is_unavailable

logger = logging.getLogger(__name__)

RETRY_AFTER = "5"  # seconds


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page of a failure. Django calls this while the failure is being handled.

    It asks the database nothing, and therefore knows no user.
    """
    fault = sys.exception()
    if not is_unavailable(fault):
        return HttpResponseServerError(render_to_string("500.html"))
    logger.warning(
        "%s %s is answered with 503: %s",
        *(request.method, request.path, str(fault).partition("\n")[0] or type(fault).__name__),
    )
    is_part = request.headers.get("HX-Request") == "true"
    # The failure may have come before that of the page was chosen.
    with translation.override(translation.get_language_from_request(request)):
        page = render_to_string(
            "unavailable.html#words" if is_part else "unavailable.html",
            {"is_question": request.method in ("GET", "HEAD")},
        )
    # If storing the session has failed, its middleware adds nothing more.
    headers = {"Retry-After": RETRY_AFTER, "Cache-Control": "no-store"}
    response = HttpResponse(page, status=503, headers=headers)
    # Django would log each with its traceback.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
