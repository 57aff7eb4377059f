"""The normal form: what a chunk of an answer says, however its server spells it."""

from collections.abc import Sequence

from msgspec import Struct


class CallDelta(Struct, frozen=True, gc=False):
    """A tool call, or a part of one. An empty string is a field that the server did not send."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


class TokenCount(Struct, frozen=True, gc=False):
    """What the server counted so far in this answer."""

    input: int
    output: int
    cached: int = 0  # of the input
    reasoning: int = 0  # of the output


class Chunk(Struct, frozen=True, gc=False):
    """One event of an answer.

    `error` is what the server reports instead of an answer, as it was decoded. `is_total` marks a
    text or calls that repeat all that came before.
    """

    text: str = ""
    reasoning: str = ""
    calls: Sequence[CallDelta] = ()
    finish_reason: str = ""
    usage: TokenCount | None = None
    error: object = None
    is_refusal: bool = False  # the text is the model's refusal
    is_total: bool = False
