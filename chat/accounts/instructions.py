"""What a person, or a browser, says for every answer: their instructions, and what they prefer."""

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from chat.access.addresses import address_of_request
from chat.access.owners import Owner
from chat.access.tries import TooManyTries, Tries
from chat.instructions import (
    MAX_INSTRUCTIONS,
    NO_PREFERENCE,
    Instructions,
    InstructionsTooLong,
    preference_in,
)
from chat.views import for_owner

from .trying import INSTRUCTIONS_OF_ADDRESS, too_often

KEPT = "fleet:instructions-kept"  # The event that closes the dialog: static/chat/account.js


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
        if owner.kind == "browser":
            Tries.objects.take([INSTRUCTIONS_OF_ADDRESS.of(address_of_request(request))])
        kept = Instructions.objects.keep(owner, text, is_on=is_on)
    except TooManyTries as often:
        return too_often(often)
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


@require_POST
@for_owner
def prefer(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Store whether the person prefers economy or quality, or neither."""
    preference = preference_in(request.POST.get("preference", ""))
    if preference is None:
        return HttpResponseBadRequest(NO_PREFERENCE)
    try:
        if owner.kind == "browser" and not Instructions.objects.has_any(owner):
            Tries.objects.take([INSTRUCTIONS_OF_ADDRESS.of(address_of_request(request))])
    except TooManyTries as often:
        return too_often(often)
    Instructions.objects.prefer(owner, preference)
    return HttpResponse(status=204)
