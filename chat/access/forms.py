"""Queries and forms that can't be read.

Views would fail in the middle, and Django's own page of such a failure reads the form again.
"""

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.utils.decorators import sync_and_async_middleware

logger = logging.getLogger(__name__)

# Too many fields, too much, half a multipart form, and what a charset that is none raises.
UNREADABLE = (SuspiciousOperation, BadRequest, MultiPartParserError, LookupError, UnicodeError)


@sync_and_async_middleware
def readable_forms(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Answer requests whose query or form can't be read with status 400."""
    if not iscoroutinefunction(get_response):
        return lambda request: refusal_of(request) or get_response(request)

    async def middleware(request: HttpRequest) -> HttpResponse:
        # A thread for forms alone, which may be long.
        refused = (
            await sync_to_async(refusal_of)(request)
            if request.method == "POST"
            else refusal_of(request)
        )
        return refused or await get_response(request)

    return middleware


def refusal_of(request: HttpRequest) -> HttpResponse | None:
    """Return the refusal of a request whose query or form can't be read; None for others."""
    try:
        _ = request.GET, request.POST
    except UNREADABLE as exc:
        logger.info("%s %s cannot be read: %s", request.method, request.path, type(exc).__name__)
        return unreadable()
    return None


def fields_of(query: bytes) -> QueryDict:
    """Return the fields of a socket's query. Those that are too many are left out."""
    most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    return QueryDict(b"&".join(query.split(b"&", most)[:most]))


def unreadable() -> HttpResponse:
    return HttpResponseBadRequest("This request cannot be read.", content_type="text/plain")
