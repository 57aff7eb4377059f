"""The channels that gpt-oss writes, if its server shows them: `<|channel|>final<|message|>…`."""

import re
from collections.abc import Collection

from chat.llm.messages import Reasoning, Text

from .normal import CallDelta
from .written import is_offered

HARMONY_OPENERS = ("<|channel|>", "<|start|>")
MARKS = (
    *HARMONY_OPENERS,
    "<|constrain|>",
    "<|message|>",
    "<|call|>",
    "<|end|>",
    "<|return|>",
)
MARK = re.compile("|".join(map(re.escape, MARKS)))
RECIPIENT = re.compile(r"\bto=([\w.-]+)")
ASIDES = ("analysis", "commentary")  # channels that aren't the answer


class Harmony:
    """Tells the final channel from the others, and calls by their recipient."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._held = ""
        self._header = ""
        self._before: list[str] | None = []  # the text before the first message
        self._is_message = False
        self._recipient = ""
        self._arguments: list[str] = []
        self._out: list[Text | Reasoning | CallDelta] = []

    def read(self, text: str, *, is_end: bool) -> list[Text | Reasoning | CallDelta]:
        self._out = []
        if self._before is not None:
            self._before.append(text)
        text, at = self._held + text, 0
        for mark in MARK.finditer(text):
            self.add(text[at : mark.start()])
            at = mark.end()
            if mark[0] == "<|message|>":
                self.begin_message()
            elif self._is_message or mark[0] == "<|start|>":
                self.end_message()
            else:
                self._header += " "
        end = len(text) if is_end else max(at, self.begin_of_mark(text))
        self.add(text[at:end])
        self._held = text[end:]
        if is_end:
            self.end_message()
            if self._before is not None:
                # The answer only spoke of channels.
                self._out = [Text("".join(self._before))]
        return self._out

    def begin_of_mark(self, text: str) -> int:
        at = text.rfind("<")
        return at if at >= 0 and any(m.startswith(text[at:]) for m in MARKS) else len(text)

    def begin_message(self) -> None:
        recipient = RECIPIENT.search(self._header)
        self._recipient = ""
        if recipient and is_offered(recipient[1], self._tools):
            self._recipient = recipient[1]
        self._is_message = True
        self._before = None

    def end_message(self) -> None:
        if self._recipient:
            self._out.append(CallDelta(name=self._recipient, arguments="".join(self._arguments)))
        self._recipient, self._header, self._is_message = "", "", False
        self._arguments.clear()

    def add(self, text: str) -> None:
        if not self._is_message:
            self._header += text
        elif self._recipient:
            self._arguments.append(text)
        elif text:
            is_aside = any(channel in self._header for channel in ASIDES)
            self._out.append(Reasoning(text) if is_aside else Text(text))
