"""The figures of all runs that ended in a minute, an hour or a day, as rows."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from django.db import models

from .figures import Figures, total_of

_decoder = msgspec.json.Decoder(Figures)
LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class PeriodQuerySet(models.QuerySet["Period"]):
    def add(self, figures: Mapping[tuple[str, datetime], Figures]) -> None:
        """Add figures to the rows of their periods. The caller opens the transaction."""
        keys = sorted(figures)
        # Two transactions may need the same new row. Both insert it and then lock it, in the same
        # order, so that one waits for the other.
        self.bulk_create(
            [Period(span=span, start=start) for span, start in keys], ignore_conflicts=True
        )
        for span, start in keys:
            period = self.select_for_update(no_key=True).get(span=span, start=start)
            total = total_of([figures[span, start]], period.decoded)
            self.filter(pk=period.pk).update(figures=msgspec.json.encode(total).decode())

    def add_now(self, figures: Figures) -> None:
        """Add figures to the rows of the periods that go on. The caller opens the transaction."""
        now = datetime.now(UTC)
        self.add({(span, start_of(span, now)): figures for span in LENGTHS})

    def between(
        self, span: str, start: datetime, end: datetime
    ) -> Iterator[tuple[datetime, Figures]]:
        """Yield the periods of this span, oldest first, each with its figures."""
        rows = self.filter(span=span, start__gte=start, start__lt=end).order_by("start")
        for begins, figures in rows.values_list("start", "figures"):
            yield begins, _decoder.decode(figures)


class Period(models.Model):
    """The figures of a period, beginning at `start`. They outlive the rows of its runs."""

    class Span(models.TextChoices):
        MINUTE = "minute"  # kept for some hours
        HOUR = "hour"
        DAY = "day"

    span = models.CharField(max_length=6, choices=Span)
    start = models.DateTimeField()
    # JSON of Figures. A JSONField would parse it twice, and a year has megabytes of it.
    figures = models.TextField(default="{}")

    objects = PeriodQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("span", "start"), name="one_row_per_period"),
        )

    def __str__(self) -> str:
        return f"{self.span} from {self.start:%Y-%m-%d %H:%M}"

    @property
    def decoded(self) -> Figures:
        return _decoder.decode(self.figures)


def start_of(span: str, moment: datetime) -> datetime:
    """Return the start of the period that has this moment, in UTC."""
    match span:
        case "minute":
            return moment.replace(second=0, microsecond=0)
        case "hour":
            return moment.replace(minute=0, second=0, microsecond=0)
        case _:
            return moment.replace(hour=0, minute=0, second=0, microsecond=0)
