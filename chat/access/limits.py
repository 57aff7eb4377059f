"""What people and programs may spend. `settings.py` builds the limits once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of one kind is allowed; None: any amount."""

    owner: float | None  # a user, a service, or a browser
    address: float | None  # of people and programs that are anonymous, which costs them nothing
    site: float | None  # everybody together


NO_LIMIT = Limit(None, None, None)


@dataclass(frozen=True, slots=True)
class Limits:
    runs: Limit  # that live at once
    questions: Limit  # a minute
    tokens: Limit  # read and written by models, a day (UTC)
    searches: Limit  # credits of the web search, a day
    money: Limit  # in the currency of the price list, a day
    run_money: float | None  # of one run: its team then stops working, and the answer is written
    message: int  # characters of a question
    sockets: Limit  # that are open at once
    handshakes: Limit  # a minute
