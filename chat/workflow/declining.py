"""Questions that the stand-in model isn't asked, because it answers all of them with nonsense."""

from chat.llm.messages import estimated_tokens
from chat.protocol.terms import Declined
from routing.languages import ENGLISH, asks_for_translation, language_of

from .sentences import ONLY_ENGLISH, TOO_LONG, Sentences

SENTENCES: dict[Declined, Sentences] = {
    "language": ONLY_ENGLISH,
    "translation": ONLY_ENGLISH,
    "length": TOO_LONG,
}


def reason_to_decline(text: str, *, max_tokens: int) -> Declined | None:
    """Return what the stand-in model lacks for this question; None if it can try."""
    if language_of(text) != ENGLISH:
        return "language"
    if asks_for_translation(text):
        return "translation"
    return "length" if estimated_tokens(text) > max_tokens else None
