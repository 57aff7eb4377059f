"""The project's client for TypeScript, run by Node as it is."""

from pathlib import Path

from chat.doors.client import client
from tests.doors.clients.running import in_node
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

FILE = Path(client.__file__).with_name("client.ts")


def test_client_asks_resumes_cancels_and_tells_refusals(fleet: Fleet, model: ScriptedModel) -> None:
    words = [f"word{number} " for number in range(30)]
    model.on("Many words", tokens=words, pace=0.01)
    model.on("For ever", tokens=["word "], hang_after=1)
    assert in_node("own_client.mjs", fleet.address, str(FILE), packages=()) == {
        "answer": ["The answer is **42**.", "connected", "done"],
        "resumed": ["".join(words), True],
        "isInOrder": True,
        "cancelled": ["cancelled", "done"],
        "isOver": [],
        "refused": [True, 400, "bad_request"],
    }
