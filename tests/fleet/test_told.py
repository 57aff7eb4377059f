"""What addresses tell strangers that need no sign-in: neither hosts nor names of settings."""

import time

import httpx
import pytest
from pytest_django import Settings

from agenticfleet.asgi import application
from agenticfleet.health import Checked, ServiceChecks
from chat.runs.worker import Worker

REASON = "the model server at gpu.internal:8000 cannot be reached"
pytestmark = pytest.mark.django_db(transaction=True)


async def got(path: str, host: str = "localhost") -> httpx.Response:
    transport = httpx.ASGITransport(application, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("is_local", "auth", "is_told"),
    [(True, "anonymous", True), (True, "required", False), (False, "anonymous", False)],
)
async def test_probes_tell_reasons_only_on_the_operators_own_machine(
    worker: Worker, settings: Settings, is_local: bool, auth: str, is_told: bool
) -> None:
    settings.FLEET_IS_LOCAL, settings.FLEET_AUTH = is_local, auth
    checks = ServiceChecks.current()
    checks.checked, checks.checked_at = {"model": Checked("down", 1, REASON)}, time.monotonic()
    reply = await got("/readyz")
    assert (reply.status_code, reply.json()["reason"]) == (503, "model is down")
    assert ("gpu.internal" in reply.text) == is_told


@pytest.mark.parametrize(
    ("path", "host", "status"), [("/metrics", "localhost", 403), ("/", "other.example", 400)]
)
async def test_refusals_name_no_settings(path: str, host: str, status: int) -> None:
    reply = await got(path, host)
    assert reply.status_code == status
    assert not any(name in reply.text for name in ("FLEET_", "DJANGO_"))
