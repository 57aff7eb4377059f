"""The asks of a paused run as cards, with fields made from schemas; decisions as sentences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.utils.translation import gettext, gettext_lazy, pgettext

from chat.protocol.payloads import AskClosedData
from chat.protocol.terms import AskData
from tooling.forms import asker_of
from tooling.schema import ORDER
from tooling.sentences import localized
from tooling.untrusted import web_host

from .forms import FormField, form_fields
from .timeline import agent_title, tool_title
from .wording import age, shortened, time_of, title_of

MAX_HINT_CHARS = 160
MAX_QUOTED_CHARS = 120  # characters of a person's words, or of an argument, in a sentence
# What a tool is wanted for, with the argument that says it best.
PURPOSES = {
    "calculator": (gettext_lazy("%(agent)s wants to calculate “%(words)s”."), "expression"),
    "read_page": (gettext_lazy("%(agent)s wants to read “%(words)s”."), "url"),
    "web_search": (gettext_lazy("%(agent)s wants to search the web for “%(words)s”."), "query"),
}
EXPIRY_SLACK = timedelta(minutes=30)
LONG_TEXT = 60  # characters from which a text gets more than one line

AskState = Literal["open", "approved", "edited", "refused", "answered", "withdrawn", "expired"]
FieldKind = Literal["text", "number", "choice", "switch", "lines", "json"]


@dataclass(frozen=True, slots=True)
class Option:
    value: str  # JSON
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Field:
    """One argument of a tool call. `is_set`: the model gave it a value."""

    id: str
    name: str
    label: str
    kind: FieldKind
    value: str
    hint: str
    is_set: bool
    options: tuple[Option, ...] = ()

    @property
    def rows(self) -> int:
        # For browsers that can't fit a text box to its text.
        return min(8, max(self.value.count("\n") + 1, -(-len(self.value) // LONG_TEXT)))


@dataclass(frozen=True, slots=True)
class AskView:
    """One thing that a person is asked, as the page shows it.

    `words` are what the person wrote: an answer, or why it was refused.
    """

    author: str
    data: AskData
    state: AskState = "open"
    words: str = ""

    @property
    def id(self) -> str:
        return f"ask-{self.data.ask_id}"

    @property
    def who(self) -> str:
        """Whose words are shown: an agent's, or those of a tool that needs a form."""
        return asker_of(self.data.tool) if self.data.kind == "form" else agent_title(self.author)

    @property
    def host(self) -> str:
        """The host of the page that a tool asks to open; empty if it is no link."""
        return web_host(self.data.url) if self.data.url else ""

    @property
    def form_fields(self) -> list[FormField]:
        return form_fields(self.id, self.data.schema, self.data.arguments)

    @property
    def sentence(self) -> str:
        """The request as one sentence, which names the agent."""
        if self.data.kind != "approval":
            is_ours = self.data.kind == "unsure"
            return localized(self.data.message) if is_ours else self.data.message
        purpose, argument = PURPOSES.get(self.data.tool, ("", ""))
        value = self.data.arguments.get(argument)
        if purpose and isinstance(value, str):
            return purpose % {"agent": self.who, "words": shortened(value, MAX_QUOTED_CHARS)}
        wanted = gettext("%(agent)s wants to use %(tool)s.")
        return wanted % {"agent": self.who, "tool": self.tool_title}

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def is_mine(self) -> bool:
        """Return True if the reader of the page may decide."""
        return self.data.approver == "owner"

    @property
    def tool_title(self) -> str:
        return tool_title(self.data.tool)[0]

    @property
    def expires(self) -> str:
        """How long it still waits, such as "13 days"."""
        if not self.data.expires_at:
            return ""
        # The time since it was asked must not make "13 days" of 14.
        return age((self.expires_at - datetime.now(UTC) + EXPIRY_SLACK).total_seconds())

    @property
    def expires_at(self) -> datetime:
        return time_of(self.data.expires_at)

    @property
    def fields(self) -> list[Field]:
        """The arguments, in the order of the tool; then those that the schema doesn't name."""
        arguments, properties = self.data.arguments, self.data.schema.get("properties")
        known: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
        order = self.data.schema.get(ORDER)
        named = [name for name in order if name in known] if isinstance(order, list) else []
        names = list(dict.fromkeys([*named, *known, *arguments]))
        return [
            field_of(f"{self.id}-{index}", name, known.get(name), arguments)
            for index, name in enumerate(names)
        ]

    @property
    def outcome(self) -> str:
        """The decision as a sentence; empty while the ask is open."""
        match self.state:
            case "open":
                return ""
            case "expired":
                return gettext("This has waited too long for a reply. Nothing was done.")
            case "withdrawn":
                return gettext("You took the question back.")
            case "edited" | "approved":
                return decision_words(self, "approve", is_edited=self.state == "edited")
            case "refused":
                return decision_words(self, "refuse")
            case "answered":
                return decision_words(self, "answer")


