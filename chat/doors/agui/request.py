"""What a client of AG-UI sends: RunAgentInput, read as a question with what was told before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chat.doors.errors import Refusal, refused
from chat.entrance import Told
from chat.protocol.terms import Effort, Mode
from chat.record import Exchange

MAX_ID = 1_000  # characters of an id that the client makes

type Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


class Part(Struct):
    """A part of a message. Only texts are read."""

    type: str
    text: str = ""


class InputMessage(Struct):
    """A message of the thread. Of messages with other roles than these two, nothing is read, except
    that `system` and `developer` are instructions.
    """

    role: str
    id: Id
    # Other roles have objects.
    content: str | list[Part] | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        match self.content:
            case str():
                text = self.content
            case list():
                text = "\n\n".join(part.text for part in self.content if part.type == "text")
            case _:
                text = ""
        # PostgreSQL stores none.
        return text.replace("\0", "")


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


class ForwardedProps(Struct, frozen=True):
    fleet: Chosen = Chosen()


class RunAgentInput(Struct, rename="camel"):
    """A request of AG-UI 1.0. `tools` and `state` are ignored.

    A `threadId` is one conversation, and a `runId` one run of it: the same one joins it again. The
    last message of the user is the question; what is sent before it counts in place of what is
    stored.
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
    def place_of_question(self) -> int:
        """The place of the question among the messages. Raise Refusal if there is none."""
        for at in range(len(self.messages) - 1, -1, -1):
            if self.messages[at].role == "user":
                return at
        raise refused(
            400, "bad_request", "There is no message with the role user.", param="messages"
        )

    @property
    def behind_question(self) -> int | None:
        """The place behind the question; None if nothing follows it."""
        behind = self.place_of_question + 1
        return behind if behind < len(self.messages) else None

    @property
    def question(self) -> str:
        """The text of the question. Raise Refusal if it has parts that can't be read."""
        at = self.place_of_question
        content = self.messages[at].content
        if isinstance(content, list):
            for number, part in enumerate(content):
                if part.type != "text":
                    raise unread(at, number, part)
        return self.messages[at].text

    @property
    def told(self) -> Told:
        """What was said before the question, and what the application instructs."""
        earlier = self.messages[: self.place_of_question]
        told = [each.text for each in earlier if each.role in ("system", "developer")]
        known = [f"{each.description}:\n{each.value}" for each in self.context or ()]
        instructions = "\n\n".join(text for text in [*told, *known] if text.strip())
        return Told(exchanges_in(earlier), instructions.replace("\0", ""))


def unread(at: int, number: int, part: Part) -> Refusal:
    return refused(
        400,
        "unsupported_parameter",
        f"Parts of the type {part.type[:40]} can't be read here; only text can.",
        param=f"messages.{at}.content.{number}",
    )


def exchanges_in(messages: Sequence[InputMessage]) -> list[Exchange]:
    """Return the questions that have an answer. What was said in several messages is joined."""
    exchanges: list[Exchange] = []
    questions: list[str] = []
    answers: list[str] = []

    def close() -> None:
        if questions and answers:
            exchanges.append(Exchange("\n\n".join(questions), "\n\n".join(answers)))
            questions.clear()
            answers.clear()

    for message in messages:
        if not message.text.strip():
            continue
        if message.role == "user":
            close()
            questions.append(message.text)
        elif message.role == "assistant" and questions:
            answers.append(message.text)
    close()
    return exchanges


@dataclass(frozen=True, slots=True)
class Sent:
    """The messages that the client has, as it sent them.

    `until`: those behind are of the run itself, which the client joins again.
    """

    body: bytes
    until: int | None = None

    @property
    def is_cut(self) -> bool:
        return self.until is not None

    def messages(self) -> list[Any]:
        """Return them without null, which AG-UI forbids."""
        sent = msgspec.json.decode(self.body)["messages"][: self.until]
        return [without_null(message) for message in sent]


def without_null(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_null(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [without_null(inner) for inner in value]
    return value
