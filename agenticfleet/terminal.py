"""Ask a person in the terminal what a paused run waits for."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from chat.doors.client.protocol import AskData, AskOpened
from chat.protocol.requests import holds_nul
from chat.protocol.terms import Decision, Reply
from chat.rendering.wording import escaped
from tooling.decoding import UNREADABLE_JSON
from tooling.forms import choices_of, faults_of_form, request_of
from tooling.schema import ORDER, faults_in
from tooling.untrusted import one_line

type Write = Callable[[str], None]

YES, NO = {"y", "yes", "true"}, {"n", "no", "false"}
# How a value is written.
HINTS = {
    "array": "numbers, separated by commas",
    "boolean": "yes or no",
    "date": "such as 2026-12-24",
    "date-time": "such as 2026-12-24T18:00:00+01:00",
}
PERMISSION = "perm:"  # begins the approver of an ask that staff decide

CHOICES: Mapping[str, Mapping[str, tuple[Decision, str]]] = {
    "approval": {
        "a": ("approve", "[a]pprove"),
        "k": ("approve", "[k]eep approving this tool"),
        "e": ("edit", "[e]dit the arguments"),
        "r": ("refuse", "[r]efuse"),
        "w": ("withdraw", "[w]ithdraw the question"),
    },
    "unsure": {
        "a": ("approve", "[a]gain: do it once more"),
        "r": ("refuse", "[r]efuse: leave it"),
        "w": ("withdraw", "[w]ithdraw the question"),
    },
    "form": {
        "f": ("answer", "[f]ill in"),
        "r": ("refuse", "[r]efuse"),
        "w": ("withdraw", "[w]ithdraw the question"),
    },
    "page": {
        "d": ("answer", "[d]one there"),
        "r": ("refuse", "[r]efuse"),
        "w": ("withdraw", "[w]ithdraw the question"),
    },
}


class Left(Exception):
    """Raised when the person leaves without a decision."""


class Questioner:
    """Asks about each open ask of a paused run, and returns the replies.

    What models and tools wrote is shown without control characters, and arguments as JSON in which
    hidden characters are escapes: a person approves what is there.
    """

    def __init__(self, note: Write, prompt: Write) -> None:
        self._note = note
        self._prompt = prompt

    async def replies_to(self, asks: Sequence[AskOpened]) -> list[Reply]:
        """Return a reply to each ask; only one if it withdraws the question. Raise Left."""
        replies = []
        for ask in asks:
            reply = await self.reply_to(ask)
            if reply.decision == "withdraw":
                return [reply]
            replies.append(reply)
        return replies

    async def reply_to(self, ask: AskOpened) -> Reply:
        asked = ask.data
        if asked.kind == "form":
            return await self.form(asked)
        self._note(f"{ask.author or ask.agent_id} asks: {asked.message}")
        if asked.tool:
            self._note(f"{asked.tool} {encoded(asked.arguments)}")
        if asked.approver.startswith(PERMISSION):
            permission = asked.approver.removeprefix(PERMISSION)
            self._note(f"This is for staff with the permission {permission} to decide.")
            await self.choose({"w": CHOICES["approval"]["w"]})
            return Reply(ask_id=asked.ask_id, decision="withdraw")
        if asked.kind == "question":
            return await self.answer(asked)
        return await self.decision(asked)

    async def decision(self, ask: AskData) -> Reply:
        choices = CHOICES[ask.kind]
        while True:
            letter = await self.choose(choices)
            decision, _ = choices[letter]
            match decision:
                case "edit":
                    if (arguments := await self.edited(ask)) is not None:
                        return Reply(ask_id=ask.ask_id, decision="edit", arguments=arguments)
                case "refuse":
                    text = await self.line("Words for the agent, or nothing:")
                    return Reply(ask_id=ask.ask_id, decision="refuse", text=text)
                case _:
                    return Reply(ask_id=ask.ask_id, decision=decision, remember=letter == "k")

    async def answer(self, ask: AskData) -> Reply:
        options = {str(number): str(option) for number, option in enumerate(ask.options, 1)}
        for number, option in options.items():
            self._note(f"{number}. {option}")
        by_number = ", its number," if options else ""
        while True:
            text = await self.line(f"Your answer{by_number} or [r]efuse, [w]ithdraw the question:")
            match text:
                case "":
                    continue
                case "r":
                    return Reply(ask_id=ask.ask_id, decision="refuse")
                case "w":
                    return Reply(ask_id=ask.ask_id, decision="withdraw")
            return Reply(ask_id=ask.ask_id, decision="answer", text=options.get(text, text))

    async def form(self, ask: AskData) -> Reply:
        """Return what the person fills in. The words are those of a tool, or of its server."""
        self._note(request_of(ask.tool, ask.message, ""))
        if ask.url:
            self._note(f"The page to open is {one_line(ask.url)}")
        choices = CHOICES["page" if ask.url else "form"]
        decision, _ = choices[await self.choose(choices)]
        if decision != "answer":
            return Reply(ask_id=ask.ask_id, decision=decision)
        while True:
            values = {} if ask.url else await self.values_of(ask)
            faults = faults_of_form(values, ask.schema)
            if not faults:
                return Reply(ask_id=ask.ask_id, decision="answer", arguments=values)
            for fault in faults:
                self._note(fault)

    async def values_of(self, ask: AskData) -> dict[str, Any]:
        fields = ask.schema["properties"]
        values = {}
        for name in ask.schema.get(ORDER, fields):
            is_required = name in ask.schema.get("required", [])
            field = {"default": ask.arguments.get(name), **fields[name]}
            value = await self.value_of(name, field, is_required=is_required)
            if value is not None:
                values[name] = value
        return values

    async def value_of(self, name: str, field: Mapping[str, Any], *, is_required: bool) -> Any:
        """Return the value of a field, None if it is left out."""
        title = one_line(field.get("title") or name)
        if hint := field.get("description"):
            self._note(f"{title}: {one_line(hint)}")
        options = choices_of(field)
        for number, (_, label) in enumerate(options, 1):
            self._note(f"{number}. {one_line(label)}")
        default = field["default"]
        notes = [HINTS.get(str(field.get("format", field["type"])), ""), default_text(default)]
        notes.append("required" if is_required and default is None else "")
        shown = ", ".join(filter(None, notes))
        while True:
            line = await self.line(f"{title} ({shown}):" if shown else f"{title}:")
            if not line:
                if default is not None or not is_required:
                    return default
                continue
            try:
                return parsed(line, field, options)
            except ValueError as exc:
                self._note(f"{exc}")

    async def edited(self, ask: AskData) -> dict[str, Any] | None:
        """Return arguments that fit the schema, or None for an empty line."""
        while text := await self.line("The arguments as one line of JSON, or nothing to go back:"):
            try:
                arguments = msgspec.json.decode(text, type=dict[str, Any])
            except UNREADABLE_JSON as exc:
                self._note(f"Arguments are one JSON object: {exc}.")
                continue
            faults = faults_in(arguments, ask.schema)
            if holds_nul(arguments):
                faults.append("Arguments can't hold NUL characters.")
            if not faults:
                return arguments
            for fault in faults:
                self._note(fault)
        return None

    async def choose(self, choices: Mapping[str, tuple[Decision, str]]) -> str:
        """Return the letter of a choice."""
        words = ", ".join(label for _, label in choices.values())
        while True:
            letter = (await self.line(f"{words}?")).lower()[:1]
            if letter in choices:
                return letter

    async def line(self, prompt: str) -> str:
        """Return a line from the person. Raise Left at the end of the input and for Ctrl-C."""
        self._prompt(prompt)
        loop, is_ready = asyncio.get_running_loop(), asyncio.Event()
        # Not a thread: one that waits for the keyboard would keep the process from ending.
        loop.add_reader(sys.stdin, is_ready.set)
        try:
            await is_ready.wait()
        except asyncio.CancelledError:
            # Ctrl-C. The run has ended, so nothing is left to cancel.
            if task := asyncio.current_task():
                task.uncancel()
            raise Left from None
        finally:
            loop.remove_reader(sys.stdin)
        try:
            line = sys.stdin.readline()
            # Bytes that are not of the terminal's encoding can't be sent on.
            line.encode()
        except UnicodeError:
            return ""
        if not line:
            raise Left
        return line.replace("\0", "").strip()


def default_text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, list):
        return ", ".join(map(one_line, default))
    return ("yes" if default else "no") if isinstance(default, bool) else one_line(str(default))


def parsed(line: str, field: Mapping[str, Any], options: Sequence[tuple[str, str]]) -> Any:
    """Return what a line says for a field. Raise ValueError, whose text is for the person."""
    match field["type"]:
        case "boolean":
            if line.lower() not in YES | NO:
                raise ValueError("Say yes or no.")
            return line.lower() in YES
        case "integer" | "number":
            try:
                return msgspec.json.decode(line, type=int | float)
            except UNREADABLE_JSON:
                raise ValueError("This is not a number.") from None
        case "array":
            return [chosen(part.strip(), options) for part in line.split(",") if part.strip()]
    return chosen(line, options) if options else line


def chosen(text: str, options: Sequence[tuple[str, str]]) -> str:
    """Return the option that has this number, value or title."""
    if text.isdecimal() and 0 < int(text) <= len(options):
        return options[int(text) - 1][0]
    for value, label in options:
        if text.lower() in (value.lower(), label.lower()):
            return value
    raise ValueError(f"Choose by a number from 1 to {len(options)}.")


def encoded(arguments: dict[str, Any]) -> str:
    return one_line(escaped(msgspec.json.encode(arguments).decode()))
