"""Django's own ASGI application for the pages, with one failure less."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponseBase

from chat.access.forms import unreadable


class Pages(ASGIHandler):
    def create_request(
        self, scope: Mapping[str, Any], body_file: Any
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request, or the refusal of one that can't be read.

        If the request names a charset, Django reads its query here, where nothing expects it to
        have too many fields.
        """
        try:
            return super().create_request(scope, body_file)
        except SuspiciousOperation:
            return None, unreadable()
