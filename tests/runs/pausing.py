"""An answer that asks a person before it is written, and frames that reply."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
from django.utils import timezone

from chat.asks import Ask
from chat.models import Run
from chat.protocol.events import ResponseDelta
from chat.protocol.terms import AskData, Asked, Reply
from chat.workflow.answer import Answer
from chat.workflow.memory import Memory, Paused, Withdrawn
from chat.workflow.question import Question
from tests.chatting import Chatting, Event, is_terminal

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 10}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass
class Plan:
    """What the answers of a test ask, and what they were given."""

    asks: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    words: str = "So far. "
    expires_in: timedelta = timedelta(days=14)
    questions: list[Question] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)


def asked(number: int, plan: Plan, **fields: Any) -> Asked:
    kind = fields.pop("kind", "approval")
    call = (
        {}
        if kind == "question"
        else {
            "tool": "book",
            "call_id": f"call-{number}",
            "arguments": {"city": "Rome"},
            "schema": SCHEMA,
        }
    )
    data = AskData(
        ask_id=uuid.uuid4(),
        kind=kind,
        message="May this be booked?",
        expires_at=(timezone.now() + plan.expires_in).isoformat(),
        **{**call, **fields},
    )
    return Asked(
        agent_id="assistant",
        author="Assistant",
        name=f"answer/assistant/1/tool-{number}",
        data=data,
        definition="definition of book",
    )


class Asking(Answer):
    """Asks what the plan says, then answers with the decisions. Makes no model call."""

    plan: ClassVar[Plan]

    def __init__(self, question: Question, *args: Any, **options: Any) -> None:
        super().__init__(question, *args, **options)
        self.memory: Memory = options.get("memory") or Memory()
        self.plan.questions.append(question)
        self.plan.memories.append(self.memory)

    async def write_on_a_path(self) -> str:
        chosen = await self.choose_route()
        self.route = chosen.route
        self.tell_route(chosen.route)
        if self.question.text.startswith("plain"):
            self.work.tell(ResponseDelta(delta="Plain."))
            return "Plain."
        if self.question.text.startswith("endless"):
            await asyncio.Event().wait()
        if self.plan.words:
            self.work.tell(ResponseDelta(delta=self.plan.words))
        asks = [asked(number, self.plan, **ask) for number, ask in enumerate(self.plan.asks)]
        kept = [self.memory.kept.get(f"{ask.name}/reply") for ask in asks]
        replies = [msgspec.json.decode(reply.value, type=Reply) for reply in kept if reply]
        if any(reply.decision == "withdraw" for reply in replies):
            raise Withdrawn
        if len(replies) < len(asks):
            self.work.asks = asks
            raise Paused
        decisions = " ".join(reply.decision for reply in replies)
        self.work.tell(ResponseDelta(delta=decisions))
        return self.plan.words + decisions


@dataclass
class Pause:
    """A paused run as its reader has it."""

    events: list[Event]

    @property
    def run_id(self) -> str:
        return str(self.events[0]["workflow_id"])

    @property
    def conversation_id(self) -> str:
        return str(self.events[0]["data"]["conversation_id"])

    @property
    def ask_ids(self) -> list[str]:
        return [e["data"]["ask_id"] for e in self.events if e["type"] == "ask.opened"]

    def replies(self, decision: str = "approve", **fields: Any) -> list[dict[str, Any]]:
        return [{"ask_id": ask_id, "decision": decision, **fields} for ask_id in self.ask_ids]

    def frame(self, decision: str = "approve", **fields: Any) -> dict[str, Any]:
        """Return a frame that replies to all asks with the same decision."""
        return reply_frame(self.run_id, self.replies(decision, **fields))

    def asks(self) -> Any:
        return Ask.objects.filter(run=self.run_id).order_by("name")

    async def states(self) -> list[str]:
        return [ask.state async for ask in self.asks()]

    def run(self) -> Run:
        return Run.objects.get(pk=self.run_id)


def reply_frame(continues: Any, replies: Any, **fields: Any) -> dict[str, Any]:
    return {
        "type": "reply",
        "message_id": str(uuid.uuid4()),
        "continues": str(continues),
        "replies": replies,
        **fields,
    }


async def paused(chat: Chatting, request: Any = "May I?", **options: Any) -> Pause:
    """Ask a question whose answer pauses."""
    events = await chat.answer(request, **options)
    assert is_terminal(events[-1])
    assert events[-1]["data"]["status"] == "paused", events[-1]
    return Pause(events)
