"""The look-up of a model server on this machine: what is used, and what is only told."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from agenticfleet.lookup import around as lookup_around
from agenticfleet.lookup import owners
from agenticfleet.lookup.around import LOOPBACK, PORTS, Surroundings, look_around, places
from agenticfleet.lookup.exchange import MAX_BODY_BYTES, Place
from agenticfleet.lookup.servers import LocalModel, parameters_in
from tests.fleet.neighbours import (
    Neighbour,
    http,
    listening,
    listing,
    lm_studio,
    ollama,
    tag,
)

GB = 10**9
PATIENCE = 10.0  # seconds, on a busy machine


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no busy machine decide what is found."""
    monkeypatch.setattr(lookup_around, "DEADLINE", 20.0)
    monkeypatch.setattr(lookup_around, "IDENTIFYING", 10.0)


@pytest.fixture
def _short_deadline(_time_enough: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_around, "DEADLINE", 2.0)
    monkeypatch.setattr(lookup_around, "IDENTIFYING", 1.5)


async def around(*neighbours: Neighbour, available: int = 16 * GB) -> Surroundings:
    async with listening(*neighbours) as where:
        return await look_around(where, available=available)


def chosen(seen: Surroundings) -> str:
    return seen.chosen.model.id if seen.chosen else ""


async def test_nothing_there_is_no_model_and_no_complaint() -> None:
    async with listening(Neighbour()) as where:
        pass  # The port is closed now.
    assert await look_around(where, available=GB) == Surroundings()


async def test_ollama_is_found_with_the_largest_model_that_fits() -> None:
    seen = await around(
        ollama(
            tag("nomic-embed-text", 0.3, family="nomic-bert"),
            tag("qwen3.5:397b-cloud", 0.1, remote_host="https://ollama.com"),
            tag("llama3.3:70b", 42),
            tag("qwen3.5:4b", 3),
            tag("qwen3.5:2b", 1),
        )
    )
    assert chosen(seen) == "qwen3.5:4b"
    assert seen.chosen
    assert str(seen.chosen).startswith("qwen3.5:4b by Ollama on 127.0.0.1:")
    assert seen.chosen.server.base_url.endswith("/v1")


@pytest.mark.parametrize(("available", "name"), [(3, "qwen3.5:2b"), (1, "")])
async def test_only_what_fits_into_memory_with_room_is_chosen(available: int, name: str) -> None:
    models = ollama(tag("qwen3.5:4b", 3), tag("qwen3.5:2b", 1))
    assert chosen(await around(models, available=available * GB)) == name


async def test_loaded_model_is_preferred_on_any_server() -> None:
    seen = await around(
        ollama(tag("qwen3.5:8b", 5)),
        lm_studio(
            {"id": "big-9b", "type": "llm", "state": "not-loaded"},
            {"id": "text-embedding-9b", "type": "embeddings", "state": "loaded"},
            {"id": "qwen3.5-2b", "type": "llm", "state": "loaded"},
        ),
    )
    assert chosen(seen) == "qwen3.5-2b"
    assert [str(server.kind) for server in seen.servers] == ["Ollama", "LM Studio"]


@pytest.mark.parametrize(
    ("owner", "listed", "name"),
    [
        ("llamacpp", "/models/Qwen3.5-4B-Q4_K_M.gguf", "Qwen3.5-4B-Q4_K_M"),
        ("llamacpp", "gemma", "gemma"),
        ("vllm", "Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-9B"),
        # Their servers list these like all others.
        ("llamacpp", "/models/bge-m3-Q8_0.gguf", ""),
        ("vllm", "BAAI/bge-reranker-v2-m3", ""),
        ("vllm", "openai/whisper-large-v3", ""),
        ("vllm", "allenai/olmOCR-7B", ""),
        ("vllm", "google/gemma-4-9b-base", ""),
        ("vllm", "meta-llama/Llama-Guard-4-12B", ""),
    ],
)
async def test_server_that_names_itself_in_its_list_is_used_for_models_that_chat(
    owner: str, listed: str, name: str
) -> None:
    seen = await around(listing(listed, owner=owner))
    assert chosen(seen) == name
    assert name or "no model that can chat" in str(seen.unusable[0])


async def test_ollama_model_that_cannot_chat_by_its_capabilities_is_left_out() -> None:
    seen = await around(ollama(tag("mystery:4b", 3), shows={"capabilities": ["embedding"]}))
    assert chosen(seen) == ""


@pytest.mark.parametrize(
    ("neighbour", "problem"),
    [
        (listing("gpt", owner="someone"), "doesn't say what it is"),
        (listing("a", owner="agenticfleet"), "is another AgenticFleet"),
        (Neighbour({"/v1/models": (401, {"error": "no key"})}), "wants a key"),
        (
            Neighbour(
                {
                    "/v1/models": (
                        503,
                        {"error": {"message": "Loading model", "type": "unavailable_error"}},
                    )
                }
            ),
            "llama.cpp on",
        ),
    ],
)
async def test_program_that_is_not_used_is_told_with_the_reason(
    neighbour: Neighbour, problem: str
) -> None:
    seen = await around(neighbour)
    assert seen.chosen is None
    [unusable] = seen.unusable
    assert problem in str(unusable)


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    for byte in http(b"{}" * 1000):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)  # The pace of this program, not a wait of the test.


