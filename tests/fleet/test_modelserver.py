"""What a fleet prints of the model server that it uses."""

import json
import socket
from pathlib import Path

import pytest
from django.conf import settings
from pytest_django import Settings

from agenticfleet.embedded import Started
from agenticfleet.modelserver import Inquiry, Told, asked_at
from agenticfleet.overview import model_lines
from chat.llm.listing import ListedModel, Listing
from chat.llm.servers import own_server
from tests.configs import Configure
from tests.scripted_model import ScriptedModel
from tests.serving import end, launch

URL = "http://host:8000/v1"
Q = ListedModel(id="qwen3-8b", context_tokens=32_768)
OTHERS = tuple(ListedModel(id=name) for name in "abcdefg")


def told(listing: Listing, *, proxy: str = "") -> list[Told]:
    models = [settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL]
    return [Told(own_server(), models, listing, proxy)]


@pytest.fixture
def _server(settings: Settings) -> None:
    settings.OPENAI_BASE_URL = URL
    settings.FLEET_MODEL = settings.FLEET_LIGHT_MODEL = "qwen3-8b"


@pytest.mark.usefixtures("_server")
@pytest.mark.parametrize(
    ("listing", "line"),
    [
        (Listing(URL), "at http://host:8000/v1"),
        (
            Listing(URL, (Q, *OTHERS[:2])),
            "at http://host:8000/v1 (reads 32,768 tokens; 3 models listed)",
        ),
        (
            Listing(f"{URL}/v1", (ListedModel(id="qwen3-8b"),)),
            "at http://host:8000/v1/v1 (found under /v1; 1 model listed)",
        ),
        (
            Listing(URL, OTHERS),
            "at http://host:8000/v1 (7 models listed), but the server lists no such model: it has"
            " a, b, c, d, e and 2 more",
        ),
        (
            Listing(URL, (ListedModel(id="/q.gguf", owner="llamacpp", context_tokens=8192),)),
            "at http://host:8000/v1 (1 model listed)",
        ),
        (
            Listing(
                "http://user:word@host/v1?key=word", problem="cannot be reached: connection refused"
            ),
            "at http://host/v1, which cannot be reached: connection refused",
        ),
        (
            Listing(
                URL,
                (
                    ListedModel(
                        id="qwen3-8b:latest",
                        context_tokens=4096,
                        possible_tokens=40_960,
                        cuts_silently=True,
                    ),
                ),
            ),
            "at http://host:8000/v1 (reads 4,096 tokens of the 40,960 that it could; 1 model"
            " listed)",
        ),
    ],
)
def test_line_says_what_the_server_tells(listing: Listing, line: str) -> None:
    assert model_lines(told(listing)) == [f"  model       qwen3-8b {line}"]


@pytest.mark.usefixtures("_server")
def test_another_model_for_the_light_path_has_a_line_of_its_own(settings: Settings) -> None:
    settings.FLEET_LIGHT_MODEL = "a"
    lines = model_lines(told(Listing(URL, (Q, *OTHERS))))
    assert lines[1] == "  light path  a (8 models listed)"


@pytest.mark.usefixtures("_server")
def test_each_server_of_the_file_has_a_line(configure: Configure, settings: Settings) -> None:
    configure(
        """
        [models.fast]
        model = "q"
        base_url = "http://user:word@there:8000/v1"
        [models.big]
        model = "b"
        base_url = "http://user:word@there:8000/v1"
        [models.gone]
        model = "g"
        base_url = "http://gone:8000/v1"
        api_key = "$KEY"
        [models.mine]
        model = "qwen3-8b"
        """,
        KEY="secret",
    )
    settings.FLEET_LIGHT_MODEL = "fast"
    asked = asked_at(Started().in_use(), serves=False)
    own, there, gone = [Told(server, models, Listing("")) for server, models in asked.items()]
    listings = {
        own.server: Listing(URL, (Q,)),
        there.server: Listing("http://there:8000/v1", (ListedModel(id="q"), *OTHERS[:1])),
        gone.server: Listing("http://gone:8000/v1", problem="refuses the key (status 401)"),
    }
    told = [Told(server, models, listings[server]) for server, models in asked.items()]
    assert model_lines(told) == [
        f"  model       qwen3-8b at {URL} (reads 32,768 tokens; 1 model listed)",
        "  models      mine (qwen3-8b)",
        "  light path  fast (q) at http://there:8000/v1 (2 models listed)",
        "  models      big (b), but the server lists no b: it has q, a",
        "  models      gone (g) at http://gone:8000/v1, which refuses the key (status 401)",
    ]


