"""Filters whose values are known without reading the rows."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.admin import ListFilter, ModelAdmin, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from chat.dashboard.ranges import moment_of


class ChoiceFilter(SimpleListFilter):
    """A filter with a few values, each with its label and its condition."""

    template = "admin/choice_filter.html"
    options: ClassVar[Mapping[str, tuple[str, Q]]] = {}

    @classmethod
    def choices_now(cls) -> Mapping[str, tuple[str, Q]]:
        """Return the options, for filters whose options may change while the process lives."""
        return cls.options

    @property
    def chosen(self) -> str:
        """The label of the chosen value, as the folded filter shows it."""
        value, options = self.value() or "", self.choices_now()
        return options[value][0] if value in options else value

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of its parameters."""
        return {str(cls.parameter_name)}

    @classmethod
    def accepts(cls, name: str, value: str) -> bool:
        return value in cls.choices_now()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _) in self.choices_now().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.choices_now().get(self.value() or "")
        return queryset.filter(chosen[1]) if chosen else queryset


class OwnerFilter(ChoiceFilter):
    title = "owner"
    parameter_name = "owner"
    options = {
        # Not a range of owners: SQLite would read the index of owners and then each row.
        kind: (label, Q(owner__startswith=f"{kind}:"))
        for kind, label in (
            ("user", "Signed-in users"),
            ("browser", "Browsers"),
            ("service", "Services"),
            ("script", "Scripts"),
            ("terminal", "Terminal"),
        )
    }


def is_owner(text: str) -> bool:
    """Return True if `text` is one owner, such as user:5."""
    kind, _, owner_id = text.partition(":")
    return bool(owner_id) and kind in OwnerFilter.options


PERIODS = {
    "hour": ("Past hour", timedelta(hours=1)),
    "day": ("Past 24 hours", timedelta(days=1)),
    "week": ("Past 7 days", timedelta(days=7)),
    "month": ("Past 30 days", timedelta(days=30)),
}


class PeriodFilter(ListFilter):
    """The rows of a recent period, or from one date or time to another.

    The last date is included. A last time is not, as at the end of a dashboard's range.
    """

    title = "date"
    template = "admin/period_filter.html"

    def __init__(
        self,
        request: HttpRequest,
        params: dict[str, list[str]],
        model: type[Model],
        model_admin: Any,
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.field = model_admin.time_field
        self.given = {name: params.pop(name)[-1] for name in self.names() if name in params}
        self.used_parameters = dict(self.given)

    @classmethod
    def names(cls) -> set[str]:
        return {"period", "from", "to"}

    @classmethod
    def accepts(cls, name: str, value: str) -> bool:
        if name == "period":
            return value in PERIODS
        return not value or bound(value) is not None

    @property
    def input_type(self) -> str:
        """The type of the two inputs. The links of the dashboard have times, people choose days."""
        has_times = any("T" in self.given.get(name, "") for name in ("from", "to"))
        return "datetime-local" if has_times else "date"

    @property
    def chosen(self) -> str:
        """The period as the folded filter shows it; empty if there is none."""
        if period := self.given.get("period"):
            return PERIODS[period][0]
        first, last = (self.given.get(name, "").replace("T", " ") for name in ("from", "to"))
        return f"{first} – {last}".strip() if first or last else ""

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.names())

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        others = changelist.get_filters_params() | {"q": [changelist.query]}
        self.others = [
            (name, values[-1])
            for name, values in others.items()
            if name not in self.names() and values[-1]
        ]
        yield {
            "selected": not any(self.given.values()),
            "query_string": changelist.get_query_string(remove=["period", "from", "to"]),
            "display": "Any time",
        }
        for value, (label, _) in PERIODS.items():
            yield {
                "selected": self.given.get("period") == value,
                "query_string": changelist.get_query_string({"period": value}, ["from", "to"]),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if period := self.given.get("period"):
            queryset = queryset.filter(
                **{f"{self.field}__gte": timezone.now() - PERIODS[period][1]}
            )
        if start := bound(self.given.get("from", "")):
            queryset = queryset.filter(**{f"{self.field}__gte": start})
        if end := bound(self.given.get("to", ""), is_end=True):
            queryset = queryset.filter(**{f"{self.field}__lt": end})
        return queryset


def bound(text: str, *, is_end: bool = False) -> datetime | None:
    """Return the date or time, in UTC, that bounds a period; None for other text."""
    try:
        return moment_of(text, is_end=is_end)
    except ValueError:
        return None
