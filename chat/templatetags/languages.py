"""Tags for the page's language: the script with its texts, and the choice of another one."""

from dataclasses import dataclass

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.translation import get_language, get_language_info

from chat.languages import catalogue_version

register = template.Library()


@dataclass(frozen=True, slots=True)
class Language:
    code: str
    name: str  # in the language itself
    is_chosen: bool


@register.simple_tag(takes_context=True)
def languages(context: template.Context) -> list[Language]:
    """Return the languages of the pages. At most one is chosen: else the browser decides."""
    chosen = context["request"].COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
    return [
        Language(code, get_language_info(code)["name_local"], is_chosen=code == chosen)
        for code, _ in settings.LANGUAGES
    ]


@register.simple_tag
def catalogue_url() -> str:
    """Return the address of the catalogue of the active language."""
    language = get_language() or "en"
    return reverse("javascript_catalogue", args=[language, catalogue_version(language)])
