"""The grey zone of the router: where the classifier is not sure, a small model may be asked, if one is configured."""

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from chat.llm import ChatMessage, ModelClient, ModelError, Text
from routing.policy import Path

from .engine import Question, parsed

DEADLINE = 1.5  # seconds; then the question goes the full path
MOST_KEPT = 1000
MOST_TOKENS = 60

DEFINITION = (
    "Decide how a chat message is answered. light: one fact or lookup, a definition, one calculation, conversion, date or time, a short"
    " translation or correction, small talk, a few lines of code, or one standard explanation answer it in a short paragraph."
    " full: anything that needs more, such as comparing, planning, drafting, debugging, analysis, several questions or several steps."
    ' Reply with JSON alone: {"path": "light" or "full", "reason": "at most eight words"}.'
)


class Verdict(Struct, frozen=True):
    path: Literal["light", "full"]
    reason: Annotated[str, Meta(max_length=200)] = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    path: Path
    reason: str


class Opinions:
    """What the router's model said, by text. One per event loop."""

    def __init__(self, models: ModelClient) -> None:
        self._models = models
        self._known: OrderedDict[str, Opinion] = OrderedDict()

    async def on(self, question: Question) -> Opinion:
        """The model's opinion; full where it has none in time."""
        asked = "\n".join([*(turn.question for turn in question.turns[-2:]), question.text])
        if known := self._known.get(asked):
            self._known.move_to_end(asked)
            return known
        try:
            async with asyncio.timeout(DEADLINE):
                verdict = await self._ask(asked)
        except TimeoutError:
            return Opinion("full", f"the router's model took longer than {DEADLINE:g} s")
        except ModelError:
            verdict = None
        if verdict is None:
            return Opinion("full", "the router's model gave no opinion")
        opinion = Opinion(verdict.path, f"the router's model says: {verdict.reason or verdict.path}")
        self._known[asked] = opinion
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)
        return opinion

    async def _ask(self, text: str) -> Verdict | None:
        words = []
        pieces = self._models.stream(
            [ChatMessage("system", DEFINITION), ChatMessage("user", text)],
            model=settings.FLEET_ROUTER_MODEL,
            max_tokens=MOST_TOKENS,
            is_aside=True,
            schema=msgspec.json.schema(Verdict),
        )
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Text):
                    words.append(piece.text)
        return parsed("".join(words), Verdict)
