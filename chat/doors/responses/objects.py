"""What is answered at `/v1/responses`, in the shapes of OpenAI's API."""

from typing import Any, Literal

from msgspec import Struct, field

from chat.doors.errors import ErrorObject
from chat.protocol.terms import Usage

type ResponseStatus = Literal["in_progress", "completed", "failed", "cancelled", "incomplete"]
type ItemStatus = Literal["in_progress", "searching", "completed", "failed", "incomplete"]


class SummaryText(Struct, tag_field="type", tag="summary_text"):
    text: str = ""


class ReasoningItem(Struct, kw_only=True, tag_field="type", tag="reasoning"):
    """What a model thinks, and what the fleet does, as text."""

    id: str
    summary: list[SummaryText] = []
    status: ItemStatus = "in_progress"


class FoundUrl(Struct, tag_field="type", tag="url"):
    url: str


class SearchAction(Struct, kw_only=True, tag_field="type", tag="search"):
    query: str
    queries: list[str] = []
    sources: list[FoundUrl] = []


class SearchItem(Struct, kw_only=True, tag_field="type", tag="web_search_call"):
    """A search of the web; only for requests that list the tool `web_search`."""

    id: str
    action: SearchAction
    status: ItemStatus = "in_progress"


class CitedUrl(Struct, frozen=True, tag_field="type", tag="url_citation"):
    """A source that the text cites; `end_index` is behind its last character."""

    start_index: int
    end_index: int
    url: str
    title: str


class OutputText(Struct, kw_only=True, tag_field="type", tag="output_text"):
    text: str = ""
    annotations: list[CitedUrl] = []
    logprobs: list[Any] = []


class MessageItem(Struct, kw_only=True, tag_field="type", tag="message"):
    """The answer."""

    id: str
    content: list[OutputText] = []
    status: ItemStatus = "in_progress"
    role: Literal["assistant"] = "assistant"


type Item = ReasoningItem | SearchItem | MessageItem


class InputTokensDetails(Struct, frozen=True):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, frozen=True):
    reasoning_tokens: int = 0


class UsageObject(Struct, frozen=True, kw_only=True):
    """The tokens of all model calls of the run."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "UsageObject":
        return cls(
            input_tokens=usage.input_tokens,
            input_tokens_details=InputTokensDetails(usage.cached_tokens),
            output_tokens=usage.output_tokens,
            output_tokens_details=OutputTokensDetails(usage.reasoning_tokens),
            total_tokens=usage.input_tokens + usage.output_tokens,
        )


class IncompleteDetails(Struct, frozen=True):
    """Why a response is incomplete: it was cancelled, or paused until a person decides."""

    reason: Literal["cancelled", "paused"]


class ReasoningConfig(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class TextFormat(Struct, frozen=True):
    type: Literal["text"] = "text"


class TextConfig(Struct, frozen=True):
    format: TextFormat = TextFormat()


class WebSearchTool(Struct, frozen=True):
    type: Literal["web_search"] = "web_search"


class ResponseObject(Struct, kw_only=True):
    """One answer, perhaps not complete yet."""

    id: str
    created_at: int
    model: str
    status: ResponseStatus = "in_progress"
    completed_at: int | None = None
    output: list[Item] = []
    usage: UsageObject | None = None
    error: ErrorObject | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    background: bool = False
    store: bool = True
    metadata: dict[str, str] = {}
    user: str | None = None
    reasoning: ReasoningConfig = ReasoningConfig()
    tools: list[WebSearchTool] = []
    object: Literal["response"] = "response"
    tool_choice: Literal["auto"] = "auto"
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    text: TextConfig = TextConfig()
    truncation: Literal["disabled"] = "disabled"


class DeletedResponse(Struct, frozen=True):
    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class InputText(Struct, frozen=True, tag_field="type", tag="input_text"):
    text: str


class SentMessage(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A message that was sent."""

    id: str
    role: Literal["user", "assistant", "system"]
    content: list[InputText | OutputText] = field(default_factory=list)
    status: Literal["completed"] = "completed"


class InputItems(Struct, frozen=True, kw_only=True):
    """The messages that a response answers, with those before it."""

    data: list[SentMessage]
    first_id: str
    last_id: str
    has_more: bool = False
    object: Literal["list"] = "list"
