"""What was spent on a day.

The database alone has these sums: a run adds to them in the transaction that stores its ending, so
each counts exactly once, and a Redis that is emptied or a chat that is deleted takes nothing back.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from django.db import connection, models, transaction

from chat.protocol.errors import ProtocolError
from chat.protocol.terms import Usage

from .limits import SITE, Bound, LimitName, subjects_of
from .owners import Asker
from .reached import reached, today

# What comparisons of both paths have used. The operator pays for them: they count for no asker, and
# not for the limits of the site.
COMPARISONS = "comparisons"
BY_DAY: tuple[LimitName, ...] = ("tokens", "searches", "money")


class DayUseQuerySet(models.QuerySet["DayUse"]):
    def add(self, asker: Asker, usage: Usage, cost: float | None) -> None:
        """Add what was used just now to the day of all for whom it counts."""
        tokens = usage.input_tokens + usage.output_tokens
        if not (tokens or usage.search_credits or cost):
            return
        subjects = sorted(subjects_of(asker).values())
        day = today().date()
        rows = self.filter(day=day, subject__in=subjects)
        with transaction.atomic():
            # Two transactions may need the same rows: both lock them in the same order.
            locked = rows.select_for_update(no_key=True).order_by("subject")
            known = set(locked.values_list("subject", flat=True))
            if new := [subject for subject in subjects if subject not in known]:
                self.bulk_create(
                    [DayUse(day=day, subject=subject) for subject in new], ignore_conflicts=True
                )
            rows.update(
                tokens=models.F("tokens") + tokens,
                searches=models.F("searches") + usage.search_credits,
                money=models.F("money") + (cost or 0),
            )

    def reserve(self, subject: str, tokens: int, *, most: int) -> date | None:
        """Count tokens in advance, and return for which day.

        Return None if more than `most` would be used on it then. It is one UPDATE: workers that
        reserve at once get no more than that together.
        """
        day = today().date()
        self.bulk_create([DayUse(day=day, subject=subject)], ignore_conflicts=True)
        has_room = self.filter(day=day, subject=subject, tokens__lte=most - tokens)
        return day if has_room.update(tokens=models.F("tokens") + tokens) else None

    def settle(self, subject: str, day: date, *, reserved: int, used: int, cost: float) -> None:
        """Count what was used in place of what was reserved."""
        self.filter(day=day, subject=subject).update(
            tokens=models.F("tokens") + used - reserved, money=models.F("money") + cost
        )

    def of(self, subjects: Sequence[str]) -> "dict[str, DayUse]":
        """Return what these have spent today; without those that have spent nothing."""
        rows = self.filter(day=today().date(), subject__in=subjects)
        return {row.subject: row for row in rows}

    def check_day(self, bounds: Sequence[Bound]) -> None:
        """Raise ProtocolError if one of these limits of a day is used up."""
        if not bounds:
            return
        spent = self.of([bound.subject for bound in bounds])
        for bound in bounds:
            use = spent.get(bound.subject)
            if (use.amounts[bound.limit] if use else 0) >= bound.most:
                raise ProtocolError(reached(bound))

    def lock(self) -> None:
        """Let no other transaction that calls this go on until this one has ended."""
        if not connection.features.has_select_for_update:
            return  # The transactions of SQLite wait for each other as they are.
        row = {"day": today().date(), "subject": SITE}
        self.bulk_create([DayUse(**row)], ignore_conflicts=True)
        self.select_for_update(no_key=True).get(**row)


class DayUse(models.Model):
    """What one that requests count for has spent on a day (UTC): see limits.py."""

    day = models.DateField()
    subject = models.CharField(
        max_length=90, help_text="user:<id>, browser:<id>, address:<address>, token:<id> or site"
    )
    tokens = models.BigIntegerField(default=0, help_text="read and written by models")
    searches = models.FloatField(default=0, help_text="credits of the web search")
    money = models.FloatField(default=0, help_text="in the currency of the price list")

    objects = DayUseQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name = "use of a day"
        verbose_name_plural = "use by day"
        constraints = (models.UniqueConstraint(fields=("day", "subject"), name="one_use_a_day"),)

    def __str__(self) -> str:
        return f"{self.subject} on {self.day}"

    @property
    def amounts(self) -> Mapping[LimitName, float]:
        return {"tokens": self.tokens, "searches": self.searches, "money": self.money}
