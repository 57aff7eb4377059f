"""The tag that tells the page's script which installation it belongs to."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def installation() -> str:
    """Return the installation's id. A context has none on the page of an error."""
    name: str = settings.FLEET_INSTALLATION
    return name
