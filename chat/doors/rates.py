"""What is left of a minute's questions and of a day's tokens, as headers of OpenAI's API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from django.conf import settings

from chat.access.limits import Bound, bounds_of, subjects_of
from chat.access.owners import Asker
from chat.access.reached import seconds_until_tomorrow
from chat.access.spending import DayUse
from chat.access.tokens import Token
from chat.runs.admission import Admission
from tooling.bounded import RedisDown

KINDS = ("requests", "tokens")
PREFIX = "x-ratelimit"
RATE_HEADERS = tuple(
    f"{PREFIX}-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in KINDS
)
WINDOW = 60  # seconds after which a question counts no longer


@dataclass(frozen=True, slots=True)
class Rates:
    """The bounds of one who asks, without those of the site, and what was spent today."""

    questions: Sequence[Bound] = ()
    tokens: Sequence[Bound] = ()
    spent: Mapping[str, float] | None = None  # tokens, by subject


def rates_of(asker: Asker) -> Rates:
    """Return what the headers for this asker are made of. Reads the database."""
    subjects = subjects_of(asker)
    del subjects["site"]
    own = None
    if asker.token_id:
        own = Token.objects.values_list("limits", flat=True).filter(pk=asker.token_id).first()
    questions = bounds_of(["questions"], subjects, settings.FLEET_LIMITS, own)
    tokens = bounds_of(["tokens"], subjects, settings.FLEET_LIMITS, own)
    days = DayUse.objects.of([bound.subject for bound in tokens]) if tokens else {}
    return Rates(questions, tokens, {subject: day.tokens for subject, day in days.items()})


async def headers_of(rates: Rates, admission: Admission) -> dict[str, str]:
    """Return the headers of an answer to a question, which counts as asked.

    Without Redis, nobody knows the questions of the last minute.
    """
    headers: dict[str, str] = {}
    try:
        asked = await admission.counts(rates.questions)
    except RedisDown:
        asked = []
    counted = zip(rates.questions, asked, strict=False)
    if left := [(bound.most - 1 - count, bound.most) for bound, count in counted]:
        headers |= fields("requests", *min(left), WINDOW)
    spent = rates.spent or {}
    if left := [(bound.most - spent.get(bound.subject, 0), bound.most) for bound in rates.tokens]:
        headers |= fields("tokens", *min(left), seconds_until_tomorrow())
    return headers


def fields(kind: str, left: float, most: float, reset: float) -> dict[str, str]:
    values = {"limit": f"{most:.0f}", "remaining": f"{max(0, left):.0f}", "reset": duration(reset)}
    return {f"{PREFIX}-{what}-{kind}": value for what, value in values.items()}


def duration(seconds: float) -> str:
    """Return a time as OpenAI's headers have it: 1m0s."""
    minutes, rest = divmod(ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    units = {"h": hours, "m": minutes, "s": rest}
    shown = [f"{number}{unit}" for unit, number in units.items()]
    while len(shown) > 1 and shown[0].startswith("0"):
        shown.pop(0)
    return "".join(shown)
