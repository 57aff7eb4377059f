"""What front ends send to a server of their users, as their sources build it."""

import json
from pathlib import Path
from typing import Any

import pytest

from chat.entrance import Told
from chat.models import Run
from tests.doors.calling import Doors

from .reading import chunks_in, deltas, finish_reasons

REQUESTS = [
    pytest.param(request, id=f"{path.stem}: {request['name']}")
    for path in sorted((Path(__file__).parent / "recorded").glob("*.json"))
    for request in json.loads(path.read_text())
]


@pytest.mark.parametrize("recorded", REQUESTS)
async def test_front_end_gets_its_answer(doors: Doors, recorded: dict[str, Any]) -> None:
    body = recorded["body"]
    answer = await doors.post("/v1/chat/completions", body, headers=recorded["headers"])
    assert answer.status == 200
    assert answer.headers.get("fleet-ignored", "") == recorded.get("ignored", "")
    if body.get("stream"):
        chunks = chunks_in(answer.text)
        assert (deltas(chunks), finish_reasons(chunks)) == ("The answer is **42**.", ["stop"])
        assert chunks[-1]["usage"]["total_tokens"] == 12
    else:
        assert answer.json["choices"][0]["message"]["content"] == "The answer is **42**."
    run = await Run.objects.select_related("question").aget()
    told = Told.of(run.told)
    assert told
    assert run.question.text == recorded.get("question", body["messages"][-1]["content"])
    assert len(told.exchanges) == recorded.get("exchanges", 0)
    assert run.mode == recorded.get("mode", "auto")
    assert run.end_user == recorded.get("end_user", "")
