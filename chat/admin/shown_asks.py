"""An ask as the pages of asks and of runs show it."""

from collections.abc import Mapping
from typing import Any

from chat.asks import Ask
from chat.protocol.terms import AskKind
from chat.rendering.forms import FormFieldKind, form_fields
from chat.rendering.timeline import tool_title
from chat.rendering.wording import escaped, title_of
from tooling.forms import asker_of

from .run_steps import Say, Words, json_of

KINDS: dict[AskKind, str] = {
    "approval": "Approval",
    "question": "Question",
    "unsure": "Unsure whether it was done",
    "form": "Form of a tool",
}
FORM_FIELDS: dict[FormFieldKind, str] = {
    "text": "text",
    "lines": "text",
    "number": "number",
    "switch": "yes or no",
    "choice": "one",
    "several": "some",
}


def state_of(ask: Ask) -> str:
    """Return the state of an ask. One whose time is over is expired before a worker notes it."""
    return Ask.State.EXPIRED if ask.has_expired else ask.state


class ShownAsk:
    """What was asked, and what a person decided. Words pass through `say`."""

    def __init__(self, ask: Ask, *, say: Say) -> None:
        self.ask = ask
        self.state = state_of(ask)
        self.is_open = self.state == Ask.State.OPEN
        self.kind = kind_title(ask.kind)
        self.tool = tool_title(ask.tool)[0] if ask.tool else ""
        self.agent = title_of(ask.author or ask.agent_id)
        self.asker = asker_of(ask.tool) if ask.kind == Ask.Kind.FORM else ""
        self.message = Words(say(ask.message))
        self.options = [say(str(option)) for option in ask.options]
        self.url = say(ask.url) if ask.url else ""
        self.fields = None
        if self.asker and not ask.url:
            self.fields = Words(say(escaped(fields_text(ask.schema))))
        has_arguments = bool(ask.tool) and not self.asker
        self.arguments = Words(say(escaped(json_of(ask.arguments)))) if has_arguments else None
        reply = ask.reply if isinstance(ask.reply, dict) else {}
        changed, text = reply.get("arguments"), reply.get("text")
        self.changed = Words(say(escaped(json_of(changed)))) if changed is not None else None
        self.text = Words(say(text)) if isinstance(text, str) and text else None

    @property
    def awaited(self) -> str:
        """Who may decide, as it follows “waits for”."""
        permission = self.ask.permission
        return f"staff with the permission {permission}" if permission else "the person who asked"


def fields_text(schema: Mapping[str, Any]) -> str:
    """Return the fields of a form, a line for each, as the person has them."""
    lines = []
    for field in form_fields("", schema, {}):
        options = ", ".join(option.label for option in field.options)
        parts = [f"{FORM_FIELDS[field.kind]} of {options}" if options else FORM_FIELDS[field.kind]]
        if field.is_required:
            parts.append("required")
        if field.hint:
            parts.append(field.hint)
        lines.append(f"{field.label}: {', '.join(parts)}")
    return "\n".join(lines)


def kind_title(kind: str) -> str:
    return next((title for known, title in KINDS.items() if known == kind), kind)
