"""The light path: one agent, at most one tool call, one answer."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from chat.llm.errors import EmptyAnswer
from chat.llm.messages import ToolCall
from chat.protocol.events import OrchestratorMessage, StreamEvent
from routing.policy import Route
from tooling.toolbox import arguments_for

from .agents import ASSISTANT
from .prompt import prompt
from .turn import Turn, phase
from .work import Work

MAX_UNSURE_CHARS = 400  # characters; a longer answer says more than that it does not know
# How an answer begins that has none to give, by language.
APOLOGY = (
    r"(?:as an ai\b[^.]{0,40}?, *)?"
    r"(?:(?:i am |i'm |i’m )?(?:very |so )?(?:sorry|afraid)\b[^.]{0,30}?[,.]? *|unfortunately,? *|i apologi[sz]e\b[^.]{0,30}?[,.] *|"
    r"leider |entschuldigung,? *|(?:es )?tut mir (?:sehr )?leid,? *|désolée?,? *|lo siento,? *|mi dispiace,? *|desculpe,? *)?"
    r"(?:but |aber |mais |pero |ma |mas )?"
)
UNSURE_PHRASES = (
    r"i(?:'m| am|’m) (?:not sure|unsure|unable to|not able to)",
    r"i (?:really |actually )?(?:do not|don['’]t) know",
    r"i (?:cannot|can['’]t|could not|couldn['’]t) (?:answer|help|assist|find|access|provide|determine|tell|say|browse|look)",
    r"i (?:do not|don['’]t) have (?:any |the |that |enough |access|information|real|current|up)",
    r"i (?:have no (?:information|access|way|idea|knowledge)|lack (?:the )?(?:information|access|knowledge))",
    r"(?:das |es )?weiß ich (?:das |es )?(?:leider )?nicht|ich weiß (?:das |es )?(?:leider )?nicht",
    r"(?:das |dabei )?kann ich .{0,30}\bnicht|ich kann .{0,30}\bnicht (?:beantworten|sagen|finden|helfen)",
    r"je ne (?:sais|peux) pas",
    r"no (?:lo )?(?:sé|puedo)\b",
    r"non (?:lo )?(?:so|posso)\b",
    r"(?:eu )?não (?:sei|posso)\b",
)
UNSURE = re.compile(rf"\W*{APOLOGY}(?:{'|'.join(UNSURE_PHRASES)})", re.IGNORECASE)


@dataclass(slots=True)
class Light:
    """One light answer in work. The route's tools obviously answer the question, so their call is not left to the model.

    `may_escalate`: the full path can take over, so it stops where it would fall short.
    """

    work: Work
    route: Route
    may_escalate: bool
    turn: Turn = field(init=False)
    _is_empty: bool = False

    def __post_init__(self) -> None:
        self.turn = Turn(
            ASSISTANT,
            self.work,
            prompt(ASSISTANT, self.work.question),
            max_tokens=self.work.meter.caps.tokens,
            tools=ASSISTANT.tools & self.work.toolbox.names,
            rounds=self.work.meter.supersteps,
            is_answer=True,
            stops_when_short=self.may_escalate,
        )

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """The answer as it is made. ModelError where the model fails."""
        async with aclosing(phase("answer", self._answer())) as events:
            async for event in events:
                yield event

    async def _answer(self) -> AsyncGenerator[StreamEvent]:
        first, lacking = None, ""
        question = self.work.question
        follows = question.turns[-1].question if self.route.is_follow_up else ""
        for tool in self.route.tools:
            if lacking := self.work.toolbox.reason_off(tool):
                yield OrchestratorMessage(message=lacking)
            elif (arguments := arguments_for(tool, question.text, follows=follows)) is not None:
                first = ToolCall("call_route", tool, msgspec.json.encode(arguments).decode())
        try:
            async with aclosing(self.turn.events(first, lacking=lacking)) as events:
                async for event in events:
                    yield event
        except EmptyAnswer:
            if not self.may_escalate:
                raise
            self._is_empty = True
            for event in self.turn.close():
                yield event

    @property
    def shortfall(self) -> str | None:
        """Why this answer will not do, in words, once it is made; None if it will."""
        text = self.turn.text
        if self.turn.ran_short:
            return "the light answer needed more tools than it may use"
        if self.turn.is_cut:
            return "the light answer needed more words than it may use"
        if self._is_empty:
            return "the light answer was empty"
        if self.turn.is_refused:
            return "the light answer was a refusal"
        # Where the search is missing, the team would not know either.
        if not self.turn.lacks and len(text) <= MAX_UNSURE_CHARS and UNSURE.match(text):
            return "the light answer did not know"
        return None
