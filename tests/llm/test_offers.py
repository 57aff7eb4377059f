"""The models that people may choose from."""

import pytest
from pytest_django import Settings

from chat.llm.listing import ListedModel, Listing
from chat.llm.offers import Offer, can_chat, offers


@pytest.fixture(autouse=True)
def _configured(settings: Settings) -> None:
    settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL = "strong", "weak"


def list_models(monkeypatch: pytest.MonkeyPatch, *models: ListedModel | str) -> None:
    """Let the server list these models."""
    listed = tuple(
        model if isinstance(model, ListedModel) else ListedModel(id=model) for model in models
    )
    monkeypatch.setattr(Listing, "latest", Listing("", listed))


def ids() -> list[str]:
    return [offer.id for offer in offers()]


def test_without_a_listing_the_configured_models_are_offered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_models(monkeypatch)
    assert ids() == ["weak", "strong"]
    settings.FLEET_LIGHT_MODEL = "strong"
    assert ids() == ["strong"]


def test_listed_models_follow_the_configured_ones_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named = ListedModel(id="x/one", name="Alpha")
    list_models(monkeypatch, "strong", "zeta", "Beta", named, "text-embedding-3-large")
    assert offers() == [
        Offer("weak", "weak"),
        Offer("strong", "strong"),
        Offer("x/one", "Alpha"),
        Offer("Beta", "Beta"),
        Offer("zeta", "zeta"),
    ]


def test_configured_model_that_is_listed_by_another_name_is_offered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alias = ListedModel(id="strong-2026-10-01", aliases=("strong",))
    list_models(monkeypatch, "weak:latest", alias, "other:latest")
    assert ids() == ["weak", "strong", "other:latest"]


def test_only_model_of_a_server_that_takes_any_name_is_offered_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FLEET_LIGHT_MODEL = "strong"
    list_models(monkeypatch, ListedModel(id="/models/Owl-7B.gguf", owner="llamacpp"))
    assert ids() == ["strong"]


def test_setting_narrows_orders_and_names_the_models(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_models(monkeypatch, "a", "b", "c", "strong")
    settings.FLEET_MODELS = {"c": "The best one", "a": "", "whisper-1": ""}
    assert offers() == [
        Offer("c", "The best one"),
        Offer("a", "a"),
        Offer("whisper-1", "whisper-1"),
    ]


def test_built_in_model_is_the_only_choice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN, settings.FLEET_MODELS = True, {"a": "", "b": ""}
    list_models(monkeypatch, "a", "b")
    assert offers() == [Offer("strong", "SmolLM2 (built-in)")]


def test_models_that_leave_this_machine_are_not_offered_if_nobody_chose_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_models(monkeypatch, "strong", "qwen3:4b", "qwen3.5:397b-cloud", "glm-4.6:cloud")
    settings.FLEET_MODEL_SERVER = "Ollama"
    assert ids() == ["weak", "strong", "qwen3:4b"]
    settings.FLEET_MODEL_SERVER = ""
    assert len(ids()) == 5


CHATS = """
gpt-5-mini o4-mini gpt-4o-2024-08-06 chatgpt-4o-latest gpt-oss:120b gpt-3.5-turbo-instruct
anthropic/claude-sonnet-4.5 claude-3-5-haiku-20241022 models/gemini-2.5-pro gemma3:27b
meta-llama/Llama-4-Maverick-17B-128E-Instruct llama3.2-vision:latest llava:7b qwen2.5-coder:7b
Qwen/Qwen3-235B-A22B qwen-vl-max deepseek-chat deepseek-r1:1.5b mistral-large-latest
open-mixtral-8x22b codestral-latest grok-4 kimi-k2 glm-4.6 command-a phi-4 sonar-pro nova-pro
minimax-m2 ernie-4.5 hermes-4 smollm2:135m @cf/meta/llama-3.1-8b-instruct granite3.3 yi-large
scripted /models/my-chat.gguf ft:gpt-4o:acme::7p4lURel imageryless-chat
"""
OTHERS = """
text-embedding-3-large text-embedding-ada-002 nomic-embed-text:latest mxbai-embed-large
embeddinggemma:300m gemini-embedding-001 BAAI/bge-m3 intfloat/e5-mistral-7b-instruct all-minilm
jina-embeddings-v3 codestral-embed @cf/baai/bge-small-en-v1.5 gte-large
bge-reranker-v2-m3 jina-reranker-v2 gte-rerank-v2 rerank-english-v3.0
whisper-1 distil-whisper-large-v3-en gpt-4o-transcribe voxtral-mini-transcribe-2507 qwen3-asr-flash
tts-1-hd gpt-4o-mini-tts playai-tts gemini-2.5-flash-preview-tts cosyvoice-v2 @cf/myshell-ai/melotts
gpt-realtime gpt-4o-realtime-preview gpt-audio
dall-e-3 gpt-image-1 grok-2-image imagen-4.0-generate-001 stable-diffusion-3.5-large sdxl-turbo
black-forest-labs/FLUX.1-schnell wanx2.1-t2i-turbo sora-2 veo-3.0-generate-001 wan2.2-i2v-plus
omni-moderation-latest text-moderation-007 llama-guard3:8b meta-llama/Llama-Guard-4-12B shieldgemma
"""


@pytest.mark.parametrize("model", CHATS.split())
def test_model_that_may_chat_is_offered(model: str) -> None:
    assert can_chat(ListedModel(id=model))


@pytest.mark.parametrize("model", OTHERS.split())
def test_model_that_plainly_does_not_chat_is_left_out(model: str) -> None:
    assert not can_chat(ListedModel(id=model))


def test_what_the_server_says_of_a_model_counts_more_than_its_name() -> None:
    assert can_chat(ListedModel(id="llama-guard-chat", chats=True))
    assert not can_chat(ListedModel(id="gpt-5", chats=False))


@pytest.mark.parametrize("model", ["", "x" * 201, "a\x7fb", "a\nb"])
def test_id_that_no_request_can_hold_is_left_out(model: str) -> None:
    assert not can_chat(ListedModel(id=model, chats=True))
