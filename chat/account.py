"""What belongs to a person or a browser, apart from chats: their instructions, and the app."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import trigger_client_event

from .access.owners import Owner
from .instructions import MAX_INSTRUCTIONS, Instructions, InstructionsTooLong
from .views import for_owner

KEPT = "fleet:instructions-kept"  # The event that closes the dialog: static/chat/account.js
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


@require_http_methods(["GET", "HEAD", "POST"])
@for_owner
def instructions(request: HttpRequest, owner: Owner) -> HttpResponseBase:
    """Show the form of the person's own instructions; a POST stores them.

    A text that is too long is refused, and stays in the form.
    """
    if request.method != "POST":
        return form(request, Instructions.objects.of(owner))
    text, is_on = request.POST.get("text", ""), "is_on" in request.POST
    try:
        kept = Instructions.objects.keep(owner, text, is_on=is_on)
    except InstructionsTooLong as refusal:
        fault = _("They are too long: %(count)s of at most %(most)s characters.")
        places = {"count": f"{refusal.characters:,}", "most": f"{MAX_INSTRUCTIONS:,}"}
        written = Instructions(owner=str(owner), text=text, is_on=is_on)
        return form(request, written, fault=fault % places)
    return trigger_client_event(form(request, kept), KEPT)


def form(request: HttpRequest, written: Instructions, *, fault: str = "") -> HttpResponse:
    """Return the form with a text. One that was refused has the status 422, with a fault."""
    context = {"instructions": written, "most": MAX_INSTRUCTIONS, "fault": fault}
    status = 422 if fault else 200
    return render(request, "chat/account.html#instructions", context, status=status)


@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    """Describe the page to browsers that can install it. Nothing in it is anybody's."""
    described = {
        "id": "/",
        "name": "AgenticFleet",
        "short_name": "Fleet",
        "description": _("Ask a question. The fleet answers live, and you see every step."),
        "start_url": "/",
        "scope": "/",
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
