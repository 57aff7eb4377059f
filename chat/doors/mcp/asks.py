"""What a paused run asks, as forms that a client of the new generation shows, and the replies."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from chat.asks import Ask
from chat.doors.agui.interrupts import ids_in, interrupt_of, replies_of
from chat.doors.agui.request import ResumeEntry
from chat.doors.errors import bad
from chat.protocol.requests import ReplyRequest
from chat.protocol.terms import AskData

from .messages import Request

SIMPLE = ("string", "number", "integer", "boolean", "array")  # fields that a form may have


def forms_of(asks: Sequence[AskData]) -> dict[str, Any]:
    """Return the forms in which a client asks its person; none if it can't ask for all of them."""
    forms: dict[str, Any] = {}
    for data in asks:
        interrupt = interrupt_of(data, agent=None)
        schema, message = interrupt["responseSchema"], interrupt["message"]
        fields = schema.get("properties", {}).items()
        fields = {name: each for name, each in fields if each.get("type") in SIMPLE}
        if not fields or data.approver != "owner":
            return {}
        if data.kind in ("approval", "unsure"):
            # The person must see what is approved.
            message += f"\n{json.dumps(data.arguments, ensure_ascii=False, indent=1)}"
        wanted = {"type": "object", "properties": fields, "required": schema.get("required", [])}
        params = {"mode": "form", "message": message, "requestedSchema": wanted}
        forms[str(data.ask_id)] = {"method": "elicitation/create", "params": params}
    return forms


def reply_in(request: Request) -> ReplyRequest:
    """Return what a person has replied to a run. Raise Refusal. Reads the database."""
    entries = [entry_of(*each) for each in request.params.input_responses.items()]
    owner = str(request.call.who.owner)
    asks = Ask.objects.filter(run__owner=owner, pk__in=ids_in(entries)).select_related("run")
    replies = replies_of(entries, list(asks))
    try:
        continues = UUID(request.params.request_state)
        return ReplyRequest(message_id=uuid4(), continues=continues, replies=replies)
    except ValueError as exc:
        raise bad(f"Invalid reply: {exc}.", "inputResponses") from exc


def entry_of(ask_id: str, given: dict[str, Any]) -> ResumeEntry:
    """Return the reply to one ask. `decline` says no, and `cancel` takes the question back."""
    match given.get("action"):
        case "accept":
            return ResumeEntry(ask_id, "resolved", given.get("content") or {})
        case "decline":
            return ResumeEntry(ask_id, "resolved", payload=False)
    return ResumeEntry(ask_id, "cancelled")
