"""A run as the result of a call, with a notification for each of its steps."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from chat.doors import sse
from chat.doors.openai.answer import Answer as Words
from chat.doors.openai.citations import CITED
from chat.doors.openai.steps import line_of
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import Done, Error, StreamEvent
from chat.runs.replay import Entry

from .asks import forms_of
from .messages import Request
from .tools import Answered


class Asked:
    """What a call of `ask` gets. `page` is where people see the conversation."""

    def __init__(self, request: Request, run: Run, *, page: str) -> None:
        self.request = request
        self.run = run
        self.page = page
        self.token = request.params.meta.get("progressToken")
        self.words = Words(with_steps=False)

    def events(self, batch: Sequence[Entry]) -> bytes:
        pieces = []
        for entry in batch:
            for _ in self.words.take(entry.event):
                pass  # It is told at the end.
            if self.token is not None and (line := line_of(entry.event)):
                pieces.append(self.progress(entry.seq, line))
        if batch[-1].is_terminal:
            pieces.append(self.message(self.request.answer(self.result(batch[-1].event))))
        return b"".join(pieces)

    def beat(self, silent_ms: int) -> bytes:
        return sse.PING

    def notice(self, code: str, message: str) -> bytes:
        return b""

    def refusal(self, error: ErrorInfo) -> bytes:
        return self.message(self.request.answer(failed(error.message)))

    def progress(self, seq: int, line: str) -> bytes:
        params = {"progressToken": self.token, "progress": seq, "message": line}
        return self.message(
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        )

    def message(self, content: Any) -> bytes:
        return sse.message(msgspec.json.encode(content))

    def result(self, ending: StreamEvent) -> dict[str, Any]:
        """Return the result of a run whose events were taken, up to this ending."""
        if isinstance(ending, Error):
            return failed(ending.error.message)
        assert isinstance(ending, Done)
        asks = [ask.data for ask in self.words.asks]
        if asks and self.request.may_elicit and (forms := forms_of(asks)):
            state = str(self.run.pk)
            return {"resultType": "input_required", "inputRequests": forms, "requestState": state}
        status, sources = ending.data.status, self.words.sources
        if status == "cancelled":
            return failed("This answer was cancelled.")
        assert status
        answered = Answered(
            self.words.text,
            self.run.conversation_id,
            self.run.pk,
            status,
            ending.data.path,
            [sources[number] for number in sorted(sources)],
            UNSET if ending.data.cost is None else ending.data.cost,
        )
        cited = {int(n) for mark in CITED.finditer(answered.answer) for n in mark[1].split(",")}
        lines = [f"[{n}] {sources[n].title} {sources[n].url}" for n in sorted(cited & {*sources})]
        if status == "paused":
            lines.append(f"That is decided at {self.page}")
        return told("\n".join([answered.answer, *([""] if lines else []), *lines]), answered)


def told(text: str, content: Any) -> dict[str, Any]:
    """Return the result of a tool: for models, and for programs."""
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": msgspec.to_builtins(content),
    }


def failed(message: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": message}], "isError": True}
