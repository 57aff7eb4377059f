"""A question that was answered on one path, answered on the other one, for nobody to read."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from django.conf import settings

from chat.clock import Clock
from chat.protocol.events import (
    AgentStart,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    ToolStart,
)
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import Path
from routing.regret import Verdict
from tooling.known import harmless_tools
from tooling.services import Services

from .answer import Answer, Resources
from .calls import CallRecord
from .judge import Judge
from .memory import Kept, Memory
from .question import Question


class TooDear(Exception):
    """Raised when a trial has used up the tokens that it may use."""


@dataclass(slots=True)
class Notes:
    """The results of a trial's steps. Implements `Journal`, in memory alone."""

    kept: dict[str, Kept] = field(default_factory=dict)

    def keep(self, name: str, value: str, *, rides: bool = False) -> None:
        self.kept[name] = Kept(value)

    async def flush(self) -> None:
        pass


class Trial:
    """The other path's answer to a question, and which of both is better.

    `go_on` may be cancelled at any time and called again: only the model calls in which it was
    stopped are made once more.
    """

    def __init__(
        self, run_id: UUID, question: Question, path: Path, answer: str, resources: Resources
    ) -> None:
        """Compare `answer`, which was written on `path`, with what the other path writes."""
        self.run_id = run_id
        self.path = path
        self.began_at = time.monotonic()
        self.judge = Judge(resources.models, question)
        self._question = replace(
            question,
            mode="full" if path == "light" else "light",
            # In the keys of tool calls, which are not those of the person's answer.
            run_id=str(uuid4()),
        )
        self._answer = answer
        self._resources = replace(resources, tools=alone(resources.tools))
        self._notes = Notes()
        self._written: str | None = None
        self._made: list[Answer] = []  # one for each try
        self._text = ""  # of the try that goes on
        self._most = 0  # tokens that all tries so far may use

    @property
    def calls(self) -> list[ModelCall]:
        """All model calls so far, also those that were cut and made again."""
        answers = [call for answer in self._made for call in answer.work.calls]
        own = [call for call in answers if isinstance(call, CallRecord)]
        return [call.data for call in (*own, *self.judge.calls)]

    @property
    def tokens(self) -> int:
        """What the other answer took, without calls that were cut and made again."""
        return tokens_of(call.data for call in self._made[-1].work.calls) if self._made else 0

    @property
    def tokens_to_judge(self) -> int:
        return tokens_of(call.data for call in self.judge.calls if not call.data.cut)

    async def go_on(self, *, most: int) -> Verdict | None:
        """Return whether the person's answer is the better one; None if there is no saying.

        Raise ModelError if a model fails, TimeoutError if this takes longer than a run may, Paused
        if the answer needs a person, and TooDear once this try has used `most` tokens.
        """
        self._most = tokens_of(self.calls) + most
        async with asyncio.timeout(settings.FLEET_DEADLINES.runtime):
            if self._written is None:
                self._written = await self._write()
            self._check_tokens()
            if not self._written.strip():
                return None
            return await self.judge.verdict(self._answer, self._written)

    async def _write(self) -> str:
        self._text = ""
        answer = Answer(
            self._question,
            self._resources,
            self._tell,
            clock=Clock(time.perf_counter()),
            journal=self._notes,
            memory=Memory(dict(self._notes.kept)),
        )
        self._made.append(answer)
        await answer.write()
        return self._text

    def _tell(self, event: StreamEvent) -> None:
        match event:
            case ResponseDelta():
                self._text += event.delta
            case ResponseSnapshot():
                self._text = event.data.text
            case AgentStart() | ToolStart():
                self._check_tokens()

    def _check_tokens(self) -> None:
        if tokens_of(self.calls) >= self._most:
            raise TooDear


def alone(services: Services) -> Services:
    """Return services with which nothing leaves this machine, and with the tools for that.

    Model servers are asked as ever. A search, a page or an MCP server isn't, not even for results
    that are cached.
    """
    only = usable_alone()
    return replace(services, cache=None, search=None, pages=None, mcp=None, only=only)


def usable_alone() -> frozenset[str]:
    """Return the tools that may be called when nobody is there."""
    return harmless_tools() - settings.FLEET_APPROVE


def tokens_of(calls: Iterable[ModelCall]) -> int:
    return sum(call.input_tokens + call.output_tokens for call in calls)
