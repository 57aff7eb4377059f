"""What a server tells of itself over HTTP: its base URL, its models and their windows."""

import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from chat.llm.catalog import Catalog, look
from chat.llm.connection import Connection
from chat.llm.listing import MAX_MODELS, Listing
from chat.llm.windows import Budget
from tests.scripted_model import ScriptedModel

LLAMA = {"data": [{"id": "/q.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 16_384}}]}
OLLAMA = {"object": "list", "data": [{"id": "q:latest", "owned_by": "library"}]}
SHOWN = {"model_info": {"qwen3.context_length": 40_960}, "parameters": "stop x\nnum_ctx   8192"}


@pytest_asyncio.fixture
async def connection(model: ScriptedModel) -> AsyncIterator[Connection]:
    connection = Connection(model.url)
    yield connection
    await connection.aclose()


async def read_by(connection: Connection, name: str) -> int | None:
    return (await look(connection, [name])).read_by(name)


# --- The base URL


async def test_base_url_without_a_version_gets_it_if_the_models_are_there(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "q", "max_model_len": 8192}]}
    connection.base_url = model.url.removesuffix("/v1")
    listing = await look(connection, ["q"])
    assert listing.base_url == model.url
    assert listing.read_by("q") == 8192
    assert model.asked == ["/models", "/v1/models"]


async def test_listing_of_thousands_of_models_is_read(
    model: ScriptedModel, connection: Connection
) -> None:
    described = [{"id": f"m{n}", "description": "x" * 1000} for n in range(5_000)]
    model.replies["/v1/models"] = {"data": described}
    assert len((await look(connection, [])).models) == MAX_MODELS


async def test_base_url_stays_if_the_server_lists_nothing(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies["/models"] = b"<!doctype html><title>Welcome</title>"
    connection.base_url = model.url.removesuffix("/v1")
    listing = await look(connection, [])
    assert listing == Listing(connection.base_url)


async def test_catalog_moves_the_connection_to_the_base_url_with_models(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies["/v1/models"] = ["q"]
    connection.base_url = model.url.removesuffix("/v1")
    catalog = Catalog(connection, budget=Budget(), models=["q"])
    await catalog.refresh()
    assert connection.base_url == model.url
    assert [listed.id for listed in Listing.latest.models] == ["q"]
    model.replies["/v1/models"] = 503
    assert (await catalog.refresh()).problem == "answers with status 503"
    assert connection.base_url == model.url
    assert [listed.id for listed in Listing.latest.models] == ["q"], "what it told before is kept"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (404, ""),
        (405, ""),
        (401, "refuses the key (status 401)"),
        (502, "answers with status 502"),
        (
            (400, {"error": {"message": "no good", "type": "no_db_connection"}}),
            "refuses the key (status 400)",
        ),
        ((400, {"error": {"message": "There is no list here"}}), ""),
        ((503, {"error": {"message": "Loading model", "code": 503}}), "is still loading a model"),
        ((503, {"error": {"message": "Too busy"}}), "answers with status 503"),
    ],
)
async def test_reply_says_whether_the_server_can_be_used(
    model: ScriptedModel, connection: Connection, reply: object, problem: str
) -> None:
    model.replies["/v1/models"] = reply
    assert (await look(connection, [])).problem == problem
    fault = await Catalog(connection, budget=Budget()).fault()
    assert fault == (f"the model server {problem}" if problem else "")


async def test_refused_connection_is_named_without_the_address(connection: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection.base_url = f"http://user:word@127.0.0.1:{server.getsockname()[1]}/v1"
    assert (await look(connection, [])).problem == "cannot be reached: connection refused"


# --- Windows that are told beside the listing


async def test_llama_cpp_tells_the_window_of_one_answer(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies["/v1/models"] = LLAMA
    model.replies["/props"] = {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 4}
    assert await read_by(connection, "any name") == 4096


async def test_ollama_reads_what_its_modelfile_says(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies |= {"/v1/models": OLLAMA, "/api/show/q": SHOWN, "/api/show/q:latest": SHOWN}
    listing = await look(connection, ["q"])
    [found] = listing.models
    assert (found.context_tokens, found.possible_tokens) == (8192, 40_960)
    assert found.cuts_silently


@pytest.mark.parametrize(("loaded", "reads"), [([], 4096), ([{"name": "q"}], 4096)])
async def test_ollama_reads_4096_tokens_if_nothing_tells_more(
    model: ScriptedModel, connection: Connection, loaded: list[Any], reads: int
) -> None:
    model.replies |= {"/v1/models": OLLAMA, "/api/ps": {"models": loaded}}
    model.replies["/api/show/q"] = {"model_info": {"llama.context_length": 131_072}}
    assert await read_by(connection, "q") == reads


async def test_ollama_reads_what_a_loaded_model_was_loaded_for(
    model: ScriptedModel, connection: Connection
) -> None:
    loaded = {"models": [{"name": "q:latest", "model": "q:latest", "context_length": 16_384}]}
    model.replies |= {"/v1/models": OLLAMA, "/api/ps": loaded, "/api/show/q": SHOWN}
    assert await read_by(connection, "q") == 16_384


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("/model/info", {"data": [{"model_name": "q", "model_info": {"max_input_tokens": 8192}}]}),
        ("/api/v0/models", {"data": [{"id": "q", "loaded_context_length": 8192}]}),
        ("/info", {"model_id": "q", "max_total_tokens": 8192}),
    ],
)
async def test_other_servers_tell_windows_beside_the_listing(
    model: ScriptedModel, connection: Connection, path: str, reply: dict[str, Any]
) -> None:
    model.replies |= {"/v1/models": {"data": [{"id": "q"}]}, path: reply}
    assert await read_by(connection, "q") == 8192


async def test_told_windows_are_not_asked_for_again(
    model: ScriptedModel, connection: Connection
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "q", "context_length": 8192}, {"id": "r"}]}
    assert await read_by(connection, "q") == 8192
    assert model.asked == ["/v1/models"]


async def test_strange_replies_tell_nothing(model: ScriptedModel, connection: Connection) -> None:
    deep = b'{"data": ' * 200_000
    paths = ("/v1/models", "/props", "/info", "/api/ps", "/api/v0/models", "/model/info")
    model.replies |= dict.fromkeys((*paths, "/api/show/q"), deep)
    assert await look(connection, ["q"]) == Listing(model.url)


# --- What operators read in the log


async def test_smaller_window_than_the_setting_is_logged_once(
    model: ScriptedModel, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    model.replies |= {"/v1/models": OLLAMA, "/api/show/q": SHOWN}
    catalog = Catalog(connection, budget=Budget(context_tokens=9000), models=["q"])
    with caplog.at_level(logging.WARNING, "chat.llm"):
        await catalog.refresh()
        await catalog.refresh()
    assert [record.getMessage() for record in caplog.records] == [
        "model=q reads 8192 tokens, but FLEET_CONTEXT_TOKENS is 9000; the rest is lost"
    ]


async def test_model_that_is_not_listed_is_logged(
    model: ScriptedModel, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    model.replies["/v1/models"] = ["r"]
    with caplog.at_level(logging.WARNING, "chat.llm"):
        await Catalog(connection, budget=Budget(), models=["q"]).refresh()
    assert [record.getMessage() for record in caplog.records] == [
        "model=q is not among the models that its server lists"
    ]
