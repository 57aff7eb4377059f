"""Real servers of other projects, as they come from PyPI: start, ask, call a tool, fail.

    uv run pytest tests/compat/real_servers.py -o faulthandler_timeout=0

Four minutes on an idle machine: llama.cpp computes. The first time takes longer, because uv
installs LiteLLM's proxy into its cache. It stands in front of the scripted model. llama.cpp's
server comes with xllamacpp; its model is too weak to call a tool by itself, so the router calls it.
These tests are not part of a usual run.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.chatting import Event, chat_request, is_terminal, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import STOP, Fleet, end, launch, until

LITELLM = "1.108.7"
CALLER = "made-by-us-so-that-chats-go-on-0123456789"  # at a fleet that asks for no tokens
INSTALL, READY = 600, 120  # seconds
KEY = "sk-real-0123456789"
WRONG_KEY = "sk-wrong-0123456789"
LISTED = {  # models of LiteLLM's proxy, and what it knows of them
    "scripted": {"max_input_tokens": 8192, "max_output_tokens": 1000},
    "other": {},
    "gpt-4o": {},
    "text-embedding-3-small": {},
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def process(
    command: Sequence[str], log: Path, ready_url: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block, from when `ready_url` replies with status 200."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        until(
            lambda: is_ready(ready_url) or server.poll() is not None,
            READY,
            f"{command} is not ready: {log.read_text()[-2000:]}",
        )
        assert server.poll() is None, log.read_text()[-2000:]
        yield server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(STOP)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def fleet_at(base_url: str, folder: Path, **environment: str) -> Iterator[Fleet]:
    """Yield a fleet that asks the server at this URL; end it after the block."""
    folder.mkdir()
    settings = {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": KEY,
        "FLEET_MODEL": "scripted",
        "FLEET_LIGHT_THRESHOLD": "0",
        "FLEET_MAX_OUTPUT_TOKENS": "20",
        **environment,
    }
    fleet = launch(folder, "--workers", "1", **settings)
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        end(fleet)


def ask(fleet: Fleet, question: str, **fields: Any) -> list[Event]:
    """Return the events of an answer up to the terminal one."""
    events: list[Event] = []
    address = fleet.address.replace("http", "ws") + "ws/chat/"
    with connect(address, additional_headers={"Authorization": f"Bearer {CALLER}"}) as client:
        client.send(json.dumps(chat_request(question, **fields)))
        while not (events and is_terminal(events[-1])):
            events.append(json.loads(client.recv(timeout=300)))
    return events


def completed(events: Sequence[Event]) -> Mapping[str, Any]:
    """Return the data of the ending. Its usage must be what the server has counted."""
    last = events[-1]
    assert last["type"] == "done", last
    data: dict[str, Any] = last["data"]
    assert (data["status"], data["usage"]["estimated"]) == ("completed", False)
    assert data["usage"]["input_tokens"] > 0
    return data


def failure(events: Sequence[Event], code: str) -> str:
    """Return the message of an answer that failed with this code."""
    last = events[-1]
    assert last["type"] == "error", last
    assert last["error"]["code"] == code, last
    assert "127.0.0.1" not in last["error"]["message"]
    message: str = last["error"]["message"]
    return message


def results(events: Sequence[Event]) -> list[tuple[str, bool]]:
    """Return the tools that were called, and if the calls had results."""
    return [
        (event["data"]["tool"], event["data"]["ok"])
        for event in events
        if event["type"] == "tool.complete"
    ]


def model_line(fleet: Fleet) -> str:
    """Return what the start says of the model."""
    return next(line for line in fleet.said.splitlines() if line.startswith("  model "))


# --- llama.cpp


@contextmanager
def llama_at(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.compat.llama_server", str(port), KEY]
    with process(
        command,
        folder / f"llama-{port}.log",
        f"http://127.0.0.1:{port}/health",
        DJANGO_SETTINGS_MODULE="agenticfleet.settings",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a llama.cpp server, without /v1."""
    port = free_port()
    with llama_at(port, tmp_path_factory.mktemp("llama")):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def llama_fleet(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleets") / "fleet"
    with fleet_at(llama, folder, FLEET_MODEL="any-name") as fleet:
        yield fleet


def test_llama_cpp_answers_with_the_window_that_it_has(llama_fleet: Fleet) -> None:
    assert "(reads 2,048 tokens; 1 model listed)" in model_line(llama_fleet)
    events = ask(llama_fleet, "What is the capital of France?")
    assert completed(events)["models"] == ["any-name"]
    assert text_of(events)


def test_llama_cpp_reads_on_where_the_last_question_of_a_chat_ended(
    llama: str, tmp_path: Path
) -> None:
    # This server keeps one prompt, and a title's would take its place.
    with fleet_at(llama, tmp_path / "fleet", FLEET_TITLES="off") as fleet:
        events = ask(fleet, "Why is the sky blue?", mode="light")
        first, chat = completed(events)["usage"], events[0]["data"]["conversation_id"]
        events = ask(fleet, "And at night?", mode="light", conversation_id=chat)
        second = completed(events)["usage"]
    assert second["input_tokens"] > second["cached_tokens"] >= 0.9 * first["input_tokens"]


def test_llama_cpp_takes_calls_and_results(llama_fleet: Fleet) -> None:
    events = ask(llama_fleet, "Use the calculator: 17*23")
    completed(events)
    assert results(events) == [("calculator", True)]


def test_llama_cpp_says_that_a_question_is_too_long(llama: str, tmp_path: Path) -> None:
    with fleet_at(f"{llama}/v1", tmp_path / "fleet", FLEET_CONTEXT_TOKENS="20000") as fleet:
        told = failure(ask(fleet, "lantern " * 3500), "context_too_long")
        assert "exceeds the available context size (2048 tokens)" in told


def test_llama_cpp_refuses_a_wrong_key(llama: str, tmp_path: Path) -> None:
    with fleet_at(llama, tmp_path / "fleet", OPENAI_API_KEY=WRONG_KEY) as fleet:
        assert "which refuses the key (status 401)" in model_line(fleet)
        assert "refused the key" in failure(ask(fleet, "Hello?"), "model_error")


def test_llama_cpp_has_nothing_at_another_path(llama: str, tmp_path: Path) -> None:
    with fleet_at(f"{llama}/nowhere", tmp_path / "fleet") as fleet:
        told = failure(ask(fleet, "Hello?"), "model_error")
        assert told.startswith("The model server has nothing at the address that was asked.")


def test_llama_cpp_comes_and_goes_while_the_fleet_runs(tmp_path: Path) -> None:
    port = free_port()
    with fleet_at(f"http://127.0.0.1:{port}", tmp_path / "fleet") as fleet:
        assert "cannot be reached: connection refused" in model_line(fleet)
        assert "cannot be reached" in failure(ask(fleet, "Hello?"), "model_unavailable")
        with llama_at(port, tmp_path) as server:
            completed(ask(fleet, "Hello?"))
            with fleet.ask("Tell me a story.") as client:
                kinds: list[str] = []
                while "response.delta" not in kinds:
                    kinds.append(json.loads(client.recv(timeout=300))["type"])
                server.kill()
                while not is_terminal(event := json.loads(client.recv(timeout=60))):
                    pass
        assert "was cut off" in failure([event], "model_error")


# --- LiteLLM


def uv() -> list[str]:
    return ["uv"] if shutil.which("uv") else [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def litellm_command() -> list[str]:
    """The command that runs LiteLLM. Installs it."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    source = ["--python", python, "--from", f"litellm[proxy]=={LITELLM}"]
    command = [*uv(), "tool", "run", "--quiet", *source, "litellm"]
    tried = subprocess.run([*command, "--version"], capture_output=True, timeout=INSTALL)
    if tried.returncode:
        why = tried.stderr.decode(errors="replace").strip()[-500:]
        pytest.fail(f"LiteLLM {LITELLM} cannot be installed here: {why}", pytrace=False)
    return command


@pytest.fixture(scope="module")
def backend() -> Iterator[ScriptedModel]:
    """The model behind the proxy."""
    model = ScriptedModel()
    yield model
    model.stop()


@pytest.fixture(scope="module")
def litellm(
    litellm_command: list[str], backend: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a LiteLLM proxy, without /v1."""
    folder = tmp_path_factory.mktemp("litellm")
    parameters = {"api_base": backend.url, "api_key": "sk-behind"}
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", **parameters},
            "model_info": info,
        }
        for name, info in LISTED.items()
    ]
    (folder / "proxy.yaml").write_text(
        # JSON is YAML, too.
        json.dumps(
            {
                "model_list": models,
                "litellm_settings": {"num_retries": 0},
                # A model that failed would not be asked for some seconds.
                "router_settings": {"disable_cooldowns": True},
                "general_settings": {"master_key": KEY},
            }
        )
    )
    port = free_port()
    address = ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with process(
        [*litellm_command, "--config", str(folder / "proxy.yaml"), *address],
        folder / "log",
        f"http://127.0.0.1:{port}/health/liveliness",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def fleet(litellm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_at(litellm, tmp_path_factory.mktemp("fleets") / "fleet") as fleet:
        yield fleet


def test_litellm_answers_with_the_chosen_model(fleet: Fleet, backend: ScriptedModel) -> None:
    assert "(reads 8,192 tokens; 4 models listed)" in model_line(fleet)
    backend.on("Hello?", reasoning=["I ", "think. "], thinking_tokens=2)
    events = ask(fleet, "Hello?")
    assert text_of(events) == "The answer is **42**."
    usage = completed(events)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["reasoning_tokens"]) == (7, 7, 2)
    assert completed(ask(fleet, "Hello again?", model="other"))["models"] == ["other"]
    assert backend.calls[-1].body["model"] == "other"
    told = failure(ask(fleet, "Hello?", model="text-embedding-3-small"), "bad_request")
    assert "Offered: scripted, gpt-4o, other" in told


def test_litellm_passes_calls_and_results(fleet: Fleet, backend: ScriptedModel) -> None:
    backend.on("What is it?", tokens=[], calls=[("calculator", '{"expression": "6*7"}')])
    events = ask(fleet, "What is it?")
    completed(events)
    assert results(events) == [("calculator", True)]
    *_, call, result = backend.calls[-1].body["messages"]
    assert (call["role"], result["role"]) == ("assistant", "tool")
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert result["content"] == "6*7 = 42"


def test_parts_that_litellm_or_its_model_refuse_are_left_out(
    fleet: Fleet, backend: ScriptedModel
) -> None:
    refused = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    backend.on("Say a word.", refuses={"max_tokens": refused})
    completed(ask(fleet, "Say a word.", model="other"))
    assert "max_completion_tokens" in backend.calls[-1].body
    # LiteLLM itself refuses it.
    completed(ask(fleet, "Think little.", model="gpt-4o", reasoning_effort="minimal"))
    assert "reasoning_effort" not in backend.calls[-1].body


@pytest.mark.parametrize(
    ("status", "error", "code", "words"),
    [
        (401, {"message": "Incorrect API key provided."}, "model_error", "refused the key"),
        (404, {"message": "The model `q` does not exist."}, "model_error", "not know the model"),
        (429, {"message": "Try again in 40s."}, "rate_limited", "Try again in 40 s."),
        (
            429,
            {"message": "You exceeded your current quota.", "code": "insufficient_quota"},
            "model_error",
            "no credit left",
        ),
        (
            400,
            {"message": "This model's maximum context length is 8192 tokens. Shorten it."},
            "context_too_long",
            "8192 tokens",
        ),
        (500, {"message": "The owls sleep."}, "model_unavailable", "The owls sleep."),
    ],
)
def test_litellm_passes_errors_of_its_model(
    fleet: Fleet, backend: ScriptedModel, status: int, error: dict[str, Any], code: str, words: str
) -> None:
    question = f"Fail with {status} and {code}."
    backend.on(question, status=status, error=error)
    assert words in failure(ask(fleet, question), code)


@pytest.mark.parametrize("fault", ["cut_after", "garbage_after"])
def test_litellm_reports_an_error_in_mid_answer(
    fleet: Fleet, backend: ScriptedModel, fault: str
) -> None:
    backend.on(fault, tokens=["Some ", "words ", "more"], pace=0.05, **{fault: 2})
    events = ask(fleet, fault)
    assert text_of(events) == "Some words "
    assert "has a problem" in failure(events, "model_unavailable")


def test_litellm_refuses_a_wrong_key(litellm: str, tmp_path: Path) -> None:
    with fleet_at(litellm, tmp_path / "fleet", OPENAI_API_KEY=WRONG_KEY) as fleet:
        assert "which refuses the key (status 400)" in model_line(fleet)
        assert "refused the key" in failure(ask(fleet, "Hello?"), "model_error")


def test_litellm_has_nothing_at_another_path(litellm: str, tmp_path: Path) -> None:
    with fleet_at(f"{litellm}/nowhere", tmp_path / "fleet") as fleet:
        told = failure(ask(fleet, "Hello?"), "model_error")
        assert told.startswith("The model server has nothing at the address that was asked.")


def test_litellm_does_not_know_the_model(litellm: str, tmp_path: Path) -> None:
    with fleet_at(litellm, tmp_path / "fleet", FLEET_MODEL="nothing") as fleet:
        assert "the server lists no such model: it has scripted, other" in model_line(fleet)
        assert "not know the model" in failure(ask(fleet, "Hello?"), "model_error")
