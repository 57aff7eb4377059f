"""What browsers read that can install the page as an app."""

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

ICONS = (
    {"src": "chat/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    {"src": "chat/icon-192.png", "sizes": "192x192", "type": "image/png"},
    {"src": "chat/icon-512.png", "sizes": "512x512", "type": "image/png"},
    {
        "src": "chat/icon-maskable-512.png",
        "sizes": "512x512",
        "type": "image/png",
        "purpose": "maskable",
    },
)


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    """Describe the page to browsers that can install it. Nothing in it is anybody's."""
    start = reverse("new_chat")
    described = {
        "id": start,
        "name": "AgenticFleet",
        "short_name": "Fleet",
        "description": _("Ask a question. The fleet answers live, and you see every step."),
        "start_url": start,
        "scope": start,
        "display": "standalone",
        # The window before the page is there; both themes look well behind it.
        "background_color": "#2456d6",
        "theme_color": "#2456d6",
        # At addresses that stay: browsers take another one for another icon, and ask about it.
        "icons": [{**icon, "src": f"{settings.STATIC_URL}{icon['src']}"} for icon in ICONS],
    }
    return JsonResponse(
        described,
        content_type="application/manifest+json",
        headers={"Cache-Control": "public, max-age=3600"},
    )
