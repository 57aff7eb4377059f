"""What servers list of their models, in the shapes that they give it."""

import json
from typing import Any

import pytest

from chat.llm.base_urls import candidates, joined, normal, root_of
from chat.llm.listing import MAX_MODELS, Listing, models_in


def listed(content: Any) -> list[tuple[str, int | None]]:
    models = models_in(json.dumps(content).encode())
    assert models is not None
    return [(model.id, model.context_tokens) for model in models]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"object": "list", "data": [{"id": "q", "max_model_len": 32768}]}, [("q", 32768)]),
        ({"data": [{"id": "q", "context_window": "8192"}]}, [("q", 8192)]),
        (
            {"data": [{"id": "q", "context_length": 9, "top_provider": {"context_length": 8}}]},
            [("q", 8)],
        ),
        (
            {"data": [{"id": "q", "max_context_length": 9, "loaded_context_length": 8}]},
            [("q", 8)],
        ),
        ({"data": [{"id": "q", "max_context_length": 9, "state": "not-loaded"}]}, [("q", None)]),
        (
            {"data": [{"id": "q", "capabilities": {"limits": {"max_prompt_tokens": 6.0}}}]},
            [("q", 6)],
        ),
        ({"data": [{"id": "q", "meta": {"n_ctx": 8, "n_ctx_train": 9}}]}, [("q", 8)]),
        ({"data": [{"model_name": "q", "model_info": {"max_input_tokens": 8}}]}, [("q", 8)]),
        ({"models": [{"name": "models/q", "inputTokenLimit": 8}]}, [("models/q", 8)]),
        ({"models": [{"name": "q:latest", "model": "q:latest"}]}, [("q:latest", None)]),
        (
            {
                "result": [
                    {
                        "id": "429b9e8b-d99e-44de-91ad-706cf8183658",
                        "name": "@cf/q",
                        "properties": [{"property_id": "context_window", "value": "8"}],
                    }
                ]
            },
            [("@cf/q", 8)],
        ),
        ({"models": {"q": {"context_window": 8}}}, [("q", 8)]),
        (["q", "r"], [("q", None), ("r", None)]),
        ([None, 5, {}, {"id": 5}, {"id": ""}, "q"], [("q", None)]),
        ({"object": "list", "data": None}, []),
        (
            {"data": [{"id": "q", "context_length": tokens} for tokens in (0, -1, True, "many")]},
            ...,
        ),
        ({"data": [{"id": "q", "context_length": 2**63}]}, [("q", None)]),
    ],
)
def test_models_are_found_in_every_shape(content: Any, found: Any) -> None:
    assert listed(content) == ([("q", None)] if found is ... else found)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Hello</title>",
        b'{"error": {"message": "no such path"}}',
        b'{"status": "ok"}',
        b'"text"',
        b"[" * 200_000,
        b'{"data": ' * 200_000,
    ],
)
def test_other_bodies_are_no_listing(body: bytes) -> None:
    assert models_in(body) is None


@pytest.mark.parametrize("tokens", [str(10**400), '"nan"', "-1", "true"])
def test_sizes_that_mean_nothing_are_left_out(tokens: str) -> None:
    models = models_in(f'[{{"id": "q", "max_model_len": {tokens}}}]'.encode())
    assert models
    assert models[0].context_tokens is None


def test_listing_is_cut_after_500_models() -> None:
    assert len(listed([f"model-{number}" for number in range(900)])) == MAX_MODELS == 500


def test_invisible_characters_are_removed_from_names() -> None:
    assert listed([{"id": "q\x00\u200b\n\x1b[31mr"}]) == [("q [31mr", None)]


@pytest.mark.parametrize("wanted", ["llama3", "llama3:latest", "alias"])
def test_model_is_found_by_all_its_names(wanted: str) -> None:
    models = models_in(b'[{"id": "other"}, {"id": "llama3:latest", "aliases": ["alias", 5]}]')
    found = Listing("", models or ()).find(wanted)
    assert found
    assert found.id == "llama3:latest"


@pytest.mark.parametrize(
    ("entry", "chats"),
    [
        ({"type": "llm"}, True),
        ({"type": "embeddings"}, False),
        ({"type": "model"}, None),
        ({"model_info": {"mode": "image_generation"}}, False),
        ({"capabilities": {"completion_chat": False}}, False),
        ({"capabilities": ["completion", "tools"]}, True),
        ({"capabilities": ["embedding"]}, False),
        ({"supportedGenerationMethods": ["embedContent"]}, False),
        ({"architecture": {"output_modalities": ["image"]}}, False),
        ({}, None),
    ],
)
def test_server_says_whether_a_model_chats(entry: dict[str, Any], chats: bool | None) -> None:
    [model] = models_in(json.dumps([{"id": "q", **entry}]).encode()) or ()
    assert model.chats is chats


# --- Base URLs


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", "https://api.openai.com/v1"),
        ("http://host:8000/", "http://host:8000"),
        ("http://user:word@host/v1/", "http://host/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("http://host/v1/chat/completions/?api-version=1", "http://host/v1?api-version=1"),
        (
            "http://bücher.example:81/a b/ü?c=d e",
            "http://xn--bcher-kva.example:81/a%20b/%C3%BC?c=d%20e",
        ),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://h/a%20b?c=%2F&d=e:f", "http://h/a%20b?c=%2F&d=e:f"),
    ],
)
def test_base_url_loses_what_belongs_to_a_call(written: str, expected: str) -> None:
    assert normal(written) == expected


def test_query_stays_at_the_end() -> None:
    assert joined("http://host/v1?a=b", "models") == "http://host/v1/models?a=b"


@pytest.mark.parametrize(
    ("base_url", "has_version"),
    [
        ("http://host", False),
        ("http://host/openai/deployments/gpt?api-version=1", False),
        ("http://host/v1", True),
        ("http://host/openai/v1", True),
        ("http://host/v1beta/openai", True),
        ("http://host/api/paas/v4", True),
    ],
)
def test_version_is_tried_only_if_there_is_none(base_url: str, has_version: bool) -> None:
    assert len(candidates(base_url)) == (1 if has_version else 2)


def test_root_is_beside_the_version() -> None:
    assert root_of("http://host/llama/v1") == "http://host/llama"


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"id": "/srv/models/Owl-7B.Q4.gguf"}, "Owl-7B.Q4"),
        ({"name": "/srv/models/Owl-7B.gguf", "model": "/srv/models/Owl-7B.gguf"}, "Owl-7B"),
        ({"id": "C:\\models\\Owl-7B.gguf"}, "Owl-7B"),
        ({"id": "./models/Owl-7B/"}, "Owl-7B"),
        ({"id": "/srv/Owl-7B", "name": "The owl"}, "The owl"),
        ({"id": "owls/Owl-7B"}, ""),
        ({"id": "Owl-7B.gguf"}, ""),
        ({"id": "/"}, ""),
    ],
)
def test_path_of_a_file_is_no_name_for_people(entry: dict[str, str], name: str) -> None:
    [model] = models_in(json.dumps([entry]).encode()) or ()
    assert model.name == name


def test_listing_in_very_many_objects_is_none() -> None:
    assert models_in(b'{"data":' * 2000 + b"[]" + b"}" * 2000) is None
