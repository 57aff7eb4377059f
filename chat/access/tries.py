"""How often something may be tried: passwords, new accounts, and resets.

A try is counted before it is made, in one UPDATE, so that of many at once no more than allowed are
made. It is given back if it was right.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

SALT = "chat.access.tries"


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often something may be tried, from its first try on."""

    name: str
    count: int
    window: timedelta

    def of(self, *subject: str) -> "Subject":
        return Subject(self, "\0".join(subject))


@dataclass(frozen=True, slots=True)
class Subject:
    """Who, or what, may do something so often."""

    allowance: Allowance
    value: str

    @property
    def key(self) -> str:
        """Not the value itself: people type passwords in place of names."""
        return salted_hmac(
            SALT, f"{self.allowance.name}\0{self.value}", algorithm="sha256"
        ).hexdigest()


class TooManyTries(Exception):
    """Raised if there were as many tries as are allowed."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"try again in {wait}")
        self.wait = wait


class TriesQuerySet(models.QuerySet["Tries"]):
    def take(self, subjects: Sequence[Subject]) -> None:
        """Count a try of all these subjects, or raise TooManyTries and count none."""
        self._check(subjects)  # who is refused costs the database no write
        with transaction.atomic():
            for subject in subjects:
                self._count(subject)

    def give_back(self, subject: Subject) -> None:
        """Count one try less."""
        self.filter(pk=subject.key, count__gt=0).update(count=models.F("count") - 1)

    def forget(self, subject: Subject) -> None:
        self.filter(pk=subject.key).delete()

    def due(self) -> "TriesQuerySet":
        return self.filter(ends_at__lte=timezone.now())

    def _check(self, subjects: Sequence[Subject]) -> None:
        """Raise TooManyTries if one of the subjects has none left."""
        now = timezone.now()
        rows = self.in_bulk([subject.key for subject in subjects])
        waits = [
            row.ends_at - now
            for subject in subjects
            if (row := rows.get(subject.key))
            and row.ends_at > now
            and row.count >= subject.allowance.count
        ]
        if waits:
            raise TooManyTries(max(waits))

    def _count(self, subject: Subject) -> None:
        """Count a try, or raise TooManyTries."""
        row = self.filter(pk=subject.key)
        left = row.filter(count__lt=subject.allowance.count)
        while not left.filter(ends_at__gt=timezone.now()).update(count=models.F("count") + 1):
            self._check([subject])
            row.due().delete()
            ends_at = timezone.now() + subject.allowance.window
            # Another request may have stored the row meanwhile: then look again.
            with suppress(IntegrityError), transaction.atomic():
                self.create(pk=subject.key, count=1, ends_at=ends_at)
                return


class Tries(models.Model):
    """What one subject has tried."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    objects = TriesQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.count} tries"
