"""The languages of the pages: which one a reader gets, and the catalogue of the page's script."""

from functools import cache
from hashlib import sha256

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe
from django.views.i18n import JavaScriptCatalog

DIGEST_CHARS = 12
ONE_YEAR = 31_536_000  # seconds


def language_of(asked: str, *, cookies: dict[str, str], accepted: str) -> str:
    """Return the language `asked` for, or else that of a page with these cookies and header."""
    try:
        return translation.get_supported_language_variant(asked)
    except LookupError:
        pass
    request = HttpRequest()
    request.COOKIES = cookies
    request.META["HTTP_ACCEPT_LANGUAGE"] = accepted
    return translation.get_language_from_request(request)


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """Remember the language that a reader chose. An empty one follows the browser again."""
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
        back = reverse("new_chat")
    # Not redirect(), which takes a word for the name of a view.
    response = HttpResponseRedirect(back)
    language = request.POST.get("language", "")
    if language in dict(settings.LANGUAGES):
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            language,
            max_age=settings.LANGUAGE_COOKIE_AGE,
            path=settings.LANGUAGE_COOKIE_PATH,
            samesite="Lax",
            httponly=True,
        )
    else:
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME, path=settings.LANGUAGE_COOKIE_PATH)
    return response


@cache
def catalogue(language: str) -> bytes:
    """Return the script that gives `static/chat/i18n.js` the texts of a language."""
    with translation.override(language):
        return JavaScriptCatalog(packages=["chat"]).get(HttpRequest()).content


@cache
def catalogue_version(language: str) -> str:
    """Return what changes with the catalogue, for its address."""
    return sha256(catalogue(language)).hexdigest()[:DIGEST_CHARS]


@require_safe
def javascript_catalogue(request: HttpRequest, language: str, version: str) -> HttpResponse:
    """Return the catalogue of a language. Browsers keep it: a changed one has another address."""
    if language not in dict(settings.LANGUAGES):
        raise Http404
    # A page of the worker before may ask for its version while the fleet is updated.
    is_current = version == catalogue_version(language)
    age = f"public, max-age={ONE_YEAR}, immutable" if is_current else "no-store"
    return HttpResponse(
        catalogue(language),
        content_type="text/javascript; charset=utf-8",
        headers={"Cache-Control": age},
    )
