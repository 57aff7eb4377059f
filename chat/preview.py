"""Which path the question that a person is writing would take, before it is sent."""

from collections.abc import Sequence

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from tooling.known import TOOLS

from .access.addresses import address_of_request
from .access.owners import Owner
from .access.pace import Pace
from .conversations import Conversation
from .instructions import NO_PREFERENCE, preference_in
from .protocol.requests import MAX_MODEL
from .protocol.terms import BALANCED, Path
from .record import Exchange
from .views import for_owner, uuid_of
from .workflow.choosing import ROUTER_CONTEXT, route_of
from .workflow.crew import crew
from .workflow.question import Question
from .workflow.stand_in import has_team

MAX_TEXT = 4_000  # characters; a page asks for no longer ones (static/chat/ahead.js)
# A page asks at most every 300 ms while its reader types.
PACE = Pace(10, most=1_000)
OF_OWNER, OF_ADDRESS = 40, 400  # in a window; an address may be a whole office's


@sensitive_post_parameters("message")
@require_POST
@for_owner
def preview(request: HttpRequest, owner: Owner) -> HttpResponse:
    """Tell which path a question would take; null if the router isn't sure.

    Nothing of it is stored, and its words are in no log.
    """
    subjects = {str(owner): OF_OWNER, f"address:{address_of_request(request)}": OF_ADDRESS}
    if not PACE.takes(subjects):
        return HttpResponse(status=429, headers={"Retry-After": str(round(PACE.window))})
    earlier = exchanges_in(request.POST.get("conversation", ""), owner)
    text, model = request.POST.get("message", ""), request.POST.get("model", "")
    preference = preference_in(request.POST.get("preference") or BALANCED)
    if preference is None:
        return HttpResponseBadRequest(NO_PREFERENCE)
    if not text.strip() or len(text) > MAX_TEXT or len(model) > MAX_MODEL:
        return HttpResponseBadRequest("message or model is empty or too long")
    question = Question(text, "auto", preference=preference, model=model, earlier=earlier)
    return JsonResponse({"path": sure_path(question)})


def exchanges_in(conversation: str, owner: Owner) -> Sequence[Exchange]:
    """Return the last exchanges of an owner's conversation; none of a new one. Raise Http404."""
    if not conversation:
        return ()
    pk = uuid_of(conversation)
    chat = Conversation.objects.for_owner(owner).filter(pk=pk).first() if pk else None
    if chat is None:
        raise Http404
    return chat.exchanges(chat.shown_path()[-ROUTER_CONTEXT:])


def sure_path(question: Question) -> Path | None:
    """Return the path of a question; None if the router isn't sure, or there is no choice."""
    if not has_team(question.model):
        return None
    # Those of MCP servers have no phrases. An operator's own function, which looks for arguments
    # in a question, is not called for half of one.
    light = [name for name, tool in TOOLS.items() if "light" in tool.paths]
    route = route_of(question, tools=crew().tools_of(crew().assistant, light))
    may_be_asked = route.is_grey and settings.FLEET_ROUTER_MODEL
    return route.path if route.is_sure and not may_be_asked else None
