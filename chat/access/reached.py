"""What is told of a limit that is reached, and when to come back."""

import math
from datetime import UTC, datetime, timedelta

from django.conf import settings

from chat.protocol.errors import IN_SECONDS, TRY_AGAIN, Code, ErrorInfo
from tooling.sentences import sentence

from .limits import Bound, LimitName, Whose

CODES: dict[LimitName, Code] = {
    "runs": "too_many_runs",
    "questions": "too_many_requests",
    "tokens": "quota_exceeded",
    "searches": "quota_exceeded",
    "money": "quota_exceeded",
    "sockets": "too_many_requests",
    "handshakes": "too_many_requests",
}
AMOUNTS: dict[LimitName, str] = {
    "runs": sentence("%(count)s answers at once"),
    "questions": sentence("%(count)s questions a minute"),
    "tokens": sentence("%(count)s tokens a day"),
    "searches": sentence("%(count)s web searches a day"),
    "money": sentence("spending %(count)s a day"),
    "sockets": sentence("%(count)s connections at once"),
    "handshakes": sentence("%(count)s new connections a minute"),
}
REACHED: dict[Whose, str] = {
    "token": sentence("The limit of this token, %(limit)s, is reached."),
    "owner": sentence("Your limit of %(limit)s is reached."),
    "address": sentence("The limit of your network address, %(limit)s, is reached."),
    "site": sentence("The limit of this server, %(limit)s, is reached."),
}
ONE_HAS_ENDED = sentence("when one of them has ended")
TOMORROW = sentence("tomorrow, after 0:00 UTC (in %(hours)s h)")
SOON_TOMORROW = sentence("after 0:00 UTC (in %(minutes)s min)")
TOO_LONG = sentence("The message has %(count)s characters, more than %(most)s.")
# Nobody knows when the next run or socket ends. Answers take seconds.
ASK_AGAIN_AFTER = 5.0  # seconds


def reached(bound: Bound, wait: float = ASK_AGAIN_AFTER) -> ErrorInfo:
    """Refuse what goes beyond this bound; `wait` seconds later there is room in a minute's."""
    match bound.limit:
        case "runs" | "sockets":
            wait, when = ASK_AGAIN_AFTER, ONE_HAS_ENDED
        case "questions" | "handshakes":
            # Never less, so that who comes back then isn't refused again.
            wait = max(1, math.ceil(wait))
            when = IN_SECONDS % {"seconds": wait}
        case "tokens" | "searches" | "money":
            wait = math.ceil(seconds_until_tomorrow())
            hours = round(wait / 3600)
            when = (
                TOMORROW % {"hours": hours}
                if hours
                else SOON_TOMORROW % {"minutes": math.ceil(wait / 60)}
            )
    limit = AMOUNTS[bound.limit] % {"count": amount_of(bound)}
    return ErrorInfo(
        CODES[bound.limit],
        f"{REACHED[bound.whose] % {'limit': limit}} {TRY_AGAIN % {'when': when}}",
        retryable=True,
        retry_after_s=wait,
    )


def too_long(message: str, most: int) -> ErrorInfo:
    figures = {"count": f"{len(message):,}", "most": f"{most:,}"}
    return ErrorInfo("bad_request", TOO_LONG % figures)


def amount_of(bound: Bound) -> str:
    if bound.limit == "money":
        currency = settings.FLEET_PRICES.currency if settings.FLEET_PRICES else ""
        return f"{bound.most:,.2f} {currency}".strip()
    return f"{bound.most:,.0f}"


def today() -> datetime:
    """Return when this day began, in UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def seconds_until_tomorrow() -> float:
    return (today() + timedelta(days=1) - datetime.now(UTC)).total_seconds()