async def pour(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n[")
    while True:
        writer.write(b"0," * 50_000)
        await writer.drain()


async def greet(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def send_long(writer: asyncio.StreamWriter) -> None:
    listed = b'{"data": [{"id": "qwen3:32b", "owned_by": "vllm"}]}'
    writer.write(http(listed + b" " * MAX_BODY_BYTES))
    await writer.drain()


@pytest.mark.usefixtures("_short_deadline")
@pytest.mark.parametrize(
    ("behaves", "problem"),
    [
        (say_nothing, "says nothing"),
        (drip, "says nothing"),
        (pour, None),
        (greet, None),
        (send_long, None),
    ],
)
async def test_program_that_behaves_badly_takes_no_longer_than_the_deadline(
    behaves: Any, problem: str | None
) -> None:
    begun = time.perf_counter()
    seen = await around(Neighbour(behaves=behaves), ollama(tag("qwen3.5:2b", 1)))
    assert time.perf_counter() - begun < PATIENCE
    assert chosen(seen) == "qwen3.5:2b"
    assert [str(server.kind) for server in seen.servers] == ["Ollama"]
    if problem:
        assert problem in str(seen.unusable[0])


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html><title>My app</title>",
        [],
        {"data": None},
        {"data": [{"id": ["x"]}], "models": 7},
        {"data": [{"id": "x" * 5000, "owned_by": "vllm"}]},
        b"[" * 100_000,
        {"data": [None, 1, "x", {"owned_by": {"a": 1}}]},
        {"version": 7, "models": {"a": {"size": "big", "details": []}}, "state": {}},
    ],
)
async def test_wrong_shapes_are_never_used_and_raise_nothing(content: Any) -> None:
    paths = ("/api/version", "/api/tags", "/api/ps", "/api/v0/models", "/v1/models")
    assert (await around(Neighbour(dict.fromkeys(paths, content)))).chosen is None


@pytest.mark.parametrize("field", ["size", "max_context_length"])
async def test_numbers_beyond_all_bounds_raise_nothing(field: str) -> None:
    entry = {"name": "qwen3.5:2b", field: 10**400}
    contents = {"/api/version": {"version": "1"}, "/api/tags": {"models": [entry]}}
    assert chosen(await around(Neighbour(contents))) == "qwen3.5:2b"


async def test_redirect_is_not_followed() -> None:
    good = ollama(tag("qwen3.5:2b", 1))
    async with listening(good) as [place]:

        async def redirect(writer: asyncio.StreamWriter) -> None:
            target = f"Location: http://{place}/v1/models\r\n"
            writer.write(http(b"", status=307, headers=target))

        seen = await around(Neighbour(behaves=redirect))
    assert seen == Surroundings()
    assert good.heads == []


async def test_requests_hold_no_key_and_no_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    asked = ollama(tag("qwen3.5:2b", 1))
    assert chosen(await around(asked)) == "qwen3.5:2b"
    names = {line.split(":")[0].lower() for head in asked.heads for line in head.splitlines()[1:]}
    assert names - {""} == {"host", "accept", "content-type", "content-length", "connection"}
    posts = [head for head in asked.heads if head.startswith("POST")]
    assert [head.split(" ")[1] for head in posts] == ["/api/show"]


# --- Who listens


def test_own_listener_is_trusted_and_that_of_another_person_is_not(tmp_path: Path) -> None:
    row = "  0: {host}:2CAA 00000000:0000 0A 0:0 00:0 0 {uid} 0 1\n"
    table = tmp_path / "tcp"

    def trusts(*listeners: tuple[str, int]) -> bool:
        rows = [row.format(host=host, uid=uid) for host, uid in listeners]
        table.write_text("sl local_address …\n" + "".join(rows))
        return owners.is_trusted(11434, [table])

    assert trusts(("0100007F", os.getuid()))
    assert trusts(("00000000", 0))
    assert trusts(("0100007F", 998))  # Ollama's own user
    assert not trusts(("0100007F", os.getuid() + 1001))
    assert not trusts(("0100007F", 998), ("00000000", 1999))
    assert not trusts()
    assert not trusts(("0200007F", 0))  # another address of this machine


async def test_server_of_another_person_is_told_but_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "FIRST_PERSON", -1)
    monkeypatch.setattr(os, "getuid", lambda: -7)
    seen = await around(ollama(tag("qwen3.5:2b", 1)))
    assert seen.chosen is None
    assert "was started by another user" in str(seen.unusable[0])


# --- Where to look


@pytest.mark.parametrize(
    ("host", "first"),
    [
        ("", Place(LOOPBACK, 11434)),
        ("0.0.0.0", Place(LOOPBACK, 11434)),
        ("localhost:5000", Place(LOOPBACK, 5000)),
        (":5000", Place(LOOPBACK, 5000)),
        ("http://127.0.0.1:5000/", Place(LOOPBACK, 5000)),
        ("http://localhost", Place(LOOPBACK, 80)),
        ("[::1]:5000", Place("::1", 5000)),
        ("192.168.1.7:11434", Place(LOOPBACK, 11434)),
        ("ollama.example:5000", Place(LOOPBACK, 11434)),
        ("https://127.0.0.1", Place(LOOPBACK, 11434)),
        ("nonsense:port", Place(LOOPBACK, 11434)),
    ],
)
def test_ollama_host_counts_only_if_it_names_this_machine(host: str, first: Place) -> None:
    found = places(host)
    assert found[0] == first
    assert {place.port for place in found} >= set(PORTS)


def test_own_port_is_not_asked() -> None:
    assert 8000 not in [place.port for place in places(own_port=8000)]


@pytest.mark.parametrize(
    ("text", "billions"),
    [
        ("4.0B", 4.0),
        ("135M", 0.135),
        ("qwen3.5-4b-q4_k_m", 4.0),
        ("mixtral-8x7b", 56.0),
        ("phi", None),
    ],
)
def test_parameters_are_read_from_names(text: str, billions: float | None) -> None:
    assert parameters_in(text) == billions
    assert LocalModel(text, is_loaded=False, parameters=billions).can_chat
