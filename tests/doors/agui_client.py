"""A client of AG-UI that refuses what @ag-ui/client 1.0.0 refuses, and keeps what it keeps."""

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

type Message = dict[str, Any]

# What each message must have, beside its type.
REQUIRED: dict[str, set[str]] = {
    "RUN_STARTED": {"threadId", "runId"},
    "RUN_FINISHED": {"threadId", "runId"},
    "RUN_ERROR": {"message"},
    "STEP_STARTED": {"stepName"},
    "STEP_FINISHED": {"stepName"},
    "TEXT_MESSAGE_START": {"messageId"},
    "TEXT_MESSAGE_CONTENT": {"messageId", "delta"},
    "TEXT_MESSAGE_END": {"messageId"},
    "TOOL_CALL_START": {"toolCallId", "toolCallName"},
    "TOOL_CALL_ARGS": {"toolCallId", "delta"},
    "TOOL_CALL_END": {"toolCallId"},
    "TOOL_CALL_RESULT": {"messageId", "toolCallId", "content"},
    "REASONING_START": {"messageId"},
    "REASONING_MESSAGE_START": {"messageId", "role"},
    "REASONING_MESSAGE_CONTENT": {"messageId", "delta"},
    "REASONING_MESSAGE_END": {"messageId"},
    "REASONING_END": {"messageId"},
    "SUBAGENT_STARTED": {"subagentRunId", "name"},
    "SUBAGENT_FINISHED": {"subagentRunId"},
    "ACTIVITY_SNAPSHOT": {"messageId", "activityType", "content"},
    "MESSAGES_SNAPSHOT": {"messages"},
    "CUSTOM": {"name", "value"},
}
# What opens something, what closes it, what needs it open, and by which field.
OPENERS = {
    "STEP_STARTED": ("step", "stepName"),
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "TOOL_CALL_START": ("call", "toolCallId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "SUBAGENT_STARTED": ("agent", "subagentRunId"),
}
CLOSERS = {
    "STEP_FINISHED": ("step", "stepName"),
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "TOOL_CALL_END": ("call", "toolCallId"),
    "REASONING_END": ("span", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "SUBAGENT_FINISHED": ("agent", "subagentRunId"),
}
PIECES = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "TOOL_CALL_ARGS": ("call", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
}
OWNED = {"TOOL_CALL_START", "REASONING_START", "REASONING_MESSAGE_START"}
TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}


class Refused(AssertionError):
    """The client would throw."""


@dataclass
class Client:
    """One run as its client has it. `messages` are those that it has sent."""

    messages: list[Message] = field(default_factory=list)
    open: dict[str, list[str]] = field(default_factory=dict)  # by kind
    had_agents: set[str] = field(default_factory=set)
    owners: dict[tuple[str, str], str | None] = field(default_factory=dict)
    started: bool = False
    ended: str = ""
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # tool calls of this run without a result
    got: list[Message] = field(default_factory=list)
    last_id: str = ""

    def __post_init__(self) -> None:
        self.messages = deepcopy(self.messages)

    def read(self, stream: str) -> "Client":
        """Take all messages of a body."""
        for at, data in parsed(stream):
            if at:
                self.last_id = at
            self.take(json.loads(data))
        return self

    def take(self, message: Message) -> None:
        kind = message["type"]
        self.got.append(message)
        if kind not in REQUIRED:
            raise Refused(f"unknown type {kind}")
        if missing := REQUIRED[kind] - message.keys():
            raise Refused(f"{kind} lacks {missing}")
        if nulls := [name for name, value in message.items() if value is None]:
            raise Refused(f"{kind} has null in {nulls}")
        if self.ended:
            raise Refused(f"{kind} after {self.ended}")
        if not self.started and kind not in ("RUN_STARTED", "RUN_ERROR"):
            raise Refused(f"{kind} is the first")
        if kind == "RUN_STARTED" and self.started:
            raise Refused("a second RUN_STARTED")
        self.check(kind, message)
        self.apply(kind, message)

    def check(self, kind: str, message: Message) -> None:
        if kind == "RUN_STARTED":
            self.started = True
        if kind in OPENERS:
            what, name = OPENERS[kind]
            is_known = what == "agent" and message[name] in self.had_agents
            if message[name] in self.open.setdefault(what, []) or is_known:
                raise Refused(f"{kind}: {message[name]} was begun before")
            self.open[what].append(message[name])
            if what == "agent":
                self.had_agents.add(message[name])
        if kind in OWNED:
            self.check_owner(kind, message)
        if kind in CLOSERS or kind in PIECES:
            what, name = (CLOSERS | PIECES)[kind]
            if message[name] not in self.open.get(what, []):
                raise Refused(f"{kind}: {message[name]} isn't open")
            if kind in CLOSERS:
                self.open[what].remove(message[name])
        if kind == "RUN_FINISHED":
            if left := {what: names for what, names in self.open.items() if names}:
                raise Refused(f"left open: {left}")
            outcome = message.get("outcome", {"type": "success"})
            if outcome["type"] not in ("success", "interrupt", "cancelled"):
                raise Refused(f"unknown outcome {outcome}")
            if outcome["type"] == "interrupt":
                self.interrupts = outcome["interrupts"]
                if not self.interrupts:
                    raise Refused("an interrupt without interrupts")
        if kind in TERMINAL:
            self.ended = kind

    def check_owner(self, kind: str, message: Message) -> None:
        """Refuse what another agent has begun."""
        what = "call" if kind == "TOOL_CALL_START" else "reasoning"
        key = (what, message.get("messageId") or message["toolCallId"])
        owner = message.get("subagentRunId")
        if owner is not None and self.owners.setdefault(key, owner) != owner:
            raise Refused(f"{kind}: {key} is of another agent")

    # --- What is shown

    def apply(self, kind: str, message: Message) -> None:
        match kind:
            case "MESSAGES_SNAPSHOT":
                self.replace(message["messages"])
            case "TEXT_MESSAGE_START":
                self.named(message["messageId"], "assistant")
            case "TEXT_MESSAGE_CONTENT":
                self.named(message["messageId"], "assistant")["content"] += message["delta"]
            case "REASONING_MESSAGE_START":
                self.named(message["messageId"], "reasoning")
            case "REASONING_MESSAGE_CONTENT":
                self.named(message["messageId"], "reasoning")["content"] += message["delta"]
            case "ACTIVITY_SNAPSHOT":
                shown = self.named(message["messageId"], "activity")
                shown["content"] = message["content"]
            case "TOOL_CALL_START" | "TOOL_CALL_ARGS":
                self.apply_call(kind, message)
            case "TOOL_CALL_RESULT":
                # Added even if there is one with this id.
                shown = {"id": message["messageId"], "role": "tool", "content": message["content"]}
                self.messages.append(shown | {"toolCallId": message["toolCallId"]})
                if message["toolCallId"] in self.pending:
                    self.pending.remove(message["toolCallId"])

    def apply_call(self, kind: str, message: Message) -> None:
        shown = self.named(message["toolCallId"], "assistant")
        [call] = shown.setdefault("toolCalls", [{"arguments": ""}])
        if kind == "TOOL_CALL_START":
            call["name"] = message["toolCallName"]
            self.pending.append(message["toolCallId"])
        else:
            call["arguments"] += message["delta"]

    def replace(self, messages: list[Message]) -> None:
        """Keep what only the client knows, as the client does."""
        sent = {each["id"]: each for each in messages}
        mine = [role for role in ("activity", "reasoning") if role not in roles_of(messages)]
        kept = [each for each in self.messages if each["id"] in sent or each["role"] in mine]
        self.messages = [sent.pop(each["id"], each) for each in kept] + list(sent.values())

    def named(self, id_: str, role: str) -> Message:
        for shown in self.messages:
            if shown["id"] == id_:
                assert shown["role"] == role, f"{id_} is a message of {shown['role']}"
                return shown
        self.messages.append({"id": id_, "role": role, "content": ""})
        return self.messages[-1]

    @property
    def texts(self) -> list[str]:
        """The answers that are shown. An empty one is not seen."""
        return self.contents("assistant")

    def contents(self, role: str) -> list[str]:
        said = [each["content"] for each in self.messages if each["role"] == role]
        return [text for text in said if text]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.got]

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.got if message["type"] == kind]

    @property
    def outcome(self) -> dict[str, Any]:
        assert self.ended == "RUN_FINISHED", self.got[-1]
        outcome: dict[str, Any] = self.got[-1]["outcome"]
        return outcome


def roles_of(messages: list[Message]) -> set[str]:
    return {each["role"] for each in messages}


def parsed(stream: str) -> list[tuple[str, str]]:
    """Return the id and the data of each whole message, as a reader of event streams does."""
    found = []
    for block in re.split(r"\n\n", stream)[:-1]:
        fields = dict(
            line.partition(": ")[::2] for line in block.split("\n") if not line.startswith(":")
        )
        if "data" in fields:
            found.append((fields.get("id", ""), fields["data"]))
    return found
