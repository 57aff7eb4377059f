"""What a client of AG-UI sends: RunAgentInput, read as a question with what was told before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast, get_args

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from chat.doors.errors import bad
from chat.doors.openai.messages import Message, Part, Role, told_of
from chat.entrance import Told
from chat.protocol.terms import Effort, Mode, Preference

MAX_ID = 1_000  # characters of an id that the client makes
READ = frozenset(get_args(Role.__value__)) - {"tool", "function"}

type Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


class InputMessage(Struct):
    """A message of the thread. Those of a user, an assistant, a system or a developer are read."""

    role: str
    id: Id
    # Other roles have objects.
    content: str | list[Part] | dict[str, Any] | None = None

    @property
    def as_told(self) -> Message:
        if self.role in READ and not isinstance(self.content, dict):
            return Message(cast("Role", self.role), self.content)
        # In its place, so that those behind are counted right.
        return Message("tool")


class Context(Struct):
    """Something that the application knows, as an instruction for the answer."""

    description: str
    value: str


class ResumeEntry(Struct, rename="camel"):
    """The reply to an interrupt. `payload` fits its `responseSchema`.

    `cancelled` takes the whole question back.
    """

    interrupt_id: Id
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class Chosen(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be chosen for a question here and AG-UI has no word for.

    `on_disconnect`: what happens to the run if the client leaves before its ending.
    """

    mode: Mode = "auto"
    fresh: bool = False
    effort: Effort | None = None
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    model: str | None = None
    preference: Preference | None = None


class ForwardedProps(Struct, frozen=True):
    fleet: Chosen = Chosen()


class RunAgentInput(Struct, rename="camel"):
    """A request of AG-UI 1.0. `tools` and `state` are ignored.

    A `threadId` is one conversation, and a `runId` one run of it: the same one joins it again. The
    last message of the user is the question. What is sent before it counts in place of what is
    stored, and what is behind it counts for nothing.
    """

    thread_id: Id
    run_id: Id
    messages: list[InputMessage] = []
    context: list[Context] | None = None
    forwarded_props: ForwardedProps | None = None
    resume: list[ResumeEntry] | None = None

    @property
    def chosen(self) -> Chosen:
        return self.forwarded_props.fleet if self.forwarded_props else Chosen()

    @property
    def behind_question(self) -> int | None:
        """The place behind the last message of the user; None if nothing follows it."""
        for at in range(len(self.messages), 0, -1):
            if self.messages[at - 1].role == "user":
                return at if at < len(self.messages) else None
        return None

    def told(self) -> tuple[str, Told]:
        """Return the question, and what is told with it. Raise Refusal if there is no question."""
        asked = [each.as_told for each in self.messages[: self.behind_question]]
        question, told = told_of(asked)
        known = [f"{each.description}:\n{each.value}" for each in self.context or ()]
        instructions = "\n\n".join(filter(str.strip, [told.instructions, *known]))
        # PostgreSQL stores no NUL.
        return question, replace(told, instructions=instructions.replace("\0", ""))


@dataclass(frozen=True, slots=True)
class Sent:
    """The messages that the client has, as it sent them, before what it has of the run itself.

    Those behind `until` and those in `left_out` are of the run, and so is what `begun`, by ids,
    doesn't have of a text.
    """

    body: bytes
    until: int | None = None
    left_out: frozenset[str] = frozenset()
    begun: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_cut(self) -> bool:
        return self.until is not None or bool(self.left_out or self.begun)

    def check(self) -> None:
        """Raise Refusal if they are nested too deeply to be sent back."""
        try:
            self.messages()
        except RecursionError:
            message = "Invalid request: a message is nested too deeply."
            raise bad(message, "messages") from None

    def messages(self) -> list[Any]:
        """Return them without null, which AG-UI forbids."""
        kept = []
        for message in msgspec.json.decode(self.body)["messages"][: self.until]:
            if message["id"] not in self.left_out:
                begun = self.begun.get(message["id"])
                kept.append(without_null(message | ({"content": begun} if begun else {})))
        return kept


def without_null(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_null(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [without_null(inner) for inner in value]
    return value
