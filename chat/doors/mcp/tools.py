"""The tools `ask` and `search`: what they take and give."""

from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chat.doors.contract.schemas import of_got
from chat.doors.records import FoundPlace
from chat.protocol.payloads import SourceData
from chat.protocol.requests import ChatRequest
from chat.protocol.terms import Mode, Path, Status
from chat.sidebar import MAX_SEARCH_CHARS


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[str, Meta(description="With all that must be known to answer it")]
    mode: Annotated[
        Mode, Meta(description="light: one agent; full: the team; plain: no agent and no tools")
    ] = "auto"
    conversation: Annotated[
        UUID | UnsetType, Meta(description="A conversation_id of before, to go on with that one")
    ] = UNSET

    def __post_init__(self) -> None:
        self.request  # noqa: B018  # raises ValueError if it can't be asked

    @property
    def request(self) -> ChatRequest:
        return ChatRequest(
            message=self.question,
            message_id=uuid4(),
            conversation_id=self.conversation or None,
            mode=self.mode,
        )


class Answered(Struct, frozen=True):
    """`answer` cites `sources` by their numbers; `cost` is in the fleet's currency."""

    answer: str
    conversation_id: UUID
    run_id: UUID
    status: Status
    path: Path | None
    sources: list[SourceData]
    cost: float | UnsetType = UNSET


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[
        str,
        Meta(max_length=MAX_SEARCH_CHARS, description="Words; with none, the last conversations"),
    ]


class Conversation(Struct, frozen=True):
    conversation_id: UUID
    title: str
    updated_at: str
    url: str
    places: list[FoundPlace]


class Found(Struct, frozen=True):
    conversations: list[Conversation]


def definition(
    name: str, title: str, description: str, takes: type, gives: type, **hints: bool
) -> dict[str, Any]:
    """Return how clients are told of a tool."""
    _, taken = msgspec.json.schema_components([takes])
    given = dict(of_got([gives], at="#/$defs/").named)
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": taken[takes.__name__],
        "outputSchema": {**given.pop(gives.__name__), "$defs": given},
        "annotations": {"title": title, **hints},
    }


TOOLS = [
    definition(
        "ask",
        "Ask the fleet",
        "Answer a question, by one agent or a team, with web searches and other tools if they help."
        " Takes seconds to minutes and costs model calls. The conversation is kept.",
        Ask,
        Answered,
        readOnlyHint=False,
        destructiveHint=False,
        openWorldHint=True,
    ),
    definition(
        "search",
        "Search conversations",
        "Find what was asked and answered before: the newest conversations of yours that have all"
        " words in their title, in a question or in an answer.",
        Search,
        Found,
        readOnlyHint=True,
        openWorldHint=False,
    ),
]