def test_fleet_without_a_server_of_its_own_uses_the_models_of_the_file(
    tmp_path: Path, model: ScriptedModel
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted"}]}
    file = tmp_path / "fleet.toml"
    file.write_text(
        f'[models.fast]\nmodel = "scripted"\nbase_url = "{model.url}"\napi_key = "$MY_KEY"\n'
        f'[models.typo]\nmodel = "scritped"\nbase_url = "{model.url}"\napi_key = "$MY_KEY"\n'
    )
    settings = {"FLEET_CONFIG": str(file), "FLEET_MODEL": "fast", "MY_KEY": "sk-secret"}
    fleet = launch(tmp_path, **settings)
    try:
        fleet.wait_until_ready()
        assert f"  model       fast (scripted) at {model.url} (1 model listed)" in fleet.said
        assert (
            "  models      typo (scritped), but the server lists no scritped: it has scripted"
            in fleet.said
        )
        assert not fleet.children("serve_model"), "the built-in model isn't needed"
        with fleet.ask("Hello?") as client:
            events = [json.loads(frame) for frame in client]
        assert events[-1]["data"]["models"] == ["fast"]
        assert "model=scritped is not among the models that its server lists" in fleet.complained
        assert "sk-secret" not in fleet.said + fleet.complained
    finally:
        end(fleet)
    assert {call.headers["authorization"] for call in model.calls} == {"Bearer sk-secret"}


@pytest.mark.usefixtures("_server")
def test_user_and_password_are_neither_shown_nor_a_difference(settings: Settings) -> None:
    settings.OPENAI_BASE_URL = "http://user:word@host:8000/v1/"
    [line] = model_lines(told(Listing(URL), proxy="http://user:word@proxy:3128"))
    assert line == f"  model       qwen3-8b at {URL} through the proxy http://proxy:3128"


def test_server_that_accepts_but_never_answers_does_not_hold_up_the_start(
    settings: Settings,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.OPENAI_BASE_URL = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        inquiry = Inquiry(Started().in_use())
        assert [each.listing.models for each in inquiry.result()] == [()]
        inquiry._thread.join(10)
        [late] = inquiry.result()
        assert late.listing.problem == "does not answer in time"


def test_fleet_says_what_it_found_and_asks_it_without_the_proxies(
    tmp_path: Path, model: ScriptedModel
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted", "max_model_len": 8192}]}
    base_url = model.url.removesuffix("/v1")
    fleet = launch(
        tmp_path,
        OPENAI_BASE_URL=base_url,
        OPENAI_API_KEY="secret",
        FLEET_MODEL="scripted",
        FLEET_SEARCH="keyless",
        HTTP_PROXY="http://127.0.0.1:9",
        ALL_PROXY="socks5://127.0.0.1:9",
    )
    try:
        fleet.wait_until_ready()
        found = f"scripted at {model.url} (found under /v1; reads 8,192 tokens; 1 model listed)"
        assert found in fleet.said
        with fleet.ask("Hello?") as client:
            events = [json.loads(frame) for frame in client]
        assert events[-1]["type"] == "done"
        assert "secret" not in fleet.said + fleet.complained
    finally:
        end(fleet)
