"""A second opinion for the router's grey zone, from a small model, if one is configured."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from chat.llm.errors import ModelError
from chat.llm.messages import ChatMessage
from chat.llm.models import Models
from routing.asks import head_and_tail
from routing.policy import Path
from tooling.sentences import sentence
from tooling.untrusted import one_line

from .calls import text_of
from .question import Question
from .replies import parsed
from .work import Work

DEADLINE = 1.5  # seconds; without an opinion by then the question goes full
MAX_KEPT = 1000  # opinions
MAX_TOKENS = 60  # of a reply

DEFINITION = (
    "Decide how a chat message is answered. light: one fact or lookup, a definition, one"
    " calculation, conversion, date or time, a short translation or correction, small talk, a few"
    " lines of code, or one standard explanation answer it in a short paragraph. full: anything"
    " that needs more, such as comparing, planning, drafting, debugging, analysis, several"
    ' questions or several steps. Reply with JSON alone: {"path": "light" or "full", "reason": "at'
    ' most eight words"}.'
)


class Reply(Struct, frozen=True):
    path: Literal["light", "full"]
    reason: Annotated[str, Meta(max_length=200)] = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    path: Path
    reason: str


NONE = Opinion("full", sentence("the router's model gave no opinion"))
LATE = sentence("the router's model took longer than %(seconds)s s")
SAYS = sentence("the router's model says: %(words)s")


class Opinions:
    """Opinions of the router's model, cached by a digest of what it read. One per event loop."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: OrderedDict[bytes, Opinion] = OrderedDict()

    async def on(self, question: Question, work: Work) -> Opinion:
        """Return the model's opinion. Choose full if there is none in time."""
        asked = "\n".join(
            head_and_tail(text)
            for text in (*(exchange.question for exchange in question.earlier[-2:]), question.text)
        )
        key = sha256(asked.encode()).digest()
        if known := self._known.get(key):
            self._known.move_to_end(key)
            return known
        messages = [ChatMessage("system", DEFINITION), ChatMessage("user", asked)]
        try:
            async with asyncio.timeout(DEADLINE):
                words = await self.ask(messages, work)
        except TimeoutError:
            return Opinion("full", LATE % {"seconds": f"{DEADLINE:g}"})
        except ModelError:
            return NONE
        reply = parsed(words, Reply)
        if reply is None:
            return NONE
        reason = SAYS % {"words": one_line(reply.reason) or reply.path}
        opinion = self._known[key] = Opinion(reply.path, reason)
        if len(self._known) > MAX_KEPT:
            self._known.popitem(last=False)
        return opinion

    async def ask(self, messages: Sequence[ChatMessage], work: Work) -> str:
        """Return the model's reply."""
        model = settings.FLEET_ROUTER_MODEL
        with work.calling(model, messages, is_of_agent=False) as call:
            pieces = self._models.stream(
                messages,
                model=model,
                max_tokens=MAX_TOKENS,
                is_aside=True,
                schema=msgspec.json.schema(Reply),
                traceparent=call.traceparent,
            )
            return await text_of(pieces, call)
