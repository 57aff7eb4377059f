"""What is used up of each limit, for people and operators to see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from chat.models import Run
from chat.rendering.wording import age, money, number

from .counting import MINUTE, count_of, live_runs, questions, times_of
from .limits import SITE, Bound, LimitName, Whose, bounds_of, subjects_of
from .owners import Asker
from .reached import today
from .spending import BY_DAY, DayUse

SHOWN: tuple[LimitName, ...] = ("runs", "questions", *BY_DAY)
LABELS = {
    "runs": gettext_lazy("Answers at once"),
    "questions": gettext_lazy("Questions in the last minute"),
    "tokens": gettext_lazy("Tokens today"),
    "searches": gettext_lazy("Web searches today"),
    "money": gettext_lazy("Money today"),
}


@dataclass(frozen=True, slots=True)
class Used:
    """What is used up of one limit."""

    bound: Bound
    amount: float
    # When it counts from nothing, or one less; None if nothing is used, or if nobody knows.
    starts_again_at: datetime | None = None

    @property
    def label(self) -> str:
        label = str(LABELS[self.bound.limit])
        if self.bound.whose == "address":
            return gettext("%(limit)s, of your network address") % {"limit": label}
        return label

    @property
    def words(self) -> str:
        """The amount and the limit."""
        used, most = self.shown(self.amount), self.shown(self.bound.most)
        return gettext("%(used)s of %(most)s") % {"used": used, "most": most}

    @property
    def again(self) -> str:
        """When it starts again; empty if nobody knows."""
        if self.starts_again_at is None:
            return ""
        left = (self.starts_again_at - timezone.now()).total_seconds()
        return gettext("starts again in %(period)s") % {"period": age(left)}

    @property
    def is_reached(self) -> bool:
        return self.amount >= self.bound.most

    def shown(self, amount: float) -> str:
        if self.bound.limit == "money" and settings.FLEET_PRICES:
            return money(amount, settings.FLEET_PRICES.currency)
        return number(amount)


def usage_of(asker: Asker, own: Mapping[str, Any] | None = None) -> list[Used]:
    """Return what an asker has used up of each limit of theirs. Three queries.

    `own` are the limits of the token.
    """
    subjects = subjects_of(asker)
    del subjects["site"]
    return used_up(subjects, own)


def usage_of_site() -> list[Used]:
    """Return what everybody together has used up of each limit of the site."""
    return used_up({"site": SITE})


def used_up(subjects: dict[Whose, str], own: Mapping[str, Any] | None = None) -> list[Used]:
    runs = Run.objects.all()
    spent = DayUse.objects.of(list(subjects.values()))
    live, asked = live_runs(runs), questions(runs)
    found: list[Used] = []
    for bound in bounds_of(SHOWN, subjects, settings.FLEET_LIMITS, own):
        match bound.limit:
            case "runs":
                used = Used(bound, count_of(bound, live))
            case "questions":
                times = times_of(bound, asked)
                used = Used(bound, len(times), times[-1] + MINUTE if times else None)
            case _:
                use = spent.get(bound.subject)
                amount = use.amounts[bound.limit] if use else 0
                used = Used(bound, amount, today() + timedelta(days=1))
        found.append(used)
    return found
