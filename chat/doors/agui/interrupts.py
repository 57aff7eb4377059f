"""What paused runs ask, as interrupts of AG-UI, and the replies to them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from chat.asks import Ask
from chat.doors.errors import Refusal, refusal_of, refused
from chat.protocol.errors import unfit_reply
from chat.protocol.terms import MAX_MESSAGE, AskData, AskKind, Reply
from tooling.forms import request_of

from .request import ResumeEntry

# Words of AG-UI: what is bound to a tool call, and what needs input.
REASONS: Mapping[AskKind, str] = {
    "approval": "tool_call",
    "unsure": "tool_call",
    "question": "input_required",
    "form": "input_required",
}


class Decided(Struct, forbid_unknown_fields=True, rename="camel"):
    """The payload of a reply to a tool call that waits."""

    approved: bool
    edited_args: dict[str, Any] | None = None
    reason: str = ""
    remember: bool = False


class Answered(Struct, forbid_unknown_fields=True):
    """The payload of a reply to a question."""

    answer: str


def interrupt_of(data: AskData, *, agent: str | None) -> dict[str, Any]:
    """Return an ask as AG-UI has it, raised by the agent with this handle."""
    interrupt: dict[str, Any] = {
        "id": str(data.ask_id),
        "reason": REASONS[data.kind],
        "message": message_of(data),
        "responseSchema": schema_of(data),
        "expiresAt": data.expires_at,
        "metadata": {"fleet": msgspec.to_builtins(data)},
    }
    if waits_for_call(data):
        interrupt["toolCallId"] = str(data.ask_id)
    if agent:
        interrupt["subagentRunId"] = agent
    return interrupt


def waits_for_call(data: AskData) -> bool:
    """Return True if a person decides whether a call is made, and not what is said in one."""
    return data.kind in ("approval", "unsure")


def message_of(data: AskData) -> str:
    if data.kind == "form":
        return request_of(data.tool, data.message, data.url)
    return data.message


def schema_of(data: AskData) -> dict[str, Any]:
    """Return the schema of the payload that replies to an ask."""
    if data.kind == "form":
        return data.schema
    if data.kind == "question":
        answer = {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE}
        if data.options:
            answer["examples"] = data.options
        return {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    decided: dict[str, Any] = {"approved": {"type": "boolean"}}
    if data.kind == "approval":
        decided["editedArgs"] = {
            **data.schema,
            "description": "The arguments of the call, in place of those that were proposed.",
        }
        decided["remember"] = {
            "type": "boolean",
            "description": "Don't ask for calls of this tool again in this conversation.",
        }
    decided["reason"] = {"type": "string", "description": "Why it is not approved."}
    return {"type": "object", "properties": decided, "required": ["approved"]}


def replies_of(entries: Sequence[ResumeEntry], asks: Sequence[Ask]) -> list[Reply]:
    """Return what the client replies to these asks. Raise Refusal if a reply can't be read."""
    known = {str(ask.pk): ask for ask in asks}
    replies = []
    for number, entry in enumerate(entries):
        ask = known.get(entry.interrupt_id.lower())
        if ask is None:
            raise refused(
                404,
                "not_found",
                f"There is no interrupt {entry.interrupt_id[:80]} on this thread.",
                param=f"resume[{number}].interruptId",
            )
        try:
            replies.append(reply_of(entry, ask))
        except msgspec.ValidationError as exc:
            raise unfit(number, exc) from exc
    return replies


def unfit(number: int, exc: Exception) -> Refusal:
    return refusal_of(unfit_reply(str(exc)), param=f"resume[{number}].payload")


def reply_of(entry: ResumeEntry, ask: Ask) -> Reply:
    """Return a reply. Raise msgspec.ValidationError if its payload is of another kind."""
    payload = entry.payload
    if entry.status == "cancelled":
        return Reply(ask_id=ask.pk, decision="withdraw")
    if ask.kind == Ask.Kind.QUESTION:
        answer = payload if isinstance(payload, str) else msgspec.convert(payload, Answered).answer
        return Reply(ask_id=ask.pk, decision="answer", text=answer)
    if ask.kind == Ask.Kind.FORM:
        if payload is False:
            return Reply(ask_id=ask.pk, decision="refuse")
        values = {} if payload is True else msgspec.convert(payload, dict[str, Any])
        return Reply(ask_id=ask.pk, decision="answer", arguments=values)
    if isinstance(payload, bool):
        payload = {"approved": payload}
    decided = msgspec.convert(payload, Decided)
    decision: Literal["approve", "edit", "refuse"] = "refuse"
    if decided.approved:
        decision = "approve" if decided.edited_args is None else "edit"
    return Reply(
        ask_id=ask.pk,
        decision=decision,
        arguments=decided.edited_args if decided.approved else None,
        text="" if decided.approved else decided.reason,
        remember=decided.remember,
    )


def ids_in(entries: Sequence[ResumeEntry]) -> list[UUID]:
    """Return the ids of asks that the entries name; others can't be of any ask."""
    found = []
    for entry in entries:
        try:
            found.append(UUID(entry.interrupt_id))
        except ValueError:
            continue
    return found
