"""The tag that names the script with the texts of the page's language."""

from django import template
from django.urls import reverse
from django.utils.translation import get_language

from chat.languages import catalogue_version

register = template.Library()


@register.simple_tag
def catalogue_url() -> str:
    """Return the address of the catalogue of the active language."""
    language = get_language() or "en"
    return reverse("javascript_catalogue", args=[language, catalogue_version(language)])
