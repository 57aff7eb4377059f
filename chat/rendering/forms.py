"""The fields of a form that a tool needs filled in, made from its schema (`tooling.forms`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tooling.forms import choices_of
from tooling.schema import ORDER

from .wording import title_of

LONG_TEXT = 200  # characters from which a text gets more than one line

type FormFieldKind = Literal["text", "lines", "number", "switch", "choice", "several"]
# Of the control in the page, by the format of a text.
TYPES = {"email": "email", "uri": "url", "date": "date", "date-time": "datetime-local"}


@dataclass(frozen=True, slots=True)
class FormOption:
    id: str
    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class FormField:
    """One field. `type` is that of the control, `bounds` are its attributes in the page."""

    id: str
    name: str
    label: str
    hint: str
    kind: FormFieldKind
    type: str
    value: str
    is_required: bool
    bounds: Mapping[str, str]
    options: Sequence[FormOption]


def form_fields(id_: str, schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[FormField]:
    """Return the fields of a form, in its order, with the values that they begin with."""
    fields, required = schema.get("properties", {}), schema.get("required", [])
    return [
        form_field(f"{id_}-{number}", name, fields[name], values, is_required=name in required)
        for number, name in enumerate(schema.get(ORDER, fields))
    ]


def form_field(
    id_: str, name: str, spec: Mapping[str, Any], values: Mapping[str, Any], *, is_required: bool
) -> FormField:
    value = values.get(name)
    kind, type_ = kind_of(spec)
    bounds = {
        attribute: str(spec[keyword])
        for keyword, attribute in BOUNDS.items()
        if keyword in spec and kind in ("text", "lines", "number", "several")
    }
    if kind == "number":
        bounds["step"] = "1" if spec["type"] == "integer" else "any"
    shown = "" if value is None or isinstance(value, bool | list) else str(value)
    if type_ == "datetime-local":
        # In which time zone it is shown, only the browser knows.
        shown = ""
    return FormField(
        id_,
        name,
        str(spec.get("title") or title_of(name)),
        str(spec.get("description", "")),
        kind,
        type_,
        "true" if value is True else shown,
        is_required,
        bounds,
        options_of(id_, spec, value),
    )


BOUNDS = {
    "minimum": "min",
    "maximum": "max",
    "minLength": "minlength",
    "maxLength": "maxlength",
    "minItems": "data-min",
    "maxItems": "data-max",
}


def kind_of(spec: Mapping[str, Any]) -> tuple[FormFieldKind, str]:
    """Return the kind of a field, and the type of its control."""
    match spec:
        case {"type": "boolean"}:
            return "switch", "checkbox"
        case {"type": "array"}:
            return "several", "checkbox"
        case {"enum": _} | {"oneOf": _}:
            return "choice", ""
        case {"type": "integer" | "number"}:
            return "number", "number"
        case {"format": str(form)} if form in TYPES:
            return "text", TYPES[form]
    return ("text", "text") if spec.get("maxLength", LONG_TEXT + 1) <= LONG_TEXT else ("lines", "")


def options_of(id_: str, spec: Mapping[str, Any], value: object) -> list[FormOption]:
    """Return what can be chosen, with its titles."""
    chosen = value if isinstance(value, list) else [value]
    return [
        FormOption(f"{id_}-{number}", each, label, each in chosen)
        for number, (each, label) in enumerate(choices_of(spec))
    ]
