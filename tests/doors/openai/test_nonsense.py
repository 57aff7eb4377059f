"""Bodies that no client should send: each gets an error object, and none a fault of ours."""

import json
import random
from typing import Any

import pytest

from tests.doors.calling import Doors

from .test_completions import PATH, body

NONSENSE: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, "", "x", "\0", "😀" * 50, "\u2028", [], {}, [[]], [None]),
    *({"a": {"b": []}}, [{"type": "text"}], [{"role": "user"}], {"type": 1}, "auto", "a" * 40_000),
]
FIELDS = [
    *("model", "messages", "stream", "stream_options", "reasoning_effort", "user", "metadata"),
    *("store", "fleet", "n", "tool_choice", "response_format", "stop", "tools", "temperature"),
]


def nonsense(chance: random.Random) -> dict[str, Any]:
    """Return a request of which some fields, or parts of a message, are anything."""
    made = body()
    for _ in range(chance.randint(1, 3)):
        anything = chance.choice(NONSENSE)
        match chance.randrange(4):
            case 0:
                made[chance.choice(FIELDS)] = anything
            case 1:
                made["messages"] = [{"role": "user", "content": anything}]
            case 2:
                made["metadata"] = {chance.choice(["conversation_id", "on_disconnect"]): anything}
            case _:
                made["messages"] = [anything, {"role": "user", "content": "Well?"}]
    return made


@pytest.mark.parametrize("seed", range(8))
async def test_nonsense_is_refused_or_answered(doors: Doors, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        sent = nonsense(chance)
        answer = await doors.post(PATH, sent)
        if answer.status == 200:
            continue
        assert answer.status in (400, 404), json.dumps(sent)[:500]
        assert answer.error["message"]
        assert answer.error["code"] != "internal"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"\xff"', b'{"model": "\\ud800"}', b"{" * 100_000, b"null"]
)
async def test_what_is_no_json_is_refused(doors: Doors, raw: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await doors.post(PATH, raw, headers=headers)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
