"""The client of the doors."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from agenticfleet.asgi import application
from chat.access.tokens import Token
from chat.runs.worker import Worker
from tests.scripted_model import ScriptedModel

from .calling import Doors


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel) -> Doors:
    return Doors(application)


@pytest.fixture
async def token(worker: Worker) -> dict[str, str]:
    """Return the header with a token of a user."""
    user = await sync_to_async(User.objects.create_user)("holder")
    made = await sync_to_async(Token.objects.make)(user, "of a program")
    return {"authorization": f"Bearer {made.text}"}
