"""The written contract: up to date, whole, valid, and kept."""

import copy
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from jsonschema import Draft7Validator, Draft202012Validator

from chat.doors.calls import NAME
from chat.doors.contract.changes import breaking
from chat.doors.contract.documents import stale
from chat.doors.contract.serving import WRITTEN, written
from chat.doors.routes import ROUTES
from chat.protocol.events import EVENT_TYPES, TYPE_OF
from chat.protocol.requests import MAX_MODEL, MAX_SEQ, ChatRequest, ReplyRequest
from chat.protocol.terms import MAX_MESSAGE
from tests.contract import EVENTS, fits, names
from tests.doors.calling import Doors
from tests.doors.clients.running import in_node, in_python

ID = "6f3d9b1e-3b1a-4a51-8a39-6b9d8f3f1111"
OTHER_ID = "0a3d9b1e-3b1a-4a51-8a39-6b9d8f3f1112"

type Document = dict[str, Any]


def checked(*options: str) -> tuple[int, str]:
    """Return the exit code of the command, and what it complains of."""
    complained = StringIO()
    try:
        call_command("contract", *options, stdout=StringIO(), stderr=complained)
    except SystemExit as exc:
        return int(str(exc.code or 0)), complained.getvalue()
    return 0, complained.getvalue()


def test_written_contract_is_up_to_date() -> None:
    assert checked("--check") == (0, "")


def test_stale_document_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {tmp_path / "openapi.json": "{}\n", tmp_path / "gone.json": ""}
    (tmp_path / "openapi.json").write_text("{ }\n")
    assert stale(wanted) == list(wanted)
    changed = {WRITTEN / EVENTS: "{}"}
    monkeypatch.setattr("agenticfleet.management.commands.contract.documents", lambda: changed)
    code, complained = checked("--check")
    assert code == 1
    assert "contract/written/events.schema.json is not up to date" in complained
    assert "breaks programs: events.schema.json: Done is gone" in complained


def test_what_breaks_programs_is_not_written_unless_it_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BASE_DIR = tmp_path
    file = tmp_path / EVENTS
    file.write_text(json.dumps(written(EVENTS)))
    changed = {file: '{"$defs": {}}'}
    monkeypatch.setattr("agenticfleet.management.commands.contract.documents", lambda: changed)
    assert checked("--write")[0] == 1
    assert file.read_text() != changed[file]
    assert checked("--write", "--breaking")[0] == 0
    assert file.read_text() == changed[file]


def changed(path: str, change: Any) -> Document:
    """Return the schema of events in which the part at `path` is changed; None removes it."""
    document = copy.deepcopy(written(EVENTS))
    part: Any = document["$defs"]
    *parents, name = path.split("/")
    for key in parents:
        part = part[int(key) if isinstance(part, list) else key]
    if change is None:
        del part[name]
    else:
        part[name] = change(part[name]) if callable(change) else change
    return document


