"""Programs get the tokens that the model server had cached, each door in its own words."""

import uuid
from typing import Any

import pytest

from chat.models import Run
from tests.prefix_cache import PrefixCache
from tests.scripted_model import ScriptedModel

from .agui_client import Client
from .calling import Doors

pytestmark = pytest.mark.django_db(transaction=True)

TOLD = [
    {"role": "user", "content": "Why is the sky blue? " + "Tell me all of it. " * 40},
    {"role": "assistant", "content": "Blue light is scattered most."},
]


@pytest.fixture(autouse=True)
def _warm(model: ScriptedModel) -> None:
    model.cache = PrefixCache()


def asked(question: str) -> list[dict[str, Any]]:
    return [*TOLD, {"role": "user", "content": question}]


async def newest() -> tuple[int, int]:
    """Return the input of the newest run, and how much of it was cached."""
    run = await Run.objects.alatest("created_at")
    usage = run.ending["usage"]
    assert 0.5 * usage["input_tokens"] < usage["cached_tokens"] < usage["input_tokens"]
    return usage["input_tokens"], usage["cached_tokens"]


async def test_chat_completions_have_it_in_the_details_of_the_prompt(doors: Doors) -> None:
    for question in ("And at night?", "And on Mars?"):
        body = {"model": "fleet-light", "messages": asked(question)}
        usage = (await doors.post("/v1/chat/completions", body)).json["usage"]
    read, cached = await newest()
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (
        read,
        cached,
    )


async def test_responses_have_it_in_the_details_of_the_input(doors: Doors) -> None:
    for question in ("And at night?", "And on Mars?"):
        body = {"model": "fleet-light", "input": asked(question)}
        usage = (await doors.post("/v1/responses", body)).json["usage"]
    read, cached = await newest()
    assert (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]) == (read, cached)


async def test_ag_ui_has_it_beside_the_input(doors: Doors) -> None:
    for question in ("And at night?", "And on Mars?"):
        messages = [{"id": str(n), **each} for n, each in enumerate(asked(question))]
        body = {
            "threadId": str(uuid.uuid4()),
            "runId": str(uuid.uuid4()),
            "protocolVersion": "1.0",
            "messages": messages,
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {"fleet": {"mode": "light"}},
        }
        told = Client(messages).read((await doors.post("/agui", body)).text)
    read, cached = await newest()
    [usage] = told.got[-1]["usage"]
    assert (usage["inputTokens"], usage["cachedInputTokens"]) == (read, cached)
