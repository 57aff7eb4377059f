"""Where the model comes from: the settings, a file, a server on this machine, or the package."""

import asyncio
import json
import os
import struct
import time
import urllib.request
from pathlib import Path

import pytest
from pytest_django import Settings

from agenticfleet import embedded, sources
from agenticfleet.gguf import ModelFileError, checked, read_header
from agenticfleet.lookup import around
from agenticfleet.lookup.choice import Found
from agenticfleet.lookup.exchange import Place
from agenticfleet.lookup.servers import LocalModel, Server
from agenticfleet.management.commands import serve_model
from agenticfleet.modelserver import Told, load
from agenticfleet.overview import model_lines
from agenticfleet.sources import Choice, Search, model_file, way
from chat.llm.faults.verdicts import unreachable
from chat.llm.listing import ListedModel, Listing
from chat.llm.local_servers import READ_MORE, START_AGAIN, Kind
from chat.llm.servers import Server as ModelServer
from tests.fleet.gguf_files import CHAT, text, write_gguf
from tests.fleet.neighbours import listening, ollama, tag
from tests.scripted_model import ScriptedModel
from tests.serving import end, launch

GB = 10**9
FOUND = Found(
    Server(
        Place("127.0.0.1", 11434),
        Kind.OLLAMA,
        (LocalModel("qwen3.5:4b", is_loaded=False), LocalModel("llama3.3:70b", is_loaded=False)),
    ),
    LocalModel("qwen3.5:4b", is_loaded=False),
)


@pytest.fixture(autouse=True)
def _alone(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a state folder of one's own, and no other programs on this machine."""
    settings.FLEET_STATE_DIR = tmp_path
    monkeypatch.setattr(around, "PORTS", (1,))
    monkeypatch.setattr(around, "IDENTIFYING", 10.0)
    monkeypatch.setattr(around, "DEADLINE", 20.0)


async def choice(**options: bool) -> Choice:
    return await asyncio.to_thread(lambda: Search(**{"is_local": True, **options}).result())


# --- Their order


async def test_file_comes_before_a_fetched_one_and_that_before_a_found_server(
    settings: Settings, tmp_path: Path
) -> None:
    settings.FLEET_LOOK = "on"
    server = ollama(tag("qwen3.5:2b", 0.1))
    async with listening(server) as [place]:
        settings.OLLAMA_HOST = str(place)
        assert str(await choice()).startswith("qwen3.5:2b by Ollama on 127.0.0.1:")
        server.heads.clear()
        (tmp_path / "models").mkdir()
        old, new = (write_gguf(tmp_path / f"models/{name}.gguf") for name in ("old", "new"))
        os.utime(old, (1, 1))
        assert (await choice()).file == new
        settings.FLEET_MODEL_FILE = str(write_gguf(tmp_path / "mine.gguf"))
        chosen = await choice()
        assert (chosen.file, chosen.name) == (tmp_path / "mine.gguf", "mine")
    assert not chosen.is_stand_in
    assert server.heads == []


async def test_found_model_is_told_but_not_used_if_the_setting_says_so(settings: Settings) -> None:
    settings.FLEET_LOOK = "tell"
    async with listening(ollama(tag("qwen3.5:2b", 0.1))) as [place]:
        settings.OLLAMA_HOST = str(place)
        chosen = await choice()
    assert chosen.is_stand_in
    lines = model_lines((), choice=chosen)
    assert f"qwen3.5:2b by Ollama on {place} runs on this machine: FLEET_LOOK=on" in lines[1]


async def test_nothing_is_asked_if_the_setting_is_off(settings: Settings) -> None:
    async with listening(ollama(tag("qwen3.5:2b", 0.1))) as [place]:
        settings.OLLAMA_HOST, settings.FLEET_LOOK = str(place), "off"
        assert (await choice()) == Choice()


@pytest.mark.parametrize(
    ("setting", "is_local", "in_container", "result"),
    [
        ("auto", True, False, "on"),
        ("auto", False, False, "tell"),
        ("auto", True, True, "tell"),
        ("on", False, True, "on"),
        ("off", True, False, "off"),
    ],
)
def test_found_model_is_used_by_itself_only_if_no_one_else_reaches_the_fleet(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    setting: str,
    is_local: bool,
    in_container: bool,
    result: str,
) -> None:
    settings.FLEET_LOOK = setting
    sign = tmp_path if in_container else tmp_path / "missing"
    monkeypatch.setattr(sources, "CONTAINER_FILES", (sign,))
    assert way(is_local=is_local) == result


async def test_another_model_than_at_the_last_start_is_said(settings: Settings) -> None:
    settings.FLEET_LOOK = "on"
    async with listening(ollama(tag("a:2b", 0.1)), ollama(tag("b:2b", 0.1))) as [first, second]:
        settings.OLLAMA_HOST = str(first)
        assert (await choice()).notes == ()
        assert (await choice()).notes == ()
        settings.OLLAMA_HOST = str(second)
        assert (await choice()).notes == (f"it was a:2b by Ollama on {first} before",)


# --- Files


def test_header_tells_what_serving_needs(tmp_path: Path) -> None:
    header = checked(write_gguf(tmp_path / "m.gguf"), available=GB)
    params = serve_model.params_of_file(header)
    assert params.n_ctx == 2 * 8192
    assert params.sampling.temp == 0.25
    assert params.sampling.top_p == pytest.approx(0.9)
    assert params.sampling.penalty_repeat == 1.0
    assert params.default_template_kwargs == {"enable_thinking": "false"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"general.architecture": "gemma3"}, "has no chat template"),
        ({**CHAT, "bert.pooling_type": 1}, "for embeddings"),
    ],
)
def test_file_of_a_model_that_cannot_chat_is_refused(
    tmp_path: Path, values: dict[str, str | int], problem: str
) -> None:
    with pytest.raises(ModelFileError, match=problem):
        checked(write_gguf(tmp_path / "m.gguf", values), available=GB)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", b"GG"])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelFileError, match="is no GGUF file"):
        read_header(tmp_path / "m.gguf")


