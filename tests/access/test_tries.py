"""What may be tried only so often, also by many at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from chat.access.tries import Allowance, TooManyTries, Tries
from chat.telemetry.retention import PRUNES

THREE = Allowance("three", 3, timedelta(hours=1))
MANY = Allowance("many", 100, timedelta(hours=1))


def tries(*subjects: str, count: int = 1, allowance: Allowance = THREE) -> int:
    """Try so often; return how many tries were allowed."""
    allowed = 0
    for _ in range(count):
        try:
            Tries.objects.take([allowance.of(subject) for subject in subjects])
        except TooManyTries:
            continue
        allowed += 1
    return allowed


@pytest.mark.django_db
class TestOneAfterAnother:
    def test_no_more_than_allowed_until_the_time_is_over(self) -> None:
        assert tries("ann", count=5) == 3
        with pytest.raises(TooManyTries) as refusal:
            Tries.objects.take([THREE.of("ann")])
        assert timedelta(minutes=59) < refusal.value.wait <= timedelta(hours=1)
        assert tries("bob") == 1
        Tries.objects.update(ends_at="2026-01-01T00:00Z")
        assert tries("ann", count=5) == 3

    def test_refused_try_counts_for_no_subject(self) -> None:
        tries("ann", count=3)
        tries("bob", count=1)
        assert tries("bob", "ann") == 0
        assert tries("bob", count=5) == 2

    def test_right_try_is_given_back_or_all_are_forgotten(self) -> None:
        tries("ann", count=3)
        Tries.objects.give_back(THREE.of("ann"))
        assert tries("ann", count=5) == 1
        Tries.objects.forget(THREE.of("ann"))
        assert tries("ann", count=5) == 3

    def test_row_shows_nothing_of_its_subject_and_is_removed_when_its_time_is_over(self) -> None:
        tries("ann's password")
        assert "ann" not in Tries.objects.get().key
        assert PRUNES["tries"].batch() is None
        Tries.objects.update(ends_at="2026-01-01T00:00Z")
        assert PRUNES["tries"].batch() == 1


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_than_allowed() -> None:
    def work(_: int) -> int:
        try:
            return tries("ann", "their address", count=3)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 3
