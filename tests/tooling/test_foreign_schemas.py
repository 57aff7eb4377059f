"""Schemas that others have written: broken, endless and dear ones, and what is checked by them."""

import time

import pytest

from tooling.schema import InvalidArguments, Parameters
from tooling.schema_bounds import MAX_BYTES, MAX_DEPTH, InvalidSchema

LIMIT = 0.5  # seconds; the slow ones would take minutes


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


BRANCHING = {
    **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(25)},
    "d25": {"type": "string"},
}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "not the schema of an object"),
        ({"type": "array"}, "not the schema of an object"),
        ({"properties": 3}, r"properties: 3 is not of type"),
        ({"properties": {"a": {"type": "strin"}}}, r"properties\.a"),
        ({"properties": {"a": {"minimum": float("nan")}}}, "minimum"),
        ({"properties": {"a": {"pattern": "("}}}, "not a 'regex'"),
        ({"properties": {"a": {"$id": {}}}}, r"properties\.a.*id"),
        ({"properties": {"a": {"$anchor": [1]}}}, r"properties\.a.*anchor"),
        ({"properties": {"a": {"anyOf": ["b"]}}}, r"properties\.a\.anyOf"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}, "another document"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "another document"),
        ({"properties": {"a": {"$ref": "#/nothing"}}}, "nothing at"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "no end"),
        ({"allOf": [{"$ref": "#"}]}, "no end"),
        ({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": BRANCHING}, "no end"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, "reference in place"),
        ({"description": "x" * MAX_BYTES}, "longer than"),
        (nested(MAX_DEPTH), "deeper than"),
        (nested(5000), "not JSON"),
        ({"properties": {"a": {"default": object()}}}, "not JSON"),
    ],
)
def test_broken_schema_is_refused_with_the_reason(schema: object, why: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidSchema, match=why):
        Parameters.of_schema(schema)
    assert time.perf_counter() - started < LIMIT


def test_arguments_are_checked_and_faults_are_named() -> None:
    parameters = Parameters.of_schema(
        {
            "properties": {
                "city": {"type": "string", "pattern": "^[A-Z]"},
                "days": {"type": "integer", "maximum": 7},
            },
            "required": ["city"],
            "additionalProperties": False,
        }
    )
    assert parameters.schema["type"] == "object"
    assert parameters.check({"city": "Rome", "days": 3}) == {"city": "Rome", "days": 3}
    with pytest.raises(InvalidArguments, match=r"`city`.*does not match.*`days`.*maximum of 7"):
        parameters.check({"city": "rome", "days": 8})
    with pytest.raises(
        InvalidArguments, match=r"'town' was unexpected\) \(there are: city, days\)"
    ):
        parameters.check({"city": "Rome", "town": ""})
    with pytest.raises(InvalidArguments, match="'city' is a required property"):
        parameters.check({})


def test_null_is_left_out_unless_it_means_something() -> None:
    parameters = Parameters.of_schema(
        {
            "properties": {
                "days": {"type": "integer"},
                "owner": {"type": ["string", "null"]},
                "due": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "must": {"type": "string"},
            },
            "required": ["must"],
        }
    )
    given = {"days": None, "owner": None, "due": None, "must": "x"}
    assert parameters.check(given) == {"owner": None, "due": None, "must": "x"}
    with pytest.raises(InvalidArguments, match=r"`must`: None is not of type 'string'"):
        parameters.check({"must": None})


def test_tuples_of_older_drafts_are_checked() -> None:
    parameters = Parameters.of_schema(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {
                "pair": {"items": [{"type": "string"}, {"$ref": "#/definitions/n"}]},
            },
            "definitions": {"n": {"type": "number"}},
        }
    )
    assert parameters.check({"pair": ["a", 1.5]}) == {"pair": ["a", 1.5]}
    with pytest.raises(InvalidArguments, match=r"`pair\.1`"):
        parameters.check({"pair": ["a", "b"]})


def test_schema_that_refers_to_itself_is_checked() -> None:
    node = {"properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    parameters = Parameters.of_schema(
        {"properties": {"tree": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    )
    assert parameters.check({"tree": {"kids": [{"kids": []}]}})
    with pytest.raises(InvalidArguments, match=r"`tree\.kids\.0\.kids`"):
        parameters.check({"tree": {"kids": [{"kids": 3}]}})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a|a)*$"}, "a" * 8000 + "!"),
        ({"items": {"pattern": "^(a|a)*$"}}, ["a" * 1000 + "!"] * 8),
        ({"uniqueItems": True}, [{"n": n} for n in range(2000)]),
        ({"patternProperties": {"^(a|a)*$": {}}}, {"a" * 8000 + "!": 1}),
    ],
)
def test_dear_keyword_is_left_to_the_server(schema: dict[str, object], value: object) -> None:
    parameters = Parameters.of_schema({"properties": {"a": schema}})
    started = time.perf_counter()
    assert parameters.check({"a": value}) == {"a": value}  # type: ignore[dict-item]
    assert time.perf_counter() - started < LIMIT


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"anyOf": [{"const": n} for n in range(1000)]}}, [*range(999, 0, -1)]),
        ({"items": {"$ref": "#/$defs/d0"}}, ["a"]),
        ({"multipleOf": 0.1}, 10**400),
    ],
)
def test_check_without_an_end_in_sight_is_given_up(
    schema: dict[str, object], value: object
) -> None:
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(25)}
    parameters = Parameters.of_schema(
        {"properties": {"a": schema}, "$defs": {**definitions, "d25": {"type": "string"}}}
    )
    started = time.perf_counter()
    with pytest.raises(InvalidArguments, match="too long to check"):
        parameters.check({"a": value})  # type: ignore[dict-item]
    assert time.perf_counter() - started < LIMIT


def test_parameter_may_be_described_by_true_or_false() -> None:
    parameters = Parameters.of_schema({"properties": {"any": True, "none": False}})
    assert parameters.told(parameters.check({"any": [1]})) == {"any": [1]}
    with pytest.raises(InvalidArguments, match="`none`"):
        parameters.check({"none": 1})


def test_arguments_are_told_although_they_are_said_to_be_defaults() -> None:
    parameters = Parameters.of_schema({"properties": {"to": {"default": "m@example.org"}}})
    arguments = parameters.check({"to": "m@example.org"})
    assert parameters.told(arguments) == arguments == {"to": "m@example.org"}
