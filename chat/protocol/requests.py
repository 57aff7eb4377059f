"""The frames that a client sends, parsed and checked."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Struct

from tooling.decoding import UNREADABLE_JSON

from .errors import ErrorInfo, ProtocolError
from .terms import MAX_MESSAGE, Effort, Mode, Preference, Reply, in_contract

MAX_MODEL = 200  # characters
MAX_SEQ = 2**31 - 1  # that a run's row can hold
NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"

type Question = Annotated[str, in_contract(minLength=1, maxLength=MAX_MESSAGE, pattern=NOT_BLANK)]
type ModelName = Annotated[str, in_contract(minLength=1, maxLength=MAX_MODEL, pattern=NOT_BLANK)]
type Seq = Annotated[int, in_contract(minimum=0, maximum=MAX_SEQ)]
type Replies = Annotated[list[Reply], in_contract(minItems=1)]


class ChatRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first frame: ask, answer again (`rerun_of`), or rejoin (a known `message_id`).

    `branch_of` asks another text instead of the question that this run answered. `after` is the
    last seq that a client which rejoins has seen. Without a `model`, the path's one answers;
    without a `preference`, that of the run which is repeated counts, or else the person's own.
    """

    message: Question
    message_id: UUID
    conversation_id: UUID | None = None
    mode: Mode = "auto"
    fresh: bool = False
    reasoning_effort: Effort | None = None
    rerun_of: UUID | None = None
    branch_of: UUID | None = None
    model: ModelName | None = None
    preference: Preference | None = None
    after: Seq = 0

    @property
    def is_first(self) -> bool:
        """Return True if this begins a conversation."""
        return self.conversation_id is None and self.rerun_of is None and self.branch_of is None

    def __post_init__(self) -> None:
        if not self.message.strip():
            raise ValueError("the message is empty")
        if len(self.message) > MAX_MESSAGE:
            raise ValueError(
                f"the message has {len(self.message):,} characters, more than {MAX_MESSAGE:,}"
            )
        if "\0" in self.message:
            raise ValueError("the message holds a NUL character")
        if self.rerun_of and self.branch_of:
            raise ValueError("rerun_of repeats a question and branch_of changes it: send one")
        if self.model is not None:
            check_model(self.model)
        check_after(self.after)


class ReplyRequest(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="reply", forbid_unknown_fields=True
):
    """The first frame that answers what the paused run `continues` asks. It starts a new run.

    All asks of that run are answered at once. `message_id` and `after` as in a ChatRequest.
    """

    message_id: UUID
    continues: UUID
    replies: Replies
    after: Seq = 0

    def __post_init__(self) -> None:
        if not self.replies:
            raise ValueError("there are no replies")
        if len({reply.ask_id for reply in self.replies}) < len(self.replies):
            raise ValueError("an ask has two replies")
        for reply in self.replies:
            if len(reply.text) > MAX_MESSAGE:
                raise ValueError(f"a text has more than {MAX_MESSAGE:,} characters")
            # PostgreSQL stores none.
            if holds_nul([reply.text, reply.arguments]):
                raise ValueError("a reply holds a NUL character")
        check_after(self.after)


def check_model(model: str) -> None:
    if not model.strip():
        raise ValueError("model is empty; null chooses by itself")
    if len(model) > MAX_MODEL:
        raise ValueError(f"model has more than {MAX_MODEL} characters")
    if "\0" in model:
        raise ValueError("model holds a NUL character")


def check_after(after: int) -> None:
    if not 0 <= after <= MAX_SEQ:
        # Redis would refuse a greater one, which looks as if Redis itself were broken.
        raise ValueError(f"after is between 0 and {MAX_SEQ:,}")


def holds_nul(value: Any) -> bool:
    """Return True if a text in a JSON value, or a name, holds a NUL character."""
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(holds_nul, value))
        case dict():
            return any(map(holds_nul, [*value, *value.values()]))
    return False


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel", forbid_unknown_fields=True):
    """Ends the run of this socket with `cancelled`."""


class _FrameType(Struct):
    type: str = ""


def parse_request(frame: str | bytes | None) -> ChatRequest | ReplyRequest:
    """Return the first frame as what it asks for. Raise ProtocolError if it can't be read."""
    if parse(frame, _type_decoder).type == "reply":
        return parse(frame, _reply_decoder)
    return parse(frame, _request_decoder)


def parse_command(frame: str | bytes | None) -> Cancel:
    """Return a later frame as a Cancel. Raise ProtocolError if it is anything else."""
    return parse(frame, _command_decoder)


_type_decoder = msgspec.json.Decoder(_FrameType)
_request_decoder = msgspec.json.Decoder(ChatRequest)
_reply_decoder = msgspec.json.Decoder(ReplyRequest)
_command_decoder = msgspec.json.Decoder(Cancel)


def parse[T](frame: str | bytes | None, decoder: msgspec.json.Decoder[T]) -> T:
    if not isinstance(frame, str):
        raise ProtocolError(ErrorInfo("bad_request", "Frames are JSON text, not binary."))
    try:
        return decoder.decode(frame)
    except UNREADABLE_JSON as exc:
        raise ProtocolError(ErrorInfo("bad_request", f"Invalid frame: {exc}.")) from exc
