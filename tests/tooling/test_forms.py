"""Forms that tools need filled in: which can be shown, and what fits them."""

from typing import Any

import pytest

from tooling.forms import MAX_STATE_BYTES, UnfitForm, faults_of_form
from tooling.results import NeedsInput

FIELDS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "title": "Your name", "minLength": 2, "maxLength": 20},
    "mail": {"type": "string", "format": "email"},
    "day": {"type": "string", "format": "date"},
    "at": {"type": "string", "format": "date-time"},
    "page": {"type": "string", "format": "uri"},
    "people": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
    "price": {"type": "number", "description": "In euros"},
    "window": {"type": "boolean", "default": True},
    "size": {"type": "string", "enum": ["s", "m"], "default": "m"},
    "place": {"type": "string", "oneOf": [{"const": "in", "title": "Inside"}, {"const": "out"}]},
    "old": {"type": "string", "enum": ["a", "b"], "enumNames": ["First", "Second"]},
    "extras": {"type": "array", "items": {"type": "string", "enum": ["wine", "bread"]}},
    "days": {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"const": "mo", "title": "Monday"}]},
    },
}


def form(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def test_form_keeps_what_is_known_of_each_field() -> None:
    shown = NeedsInput("?", form(**FIELDS) | {"required": ["name"]}).form
    fields = shown.schema["properties"]
    assert shown.schema["required"] == ["name"]
    assert shown.defaults == {"people": 2, "window": True, "size": "m"}
    for name in ("name", "people", "price", "window", "size"):
        assert fields[name] == FIELDS[name]
    assert [option["title"] for option in fields["old"]["oneOf"]] == ["First", "Second"]
    assert [option["title"] for option in fields["place"]["oneOf"]] == ["Inside", "out"]


def test_words_of_a_form_are_visible_and_bounded() -> None:
    name = {
        "type": "string",
        "title": "a\u200bb\nc",
        "description": "x" * 5000,
        "pattern": "(a+)+$",
    }
    shown = NeedsInput("\u202eevil\u0000" + "y " * 5000, form(name=name)).form
    assert shown.message.startswith("evily y")
    assert len(shown.message) <= 2000
    field = shown.schema["properties"]["name"]
    assert field["title"] == "ab c"
    assert len(field["description"]) <= 300
    assert "pattern" not in field


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({}, "not that of an object"),
        (form(), "between 1 and 20"),
        (form(**{f"f{n}": {"type": "string"} for n in range(21)}), "between 1 and 20"),
        ({"type": "array", "properties": {}}, "not that of an object"),
        (form(x={"type": "object"}), "has the type object"),
        (form(x={}), "has the type None"),
        (form(x=7), "has no schema"),
        (form(x={"type": "array", "items": {"type": "string"}}), "none to choose from"),
        (form(x={"type": "string", "enum": []}), "texts to choose from"),
        (form(x={"type": "string", "enum": ["a", 1]}), "texts to choose from"),
        (form(x={"type": "string", "enum": ["a", "a"]}), "texts to choose from"),
        (form(x={"type": "string", "oneOf": [{}]}), "texts to choose from"),
        (form(**{"a\u200b": {"type": "string"}}), "needs a name"),
        (form(x={"type": "string"}) | {"required": ["y"]}, "requires what is no field"),
    ],
)
def test_form_that_cannot_be_shown_says_why(schema: Any, why: str) -> None:
    with pytest.raises(UnfitForm, match=why):
        NeedsInput("?", schema)


@pytest.mark.parametrize(
    "options", [{"state": "x" * (MAX_STATE_BYTES + 1)}, {"url": "javascript:alert(1)"}]
)
def test_form_with_a_large_state_or_a_wrong_address_is_rejected(options: dict[str, str]) -> None:
    with pytest.raises(UnfitForm):
        NeedsInput("?", form(x={"type": "string"}), **options)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("name", "Ada", ""),
        ("name", "A", "`name` is shorter than 2 characters"),
        ("name", "A" * 21, "`name` is longer than 20 characters"),
        ("mail", "ada@example.org", ""),
        ("mail", "ada", "`mail` is no email"),
        ("day", "2026-12-24", ""),
        ("day", "24.12.", "`day` is no date"),
        ("at", "2026-12-24T18:00:00Z", ""),
        ("at", "2026-12-24T18:00:00", "`at` is no date-time"),
        ("page", "https://example.org/x", ""),
        ("page", "example", "`page` is no uri"),
        ("people", 10, "`people`: 10 is greater than the maximum of 9"),
        ("people", 2.5, "`people`: 2.5 is not of type 'integer'"),
        ("place", "out", ""),
        ("place", "up", "`place` is none of those to choose from"),
        ("extras", ["wine", "wine"], "`extras`: ['wine', 'wine'] has non-unique elements"),
        ("days", ["mo"], ""),
        ("days", ["tu"], "`days.0` is none of those to choose from"),
        ("other", "x", "Additional properties are not allowed"),
    ],
)
def test_what_is_filled_in_is_checked(name: str, value: Any, fault: str) -> None:
    schema = NeedsInput("?", form(**FIELDS)).form.schema
    faults = faults_of_form({name: value}, schema)
    assert len(faults) == bool(fault)
    assert not fault or faults[0].startswith(fault)
