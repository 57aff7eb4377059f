"""The check of an answer's quotations, when it is written."""

import asyncio

from chat.protocol.terms import MissedQuote, QuoteCheck
from tooling.quotations import Sources, check
from tooling.urls import page_key

from .work import Work


async def quotes_in(text: str, work: Work) -> QuoteCheck | None:
    """Return how a finished answer's quotations agree with what its run has read of its sources.

    Return None if it quotes and cites nothing.
    """
    if "[" not in text:
        return None
    known = work.toolbox.sources
    addresses = {page_key(source.url): source.number for source in known if source.url}
    question = work.question
    said = [question.text, *(each.question for each in question.earlier), question.instructions]
    sources = Sources(work.toolbox.texts(), [source.number for source in known], said)
    # It takes milliseconds, and a second for the worst text that there can be.
    checked = await asyncio.to_thread(check, text, sources, addresses)
    if checked is None:
        return None
    return QuoteCheck(
        checked=checked.checked,
        found=checked.found,
        missed=[MissedQuote(each.text, [*each.cites], each.found_in) for each in checked.missed],
        unknown=[*checked.unknown],
    )
