"""Which of the earlier exchanges a model reads.

Model servers keep what they have read, and read on where a request begins in the same way. So the
exchanges of a request begin where those of the last one began, and when they have become too many,
half of them are left out at once: to leave out one with each question would change the beginning
each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat.llm.messages import ChatMessage, estimated_tokens, without_middle
from chat.record import Exchange

from .question import Question

HISTORY_SHARE = 2  # at most this part of a context is for earlier exchanges
SUMMARY_SHARE = 8  # and in addition this part for a summary of what is before them
SUMMARIZE = "Summarize what we have said so far."
MESSAGES = 2  # of an exchange


@dataclass(frozen=True, slots=True)
class History:
    """The exchanges that a model reads, and how many messages of the chat it doesn't.

    If `summarized` isn't 0, the first exchange is a summary that stands for so many messages.
    """

    exchanges: Sequence[Exchange] = ()
    unread: int = 0
    summarized: int = 0

    @property
    def messages(self) -> list[ChatMessage]:
        return [message for exchange in self.exchanges for message in messages_of(exchange)]

    def without(self, count: int) -> "History":
        """Return the history without its oldest exchanges, of which a summary is the first."""
        if not count:
            return self
        unread = self.unread + MESSAGES * count
        if self.summarized:
            unread += self.summarized - MESSAGES
        return History(self.exchanges[count:], unread)


def history_of(question: Question, context_tokens: int) -> History:
    """Return the exchanges before a question that a model with this context reads."""
    before = question.before
    begin = beginning_of(before.exchanges, context_tokens // HISTORY_SHARE)
    read = before.exchanges[begin:]
    summary, summarized = before.summary_before(begin)
    unread = MESSAGES * (before.unloaded + begin - summarized)
    if not summary:
        return History(read, unread)
    # A pair like any other: what it tells a model to do has no more weight than in an answer.
    stands = shortened(Exchange(SUMMARIZE, summary), context_tokens // SUMMARY_SHARE)
    return History([stands, *read], unread, MESSAGES * summarized)


def beginning_of(exchanges: Sequence[Exchange], budget: int) -> int:
    """Return the place of the first exchange that is read within `budget` tokens.

    The same exchanges with more behind them begin at the same place, until they exceed the budget:
    then the oldest are left out until the others take at most half of it. The last one stays.
    """
    sizes = [tokens_of(exchange) for exchange in exchanges]
    begin = tokens = 0
    for last, size in enumerate(sizes):
        tokens += size
        if tokens > budget:
            while tokens > budget // 2 and begin < last:
                tokens -= sizes[begin]
                begin += 1
    return begin


def fitting(history: History, room: int, budget: int) -> History:
    """Return as much of the history as fits into `room` tokens, which a long question has left.

    If the last exchange alone doesn't, its longer message loses its middle, down to `budget`.
    """
    sizes = [tokens_of(exchange) for exchange in history.exchanges]
    tokens, count = sum(sizes), 0
    while tokens > room and count < len(sizes) - 1:
        tokens -= sizes[count]
        count += 1
    if tokens <= room:
        return history.without(count)
    if budget > room:
        return history.without(len(sizes))
    history = history.without(count)
    return replace(history, exchanges=[shortened(history.exchanges[0], budget)])


def shortened(exchange: Exchange, tokens: int) -> Exchange:
    """Return the exchange with at most `tokens`, or as near to that as its shorter message lets."""
    over = tokens_of(exchange) - tokens
    if over <= 0:
        return exchange
    if len(exchange.question) > len(exchange.answer):
        return replace(exchange, question=without_middle(exchange.question, over))
    return replace(exchange, answer=without_middle(exchange.answer, over))


def tokens_of(exchange: Exchange) -> int:
    return estimated_tokens(exchange.question) + estimated_tokens(exchange.answer)


def messages_of(exchange: Exchange) -> list[ChatMessage]:
    return [ChatMessage("user", exchange.question), ChatMessage("assistant", exchange.answer)]
