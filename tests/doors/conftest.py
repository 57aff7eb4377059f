"""The client of the doors."""

import pytest

from agenticfleet.asgi import application
from chat.runs.worker import Worker
from tests.scripted_model import ScriptedModel

from .calling import Doors


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel) -> Doors:
    return Doors(application)
