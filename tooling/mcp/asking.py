"""What servers ask a person in the middle of a call, as forms that can wait for days.

A server of the newer protocol ends the call, and is called again with the replies and its state.
One of the older protocol holds the call open. It is cancelled, and made again from its beginning
when there is a reply, which then answers the same question.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

import mcp_types
import msgspec
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from tooling.decoding import UNREADABLE_JSON
from tooling.forms import UnfitForm
from tooling.results import Given, NeedsInput, ToolFailure
from tooling.sentences import sentence

UNFIT = sentence("%(server)s asks for something that cannot be shown as a form.")
NOT_POSSIBLE = sentence("%(server)s wants something that is not possible here.")
REFUSED = sentence("The person did not open the page of %(server)s.")


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a server asks. `key` is its own name for it."""

    key: str
    message: str
    schema: dict[str, object] = {}
    url: str = ""

    @classmethod
    def of(cls, key: str, params: mcp_types.ElicitRequestParams) -> "Wanted":
        if isinstance(params, mcp_types.ElicitRequestURLParams):
            return cls(key, params.message, url=params.url)
        return cls(key, params.message, dict(params.requested_schema))

    @property
    def question(self) -> str:
        """What identifies a question whose server gives it no key."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person replied. `values` is None if they refused, or for a page."""

    is_accepted: bool
    values: dict[str, str | int | float | bool | list[str] | None] | None = None

    @property
    def result(self) -> mcp_types.ElicitResult:
        action: Literal["accept", "decline"] = "accept" if self.is_accepted else "decline"
        return mcp_types.ElicitResult(action=action, content=self.values)


class Asking(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a call has come that needs replies. The state of its forms.

    `wanted` is what is still to be asked, now or next. `is_held`: the server has held the call
    open, or has ended it with an error, so it is to be called from the beginning.
    """

    wanted: list[Wanted] = []
    answers: dict[str, Answer] = {}
    state: str | None = None  # the server's own
    is_held: bool = False

    @classmethod
    def after(cls, given: Given | None) -> "Asking":
        """Return how far a call has come with a reply. It begins anew if that can't be read."""
        if given is None:
            return cls()
        try:
            asking = msgspec.json.decode(given.state, type=cls)
        except UNREADABLE_JSON:
            # Another version of this server has kept it.
            return cls()
        if not asking.wanted:
            return cls()
        replied, left = asking.wanted[:1], asking.wanted[1:]
        if given.values is None:
            # Who refuses one thing is not asked for the others.
            replied, left = asking.wanted, []
        values = None if given.values is None or replied[0].url else given.values
        answer = Answer(given.values is not None, values)
        answers = asking.answers | {each.key: answer for each in replied}
        return msgspec.structs.replace(asking, wanted=left, answers=answers)

    @property
    def responses(self) -> mcp_types.InputResponses | None:
        if self.is_held or not self.answers:
            return None
        return {key: answer.result for key, answer in self.answers.items()}

    @property
    def is_refused_page(self) -> bool:
        """True if the person refused to open a page without which a call fails."""
        return self.is_held and any(
            key.startswith(PAGE) and not answer.is_accepted for key, answer in self.answers.items()
        )

    def needs(self, server: Mapping[str, str], hidden: Callable[[str], str]) -> Exception:
        """Return what is raised to ask for the first thing that is wanted.

        `hidden` takes secrets out of a text.
        """
        first = self.wanted[0]
        try:
            return NeedsInput(
                hidden(first.message),
                texts_by(hidden, first.schema),
                state=encoded(self),
                url=hidden(first.url),
            )
        except UnfitForm as exc:
            return ToolFailure(UNFIT % server, outside=str(exc))


def texts_by(change: Callable[[str], str], value: Any) -> Any:
    """Return the value of JSON with its texts changed, but not its keys."""
    match value:
        case str():
            return change(value)
        case list():
            return [texts_by(change, each) for each in value]
        case dict():
            return {key: texts_by(change, each) for key, each in value.items()}
    return value


def encoded(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


PAGE = "page "  # begins the key of a page that a call failed without


def asked_by(result: mcp_types.InputRequiredResult) -> Asking | None:
    """Return what a server asks that ended a call; None if it isn't a form or a page."""
    wanted = []
    for key, request in (result.input_requests or {}).items():
        if not isinstance(request, mcp_types.ElicitRequest):
            return None
        wanted.append(Wanted.of(key, request.params))
    return Asking(wanted, state=result.request_state)


def asked_in(asking: Asking, params: mcp_types.ElicitRequestParams) -> Answer | Asking:
    """Return the answer to what a server asks that holds a call open, or what must be asked."""
    wanted = Wanted.of("", params)
    if answer := asking.answers.get(wanted.question):
        return answer
    named = msgspec.structs.replace(wanted, key=wanted.question)
    return Asking([named], asking.answers, is_held=True)


def pages_of(asking: Asking, exc: MCPError) -> Asking | None:
    """Return what a server asks that ended a call with an error; None if it is another error."""
    if exc.error.code != mcp_types.URL_ELICITATION_REQUIRED:
        return None
    try:
        data = mcp_types.ElicitationRequiredErrorData.model_validate(exc.error.data)
    except ValidationError:
        return None
    wanted = [Wanted.of(f"{PAGE}{each.url}", each) for each in data.elicitations]
    return Asking(wanted, asking.answers, is_held=True) if wanted else None