def field_of(id_: str, name: str, spec: object, arguments: Mapping[str, Any]) -> Field:
    is_set, value = name in arguments, arguments.get(name)
    schema = plain(spec)
    kind = kind_of(schema, value)
    described = schema.get("description")
    hint = shortened(described, MAX_HINT_CHARS) if isinstance(described, str) else ""
    options: tuple[Option, ...] = ()
    if kind == "choice":
        options = tuple(
            Option(json.dumps(each), text_of(each), is_set and each == value)
            for each in schema["enum"]
        )
    return Field(
        id_, name, title_of(name), kind, text_of(value, kind), hint, is_set=is_set, options=options
    )


def plain(spec: object) -> dict[str, Any]:
    """Return the schema of a value that isn't null. It may come from a server, in any form."""
    if not isinstance(spec, dict):
        return {}
    either = spec.get("anyOf")
    if isinstance(either, list):
        not_null = [each for each in either if isinstance(each, dict) and each != {"type": "null"}]
        return spec | not_null[0] if len(not_null) == 1 else {}
    return spec


def kind_of(schema: Mapping[str, Any], value: object) -> FieldKind:
    """Return the field for a value. If it fits no simple one, it is edited as JSON."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices and (value is None or value in choices):
        return "choice"
    items = schema.get("items")
    match schema.get("type"):
        case "string" if value is None or isinstance(value, str):
            return "text"
        case "boolean" if value is None or isinstance(value, bool):
            return "switch"
        case "integer" | "number" if value is None or is_number(value):
            return "number"
        case "array" if isinstance(items, dict) and items.get("type") == "string":
            if value is None or is_lines(value):
                return "lines"
    return "json"


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_lines(value: object) -> bool:
    """Return True for a list of texts that each fit in a line."""
    return isinstance(value, list) and all(
        isinstance(each, str) and each.strip() and len(each.splitlines()) == 1 for each in value
    )


def text_of(value: Any, kind: FieldKind = "text") -> str:
    """Return a value as a person edits it."""
    if value is None and kind != "json":
        return ""
    if kind == "switch":
        return "true" if value else ""
    if kind == "lines":
        return "\n".join(value)
    if isinstance(value, str) and kind != "json":
        return value
    return json.dumps(value, ensure_ascii=False, indent=2)


# What was decided, by whether the reader of the page did it. %(tool)s is the title of the tool.
DECISIONS = {
    (True, "approved"): gettext_lazy("You approved %(tool)s"),
    (True, "edited"): gettext_lazy("You approved %(tool)s, with changes"),
    (True, "done again"): gettext_lazy("You had %(tool)s done again"),
    (True, "left"): gettext_lazy("You left %(tool)s as it was"),
    (True, "left open"): gettext_lazy("You left the question open"),
    (True, "refused"): gettext_lazy("You refused %(tool)s"),
    (True, "answered"): gettext_lazy("You answered"),
    (False, "approved"): gettext_lazy("Somebody else approved %(tool)s"),
    (False, "edited"): gettext_lazy("Somebody else approved %(tool)s, with changes"),
    (False, "done again"): gettext_lazy("Somebody else had %(tool)s done again"),
    (False, "left"): gettext_lazy("Somebody else left %(tool)s as it was"),
    (False, "left open"): gettext_lazy("Somebody else left the question open"),
    (False, "refused"): gettext_lazy("Somebody else refused %(tool)s"),
    (False, "answered"): gettext_lazy("Somebody else answered"),
}


def closed_words(ask: AskView | None, data: AskClosedData) -> str:
    """Return what a person decided, as a sentence for the timeline."""
    is_mine = data.by == "owner"
    if data.decision == "withdraw":
        return (
            gettext("You took the question back.")
            if is_mine
            else gettext("Somebody else took the question back.")
        )
    return decision_words(ask, data.decision, is_mine=is_mine, is_edited=data.edited)


def decision_words(
    ask: AskView | None, decision: str, *, is_mine: bool = True, is_edited: bool = False
) -> str:
    tool = ask.tool_title if ask and ask.data.tool else pgettext("what was decided", "it")
    is_unsure = ask is not None and ask.data.kind == "unsure"
    match decision:
        case "approve" | "edit" if is_unsure:
            done = "done again"
        case "approve" | "edit":
            done = "edited" if is_edited or decision == "edit" else "approved"
        case "refuse" if is_unsure:
            done = "left"
        case "refuse" if ask and ask.data.kind in ("question", "form"):
            done = "left open"
        case "refuse":
            done = "refused"
        case _:
            done = "answered"
    decided = DECISIONS[is_mine, done] % {"tool": tool}
    quoted = shortened(ask.words, MAX_QUOTED_CHARS) if ask else ""
    if quoted:
        return gettext("%(decision)s: “%(words)s”") % {"decision": decided, "words": quoted}
    return gettext("%(decision)s.") % {"decision": decided}


def waiting_label(asks: Sequence[AskView]) -> str:
    """Return the part of a paused answer's label that says if and for whom it waits."""
    still_open = [ask for ask in asks if ask.is_open]
    if not still_open:
        return pgettext("answer", "no longer waiting")
    is_mine = all(ask.is_mine for ask in still_open)
    return gettext("waiting for you") if is_mine else gettext("waiting for somebody else")


def closing_words(asks: Sequence[AskView]) -> str:
    """Return why a paused answer waits no longer, although no run goes on with it."""
    # Several asks end together, so the first one tells. Without any, their rows were removed.
    return next((ask.outcome for ask in asks), gettext("This waits no longer."))
