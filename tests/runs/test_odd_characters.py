"""Characters that PostgreSQL or UTF-8 cannot hold, from models and tools, fail no run."""

import json
from collections.abc import Iterator

import pytest

from chat.models import Run
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.scripted_model import Script, ScriptedModel
from tooling.known import TOOLS
from tooling.registry import tool

pytestmark = pytest.mark.django_db(transaction=True)

ODD = ("\0", "\ud800", "\udfff\ud800", "\\u0000", "\uffff", "\ufdd0", "\x1b[31m")


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Add the tool `tell`, which returns what it is given and more; return what it was given."""
    found: list[str] = []

    @tool(timeout=60)
    async def tell(text: str) -> str:
        """Tell a text."""
        found.append(text)
        return f"Told {text} and {' '.join(ODD)}"

    before = ASSISTANT.tools
    TOOLS["tell"] = tell  # type: ignore[index]
    object.__setattr__(ASSISTANT, "tools", before | {"tell"})
    yield found
    del TOOLS["tell"]  # type: ignore[attr-defined]
    object.__setattr__(ASSISTANT, "tools", before)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
async def test_odd_characters_fail_no_run(
    chat: Chatting, model: ScriptedModel, told: list[str], odd: str
) -> None:
    model.as_agent(
        ASSISTANT.instructions,
        Script(
            tokens=[f"One{odd}", " moment. "],
            reasoning=[f"Hm{odd}."],
            calls=[("tell", json.dumps({"text": f"a{odd}b"}))],
            call_id=f"call{odd}",
        ),
        Script(tokens=["Do", odd, f"ne{odd}."]),
    )
    request = chat_request(mode="light")
    events = await chat.answer(request)
    assert kinds(events)[-1] == "done"
    # JSON with half a character is none, and the model is told so.
    assert len(told) == (0 if "\ud800" in odd else 1)
    run = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert (run.status, run.answer.text) == ("completed", text_of(events))
    assert text_of(await chat.answer(request)) == text_of(events)