def test_file_that_was_cut_anywhere_in_its_header_is_refused(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    for size in range(4, len(whole)):
        (tmp_path / "m.gguf").write_bytes(whole[:size])
        with pytest.raises(ModelFileError, match="damaged or incomplete"):
            read_header(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    "value",
    [
        struct.pack("<IIQ", 9, 8, 2**40),  # words without an end
        struct.pack("<IQ", 8, 2**24),  # a text
    ],
)
def test_file_with_a_huge_value_is_refused_at_once(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + value)
    os.truncate(path, 2**33)  # of zeros: each is a word of no letters
    begun = time.thread_time()
    with pytest.raises(ModelFileError, match="damaged or incomplete"):
        read_header(path)
    assert time.thread_time() - begun < 1


def test_link_to_a_fetched_file_that_is_gone_is_left_out(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.gguf").symlink_to(tmp_path / "gone.gguf")
    assert model_file() == (None, ())


def test_file_larger_than_the_free_memory_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "available_bytes", lambda: 100)
    (tmp_path / "models").mkdir()
    path = write_gguf(tmp_path / "models/m.gguf")
    file, [note] = model_file()
    assert file is None
    assert note.startswith(f"not used: {path} needs more memory than there is")
    settings.FLEET_MODEL_FILE = str(path)
    with pytest.raises(ModelFileError, match="needs more memory"):
        model_file()


@pytest.mark.builtin_model
def test_model_in_a_file_is_served_and_found_with_its_context() -> None:
    file = serve_model.weights()
    with embedded.Watcher() as watcher:
        child = embedded.start_model(watcher, file)
        try:
            embedded.wait_until_answering([child])
            with urllib.request.urlopen(f"{child.url}/models") as reply:
                [model] = json.load(reply)["data"]
            assert model["id"] == file.stem
            port = int(child.url.split(":")[2].split("/")[0])
            seen = asyncio.run(around.look_around([Place("127.0.0.1", port)], available=GB))
        finally:
            child.stop()
    assert seen.chosen
    assert str(seen.chosen) == f"{file.stem} by llama.cpp on 127.0.0.1:{port}"


# --- A fleet with a server that it found


def play_ollama(model: ScriptedModel) -> None:
    name = "scripted:2b"
    model.replies |= {
        "/api/version": {"version": "0.33.3"},
        "/api/tags": {"models": [tag(name, 1)]},
        "/api/ps": {"models": [{"name": name, "context_length": 4096}]},
        f"/api/show/{name}": {
            "capabilities": ["completion"],
            "model_info": {"qwen35.context_length": 40960},
        },
        "/v1/models": {"object": "list", "data": [{"id": name, "owned_by": "library"}]},
    }


def test_fleet_uses_the_server_that_it_found_and_says_so(
    tmp_path: Path, model: ScriptedModel
) -> None:
    play_ollama(model)
    place = model.url.removeprefix("http://").removesuffix("/v1")
    fleet = launch(
        tmp_path, FLEET_LOOK="on", OLLAMA_HOST=place, OPENAI_DEFAULT_HEADERS='{"X-Key": "secret"}'
    )
    try:
        fleet.wait_until_ready()
        with fleet.ask("Hello?") as client:
            events = [json.loads(frame) for frame in client]
        assert f"scripted:2b by Ollama on {place}, found on this machine" in fleet.said
        assert "its context is 4,096 tokens" in fleet.said
        assert "GB of memory" in fleet.said
        assert not fleet.children("serve_model")
        assert fleet.card["model_server"] == "Ollama"
    finally:
        end(fleet)
    assert events[-1]["data"]["status"] == "completed"
    assert model.calls
    assert not any("x-key" in call.headers for call in model.calls)


def test_model_that_is_not_loaded_yet_is_loaded_without_a_prompt(model: ScriptedModel) -> None:
    model.replies["/api/generate/qwen3.5:4b"] = {"done": True}
    port = int(model.url.split(":")[2].split("/")[0])
    load(Found(Server(Place("127.0.0.1", port), Kind.OLLAMA), FOUND.model))
    assert model.asked[-1] == "/api/generate/qwen3.5:4b"


def test_start_says_what_was_found_and_how_to_raise_its_context() -> None:
    choice = Choice(found=FOUND, around=around.Surroundings(FOUND, (FOUND.server,)))
    told = ListedModel(id="qwen3.5:4b", context_tokens=4096, cuts_silently=True)
    server = ModelServer(FOUND.server.base_url)
    listing = Listing(server.base_url, (told,))
    assert model_lines([Told(server, ["qwen3.5:4b"], listing)], choice=choice) == [
        "  model       qwen3.5:4b by Ollama on 127.0.0.1:11434, found on this machine (also:"
        " llama3.3:70b); FLEET_LOOK=off to not use it",
        "              its context is 4,096 tokens: long chats lose their beginning;"
        " `OLLAMA_CONTEXT_LENGTH=16384 ollama serve` raises it",
    ]


def test_operator_alone_learns_how_to_start_a_server_that_is_gone(settings: Settings) -> None:
    settings.FLEET_MODEL_SERVER = "Ollama"
    gone = unreachable("127.0.0.1:11434", proxy="", reason="connection refused")
    assert gone.advice.startswith("It is Ollama on this machine. Start it again: ollama serve")
    assert "Ollama" not in str(gone)
    assert set(START_AGAIN) == set(READ_MORE) == set(Kind)
