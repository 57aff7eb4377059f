"""The names of workers: they are channels, and say which process a run belongs to."""

import os
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.utils import timezone

from chat.database import in_database
from chat.models import Run
from chat.runs.naming import new_worker_name, worker_prefix

from .rows import orphan

FAR = 20  # seconds until a lease expires


def test_name_holds_the_fleet_and_the_process(settings: Any) -> None:
    settings.FLEET_ID = "ab12cd34"
    assert new_worker_name().startswith(f"worker.ab12cd34.{os.getpid()}.")


def test_two_workers_of_a_process_have_different_names() -> None:
    assert new_worker_name() != new_worker_name()


def test_name_can_be_a_channel() -> None:
    assert get_channel_layer().require_valid_channel_name(new_worker_name())


@pytest.mark.django_db(transaction=True)
class TestProcessThatEnded:
    async def test_its_runs_can_be_taken_over_at_once(self) -> None:
        run, _ = await orphan(worker=worker_prefix("f", 12) + "0a", expires_in=FAR)
        assert await in_database(Run.objects.mark_died, worker_prefix("f", 12)) == 1
        run = await Run.objects.aget(pk=run.pk)
        assert run.worker == "died"
        assert run.lease_expires_at <= timezone.now()

    @pytest.mark.parametrize("other", [worker_prefix("f", 123), worker_prefix("g", 12), "worker"])
    async def test_runs_of_other_processes_are_left_alone(self, other: str) -> None:
        run, _ = await orphan(worker=other + "0a", expires_in=FAR)
        await in_database(Run.objects.mark_died, worker_prefix("f", 12))
        assert (await Run.objects.aget(pk=run.pk)).worker == other + "0a"

    async def test_ended_runs_are_left_alone(self) -> None:
        await orphan(worker=worker_prefix("f", 12) + "0a", status="completed")
        assert await in_database(Run.objects.mark_died, worker_prefix("f", 12)) == 0
