"""The result of a tool: its output, or its failure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .forms import form_of

type TtlClass = Literal["news", "general"]


class ToolFailure(Exception):
    """Raised for a call without a result. `message` is for readers, `advice` for the model."""

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        temporary: bool = False,
        stale_will_do: bool = False,
        closed_for: float = 0,
        outside: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.temporary = temporary
        self.stale_will_do = stale_will_do  # an old result is better than this failure
        self.closed_for = closed_for  # seconds for which no call can succeed
        self.outside = outside  # words of somebody else, for the model and the reader


class NeedsInput(Exception):
    """Raised by a tool that can't go on before a person has filled in a form, or opened a page.

    `schema` is the JSON Schema of a flat object: texts, numbers, switches, and texts to choose one
    or several from. With a `url` there is no form: the person opens that page, and says when they
    are done there. The tool is called again, perhaps after days and in another process, with a
    `Given` that has the reply and `state`. Nothing may have been done before that. The constructor
    raises UnfitForm if the form can't be shown.
    """

    def __init__(
        self,
        message: str,
        schema: Mapping[str, Any] | None = None,
        *,
        state: str = "",
        url: str = "",
    ) -> None:
        self.form = form_of(message, schema, state=state, url=url)
        super().__init__(self.form.message)


class Given(msgspec.Struct, frozen=True):
    """What a person replied to a tool that needed input, and the state that it asked to keep.

    `values` are those of the form, which fit its schema; it is None if the person refused. A tool
    gets this in a parameter of the type `Given | None`, which is None in the first call.
    """

    values: dict[str, Any] | None
    state: str = ""


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of plain text, and the page or the document that it is from.

    Answers cite it by its title. With an address that browsers can open, that is a link.
    """

    title: str
    url: str = ""
    text: str = ""
    published: str | None = None  # ISO date, if known


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """The output of a tool: its own text, or passages of pages and documents."""

    text: str = ""
    passages: tuple[Passage, ...] = ()
    credits: float = 0

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.passages
