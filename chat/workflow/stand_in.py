"""What is different with the stand-in model: its examples, and what it is not asked."""

from collections.abc import Sequence
from dataclasses import replace

from django.conf import settings

from chat.llm.messages import estimated_tokens
from chat.llm.servers import is_stand_in
from chat.protocol.terms import Declined
from chat.record import Exchange
from routing.languages import ENGLISH, asks_for_translation, language_of
from tooling.calls import ToolResult
from tooling.known import sufficient_tools

from .crew import crew
from .question import Question
from .sentences import ONLY_ENGLISH, TOO_LONG, Sentences

# It answers more briefly and is right more often behind these (3.3 of 10 instead of 2.4). All are
# English: words of another language would come up in its answers.
EXAMPLES = (
    Exchange("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    Exchange(
        "Why is the sky blue?",
        "Air scatters blue light from the sun more than red light, so the sky looks blue.",
    ),
    Exchange(
        "Give me one tip for sleeping better.",
        "Go to bed at the same time every day, and keep your bedroom dark and cool.",
    ),
)

SENTENCES: dict[Declined, Sentences] = {
    "language": ONLY_ENGLISH,
    "translation": ONLY_ENGLISH,
    "length": TOO_LONG,
}


def has_team(chosen: str) -> bool:
    """Return True if no agent of the team has the stand-in, with the model that was `chosen`."""
    team = (agent for agent in crew().agents if agent.tier == "full")
    return not any(is_stand_in(agent.model or chosen or settings.FLEET_MODEL) for agent in team)


def examples(model: str) -> Sequence[Exchange]:
    """Return the exchanges that a model reads before those of the conversation."""
    return EXAMPLES if is_stand_in(model) else ()


def readable(question: Question, model: str, *, max_tokens: int) -> Question:
    """Return the question with those earlier exchanges that a model can read.

    One in another language makes the stand-in mix both.
    """
    if not is_stand_in(model):
        return question
    earlier = [
        exchange
        for exchange in question.earlier
        if reason_to_decline(exchange.question, max_tokens=max_tokens) is None
    ]
    unread = len(question.earlier) - len(earlier)
    return replace(question, earlier=earlier, unloaded=question.unloaded + unread)


def reason_to_decline(text: str, *, max_tokens: int) -> Declined | None:
    """Return what the stand-in model lacks for this question; None if it can try."""
    if language_of(text) != ENGLISH:
        return "language"
    # Before the patterns of translations, which take long on long texts.
    if estimated_tokens(text) > max_tokens:
        return "length"
    return "translation" if asks_for_translation(text) else None


def said_by_tool(tool: str, result: ToolResult) -> str:
    """Return what a tool has found if that is the answer, which the stand-in would only spoil."""
    if not result.ok:
        # It would make up the page that the question is about.
        return result.message if sufficient_tools({tool}) else ""
    # As in "12 * 7 = 640". What was found outside it may phrase: that is not an answer yet.
    return "" if result.untrusted else result.text
