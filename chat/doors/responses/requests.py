"""Requests for responses: which fields count, and what the program tells with its question."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from chat.doors.errors import bad
from chat.doors.openai.messages import BETWEEN, Message, Part, told_of
from chat.doors.openai.models import FLEET
from chat.doors.openai.requests import (
    ASK_FOR_IT,
    EFFORTS,
    FleetOptions,
    OpenAIEffort,
    outlasts_client,
    refuse_unsupported,
    sent_among,
)
from chat.entrance import Told
from chat.protocol.requests import holds_nul
from chat.protocol.terms import Effort
from chat.record import Earlier

SEARCHES = "web_search"  # how the types of the tool begin, such as web_search_preview

type Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class InputItem(Struct, frozen=True):
    """A message, or another item, of which only a reference to an answer counts.

    `content` is text, or parts of the types `input_text` and `output_text`.
    """

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    id: str | None = None


class ReasoningAsked(Struct, frozen=True):
    """How much models think. `summary` changes nothing: what they think is always told."""

    effort: OpenAIEffort | None = None
    summary: Any = None


class FormatAsked(Struct, frozen=True):
    type: str = "text"


class TextAsked(Struct, frozen=True):
    """The form of the answer, which is always text."""

    format: FormatAsked | None = None
    verbosity: Any = None


class ToolAsked(Struct, frozen=True):
    """A tool, which is never called for the program. `web_search` shows the fleet's searches."""

    type: str


class ResponseRequest(Struct, frozen=True, kw_only=True):
    """A request for an answer. Other fields are skipped.

    `previous_response_id` goes on behind that response, with only the new input. With `background`,
    or with `metadata.on_disconnect` "continue", the run goes on when the client leaves. `store`,
    written out as true, shows the conversation in its owner's list.
    """

    input: str | list[InputItem]
    model: str = FLEET
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    reasoning: ReasoningAsked | None = None
    user: str | None = None
    safety_identifier: str | None = None
    fleet: FleetOptions = FleetOptions()
    # Ignored: the header Fleet-Ignored names them.
    context_management: Any = None
    include: Any = None
    max_output_tokens: Any = None
    max_tool_calls: Any = None
    parallel_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    service_tier: Any = None
    stream_options: Any = None
    temperature: Any = None
    top_p: Any = None
    truncation: Any = None
    tools: list[ToolAsked] | None = None  # unless one must be called
    # Refused, unless they want what is done anyway.
    text: TextAsked | None = None
    tool_choice: str | dict[str, Any] | None = None
    conversation: Any = None
    prompt: Any = None
    top_logprobs: Any = None

    @property
    def effort(self) -> Effort | None:
        asked = self.reasoning.effort if self.reasoning else None
        return EFFORTS[asked] if asked else None

    @property
    def shows_searches(self) -> bool:
        return any(tool.type.startswith(SEARCHES) for tool in self.tools or ())

    @property
    def goes_on_alone(self) -> bool:
        outlasts = outlasts_client(self.metadata)  # checked in any case
        return bool(self.background) or outlasts


IGNORED = (
    *("context_management", "include", "max_output_tokens", "max_tool_calls"),
    *("parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "service_tier"),
    *("stream_options", "temperature", "top_p", "truncation"),
)


class Echo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a request its response repeats, also when it is read later. A run's row keeps it."""

    model: str = FLEET
    instructions: str | None = None
    previous_response_id: str | None = None
    background: bool = False
    goes_on_alone: bool = True
    store: bool = True
    metadata: dict[str, str] = {}
    user: str | None = None
    effort: OpenAIEffort | None = None
    shows_searches: bool = False
    shows_steps: bool = True

    @classmethod
    def of(cls, request: ResponseRequest) -> "Echo":
        return cls(
            model=request.model,
            instructions=request.instructions,
            previous_response_id=request.previous_response_id,
            background=bool(request.background),
            goes_on_alone=request.goes_on_alone,
            store=request.store is not False,
            metadata=request.metadata or {},
            user=request.user,
            effort=request.reasoning.effort if request.reasoning else None,
            shows_searches=request.shows_searches,
            shows_steps=request.fleet.steps != "off",
        )


def check(request: ResponseRequest) -> None:
    """Raise Refusal if the request asks for what isn't done here."""
    refuse_unsupported(unsupported_in(request))
    for param in ("instructions", "metadata", "user"):
        if holds_nul(getattr(request, param)):
            raise bad("It holds a NUL character.", param)


def unsupported_in(request: ResponseRequest) -> Iterator[tuple[str, str]]:
    """Yield each parameter that can't be done, with the reason."""
    if request.conversation is not None:
        yield "conversation", "Go on with previous_response_id."
    if request.prompt is not None:
        yield "prompt", "No prompts are stored here. Send instructions and input."
    if request.text and request.text.format and request.text.format.type != "text":
        yield "text.format", f"Answers are text, without a schema. {ASK_FOR_IT}"
    # A client that insists would take the answer for a failed call.
    if not is_free(request.tool_choice):
        yield (
            "tool_choice",
            f"The fleet calls its own tools, and none of the program's. {ASK_FOR_IT}",
        )
    if request.top_logprobs:
        yield "top_logprobs", "The probabilities of tokens aren't known here."


def is_free(choice: str | dict[str, Any] | None) -> bool:
    """Return True if the choice of tools leaves it to the model to call one."""
    if isinstance(choice, dict):
        return choice.get("type") == "allowed_tools" and choice.get("mode") == "auto"
    return choice in (None, "auto", "none")


def ignored_in(request: ResponseRequest) -> list[str]:
    """Return the names of the parameters that were sent and change nothing."""
    names = sent_among(IGNORED, request)
    if request.text and request.text.verbosity:
        names.append("text.verbosity")
    if any(not tool.type.startswith(SEARCHES) for tool in request.tools or ()):
        names.append("tools")
    if request.store is False:
        names.append("store")
    return names


def references_in(request: ResponseRequest) -> list[tuple[str, str]]:
    """Return the ids of items that the input refers to, each with its place."""
    if isinstance(request.input, str):
        return []
    return [
        (item.id or "", f"input[{number}].id")
        for number, item in enumerate(request.input)
        if item.type == "item_reference"
    ]


def told_by(
    request: ResponseRequest, *, before: Earlier, texts: Mapping[str, str]
) -> tuple[str, Told]:
    """Return the question, and what is told with it.

    `before` is what leads up to the end of the previous response, `texts` the answers that the
    input refers to. Raise Refusal, which names the item, if one can't be read.
    """
    if isinstance(request.input, str):
        messages = [Message("user", request.input)]
    else:
        messages = [
            message_of(item, f"input[{number}]", texts) for number, item in enumerate(request.input)
        ]
    question, told = told_of(messages, field="input", before=before)
    instructions = [text for text in (request.instructions, told.instructions) if text]
    echo = msgspec.to_builtins(Echo.of(request))
    return question, replace(told, instructions=BETWEEN.join(instructions), echo=echo)


def message_of(item: InputItem, place: str, texts: Mapping[str, str]) -> Message:
    """Return an item as a message. What is neither is left out, as calls of tools are."""
    if item.type == "item_reference" and item.id and item.id in texts:
        return Message("assistant", texts[item.id])
    if item.type != "message":
        return Message("tool")
    match item.role:
        case "user" | "assistant" | "system" | "developer":
            return Message(item.role, item.content)
        case _:
            raise bad("role is user, assistant, system or developer.", f"{place}.role")
