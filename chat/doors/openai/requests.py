"""What a program may say in a chat completion: taken, ignored by name, or refused with a reason."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from chat.doors.errors import bad, refused
from chat.protocol.terms import Effort, Preference

from .messages import Message

type OpenAIEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

EFFORTS: dict[OpenAIEffort, Effort] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "minimal",
    "medium": "medium",
    "high": "maximal",
    "xhigh": "maximal",
}
MAX_END_USER = 200  # characters
ASK_FOR_IT = "Ask for it in the message."


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class FleetOptions(Struct, frozen=True):
    """`fresh` bypasses the tool cache. `steps` leaves the steps out of the thinking.

    `preference` is that of a ChatRequest.
    """

    fresh: bool = False
    preference: Preference | None = None
    steps: Literal["reasoning", "off"] = "reasoning"


class ChatCompletionRequest(Struct, frozen=True, kw_only=True):
    """A chat so far, which its user has had the last word in. Other fields are skipped.

    `metadata.conversation_id` goes on with a stored conversation, of which only the last message is
    new. `metadata.on_disconnect` "continue" lets the run go on when the client leaves. `store`
    shows the conversation in its owner's list.
    """

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: OpenAIEffort | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    fleet: FleetOptions | None = None
    # Ignored: the header Fleet-Ignored names them.
    temperature: Any = None
    top_p: Any = None
    seed: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    parallel_tool_calls: Any = None
    service_tier: Any = None
    verbosity: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    web_search_options: Any = None
    tools: Any = None  # unless one must be called
    functions: Any = None
    # Refused, unless they want what is done anyway.
    n: Any = None
    tool_choice: Any = None
    function_call: Any = None
    response_format: Any = None
    audio: Any = None
    modalities: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    stop: Any = None

    @property
    def options(self) -> FleetOptions:
        return self.fleet or FleetOptions()

    @property
    def effort(self) -> Effort | None:
        return EFFORTS[self.reasoning_effort] if self.reasoning_effort else None

    @property
    def conversation_id(self) -> UUID | None:
        """The stored conversation that is gone on with. Raise Refusal if it isn't an id."""
        given = (self.metadata or {}).get("conversation_id")
        if given is None:
            return None
        try:
            return UUID(given)
        except (ValueError, AttributeError, TypeError):
            raise bad("It must be a UUID.", "metadata.conversation_id") from None

    @property
    def goes_on_alone(self) -> bool:
        return outlasts_client(self.metadata)


IGNORED = (
    *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("max_tokens", "max_completion_tokens", "parallel_tool_calls", "service_tier", "verbosity"),
    *("prediction", "prompt_cache_key", "prompt_cache_retention", "web_search_options"),
    *("tools", "functions"),
)


def ignored_in(request: ChatCompletionRequest) -> list[str]:
    """Return the names of the parameters that were sent and change nothing."""
    return sent_among(IGNORED, request)


def check(request: ChatCompletionRequest) -> None:
    """Raise Refusal for a parameter that wants what isn't done here."""
    refuse_unsupported(unsupported_in(request))


def unsupported_in(request: ChatCompletionRequest) -> Iterator[tuple[str, str]]:
    """Yield each parameter that can't be done, with the reason."""
    if request.n not in (None, 1):
        yield "n", "There is one answer to a request."
    # A client that insists would take the answer for a failed call.
    for name in ("tool_choice", "function_call"):
        if getattr(request, name) not in (None, "auto", "none"):
            yield (
                name,
                "The fleet calls its own tools, and none of the program's. It can't be made to"
                f" answer with a call, as structured outputs want it. {ASK_FOR_IT}",
            )
    form = request.response_format
    if form is not None and (not isinstance(form, dict) or form.get("type") != "text"):
        yield "response_format", f"Answers are text, without a schema. {ASK_FOR_IT}"
    if request.audio is not None or request.modalities not in (None, [], ["text"]):
        yield "audio" if request.audio is not None else "modalities", "Answers are text."
    for name in ("logprobs", "top_logprobs"):
        if getattr(request, name):
            yield name, "The probabilities of tokens aren't known here."
    if request.stop not in (None, "", []):
        yield "stop", "Answers aren't cut at given words."


# --- What requests of OpenAI's two APIs have in common


def end_user_of(*given: str | None) -> str:
    """Return whom a program asks for: the first of these that names somebody, cut."""
    named = next(filter(None, given), "")
    return named.replace("\0", "")[:MAX_END_USER]


def outlasts_client(metadata: Mapping[str, Any] | None) -> bool:
    """Return True if the run goes on when its client leaves. Raise Refusal for other words."""
    given = (metadata or {}).get("on_disconnect", "cancel")
    if given not in ("cancel", "continue"):
        raise bad('It is "cancel" or "continue".', "metadata.on_disconnect")
    return bool(given == "continue")


def sent_among(names: Iterable[str], request: Struct) -> list[str]:
    """Return those of these parameters that were sent."""
    return [name for name in names if getattr(request, name) not in (None, [], {})]


def refuse_unsupported(found: Iterable[tuple[str, str]]) -> None:
    """Raise Refusal for the first of these parameters, each with the reason."""
    for param, reason in found:
        message = f"{param} isn't supported: {reason}"
        raise refused(400, "unsupported_parameter", message, param=param)