def without(value: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [each for each in values if each != value]


def with_more(value: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [*values, value]


BREAKS: dict[str, tuple[str, Any, str]] = {
    "a type of event": ("Done", None, "Done is gone"),
    "a field": ("Done/properties/data", None, "Done.data is gone"),
    "a field of a request": ("ChatRequest/properties/mode", None, "ChatRequest.mode is gone"),
    "a value": (
        "Summary/properties/status/anyOf/0/enum",
        without("paused"),
        'Summary.status is no longer "paused"',
    ),
    "a value of a request": (
        "ChatRequest/properties/mode/enum",
        without("light"),
        'ChatRequest.mode is no longer "light"',
    ),
    "another type": (
        "Usage/properties/input_tokens/type",
        "string",
        "Usage.input_tokens may now be string",
    ),
    "a narrower type of a request": (
        "ChatRequest/properties/model",
        {"type": "string"},
        "ChatRequest.model is no longer null",
    ),
    "null": (
        "Connected/properties/workflow_id",
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "Connected.workflow_id may now be null",
    ),
    "a required field": (
        "ChatRequest/required",
        with_more("mode"),
        "ChatRequest now requires mode",
    ),
    "a field that may be missing": (
        "UiHint/required",
        without("collapsible"),
        "UiHint.collapsible may now be missing",
    ),
    "a bound": (
        "ChatRequest/properties/message/maxLength",
        100,
        "ChatRequest.message has a lower maxLength: 100",
    ),
}


@pytest.mark.parametrize(("path", "change", "words"), BREAKS.values(), ids=BREAKS.keys())
def test_what_breaks_programs_is_named(path: str, change: Any, words: str) -> None:
    assert breaking(written(EVENTS), changed(path, change)) == [words]


ADDS: dict[str, tuple[str, Any]] = {
    "a type of event": ("Question", {"type": "object", "properties": {}}),
    "a field": ("Done/properties/more", {"type": "string"}),
    "a field of a request": ("ChatRequest/properties/more", {"type": "string", "default": ""}),
    "a value": ("Summary/properties/status/anyOf/0/enum", with_more("declined")),
    "a value of a request": (
        "ChatRequest/properties/mode/enum",
        with_more("other"),
    ),
    "a field that is always there": ("Timings/required", ["total_ms"]),
    "a wider bound": ("ChatRequest/properties/message/maxLength", 100_000),
}


@pytest.mark.parametrize(("path", "change"), ADDS.values(), ids=ADDS.keys())
def test_what_is_added_breaks_nothing(path: str, change: Any) -> None:
    assert breaking(written(EVENTS), changed(path, change)) == []


def test_route_that_is_gone_or_asks_for_more_is_named() -> None:
    old = {
        "paths": {
            "/a": {"get": {"responses": {"200": {}}, "parameters": []}},
            "/b": {"get": {"responses": {"200": {}}}},
            "/c": {"get": {"responses": {"200": {}}}},
        }
    }
    new = copy.deepcopy(old)
    needed = {"name": "of", "in": "query", "required": True, "schema": {"type": "string"}}
    new["paths"]["/a"]["get"]["parameters"] = [needed]
    del new["paths"]["/b"]
    new["paths"]["/c"]["get"]["responses"] = {"201": {}}
    assert breaking(old, new) == [
        "GET /a now requires of",
        "GET /b is gone",
        "GET /c no longer answers with 200",
    ]


def test_every_event_and_request_has_a_schema() -> None:
    assert names() == {TYPE_OF[kind]: kind.__name__ for kind in EVENT_TYPES}
    Draft202012Validator.check_schema(written(EVENTS))
    for kind in EVENT_TYPES:
        schema = written(EVENTS)["$defs"][kind.__name__]
        envelope = {"type", "seq", "workflow_id", "timestamp", "category", "ui_hint", "log_line"}
        assert envelope <= set(schema["required"]), kind
        assert "additionalProperties" not in schema, "it must stay open"


ASKED = {"message": "Hello?", "message_id": ID}
REPLIED = {
    "type": "reply",
    "message_id": ID,
    "continues": OTHER_ID,
    "replies": [{"ask_id": ID, "decision": "approve"}],
}
REQUESTS: dict[str, tuple[dict[str, Any], bool]] = {
    "least": ({}, True),
    "longest": ({"message": "a" * MAX_MESSAGE}, True),
    "too long": ({"message": "a" * (MAX_MESSAGE + 1)}, False),
    "empty": ({"message": ""}, False),
    "blank": ({"message": " \n\t"}, False),
    "blank around": ({"message": " \n a b \n"}, True),
    "NUL": ({"message": "a\0b"}, False),
    "model": ({"model": "a" * MAX_MODEL}, True),
    "long model": ({"model": "a" * (MAX_MODEL + 1)}, False),
    "blank model": ({"model": " "}, False),
    "no model": ({"model": None}, True),
    "after": ({"after": MAX_SEQ}, True),
    "after more": ({"after": MAX_SEQ + 1}, False),
    "after less": ({"after": -1}, False),
    "mode": ({"mode": "other"}, False),
    "unknown": ({"unknown": 1}, False),
}


@pytest.mark.parametrize(("fields", "is_taken"), REQUESTS.values(), ids=REQUESTS.keys())
def test_schema_of_a_request_allows_what_is_taken(fields: dict[str, Any], is_taken: bool) -> None:
    frame = json.dumps({**ASKED, **fields})
    assert fits("ChatRequest", frame) == is_taken
    assert takes(ChatRequest, frame) == is_taken


REPLIES: dict[str, tuple[dict[str, Any], bool]] = {
    "one": ({}, True),
    "none": ({"replies": []}, False),
    "long": ({"replies": [{"ask_id": ID, "decision": "answer", "text": "a" * 32_001}]}, False),
    "NUL": ({"replies": [{"ask_id": ID, "decision": "answer", "text": "\0"}]}, False),
    "after less": ({"after": -1}, False),
}


@pytest.mark.parametrize(("fields", "is_taken"), REPLIES.values(), ids=REPLIES.keys())
def test_schema_of_a_reply_allows_what_is_taken(fields: dict[str, Any], is_taken: bool) -> None:
    frame = json.dumps({**REPLIED, **fields})
    assert fits("ReplyRequest", frame) == is_taken
    assert takes(ReplyRequest, frame) == is_taken


def takes(struct: Any, frame: str) -> bool:
    try:
        msgspec.json.decode(frame, type=struct)
    except msgspec.ValidationError:
        return False
    return True


def test_openapi_has_every_route() -> None:
    paths = written("openapi.json")["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert told == {(route.method, NAME.sub(r"{\1}", route.path)) for route in ROUTES}
    operations = [each for methods in paths.values() for each in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)


def test_openapi_is_valid_openapi() -> None:
    found = in_python(
        "valid_openapi.py",
        str(WRITTEN / "openapi.json"),
        packages=("openapi-spec-validator==0.9.0",),
    )
    assert found == []


def test_asyncapi_is_valid_asyncapi() -> None:
    schema = in_node("asyncapi_schema.mjs", packages=("@asyncapi/specs@6.11.1",))
    document = written("asyncapi.json")
    Draft7Validator(schema).validate(document)
    for name, message in document["channels"]["chat"]["messages"].items():
        file, _, place = message["payload"]["schema"]["$ref"].partition("#")
        assert (file, place) == (EVENTS, f"/$defs/{name}")
        assert name in written(EVENTS)["$defs"]


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json", EVENTS])
async def test_contract_is_served_without_a_token(doors: Doors, name: str, settings: Any) -> None:
    settings.FLEET_API = "tokens"
    response = await doors.get(f"/api/v1/{name}", headers={"authorization": ""})
    assert response.status == 200
    assert response.json.keys() == written(name).keys()
    settings.FLEET_API = "off"
    assert (await doors.get(f"/api/v1/{name}")).status == 404


async def test_served_contract_names_this_server(doors: Doors, settings: Any) -> None:
    document = (await doors.get("/api/v1/openapi.json")).json
    assert document["servers"] == [{"url": "http://testserver"}]
    assert document["info"]["version"] == settings.FLEET_VERSION
    settings.FLEET_PUBLIC_URL = "https://chat.example/fleet/"
    document = (await doors.get("/api/v1/openapi.json")).json
    assert document["servers"] == [{"url": "https://chat.example/fleet"}]
    [server] = (await doors.get("/api/v1/asyncapi.json")).json["servers"].values()
    assert (server["protocol"], server["host"]) == ("wss", "chat.example")
    assert server["pathname"] == "/fleet"
