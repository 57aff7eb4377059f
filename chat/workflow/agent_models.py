"""Which model an agent is asked with, and which one instead if its server fails."""

from dataclasses import replace

from django.conf import settings

from chat.llm.errors import FirstChunkTimeout, ModelError, NoAnswer
from chat.llm.faults.verdicts import Kind, ServerError
from chat.llm.servers import is_stand_in
from chat.llm.windows import Window
from tooling.sentences import sentence

from .agents import Agent
from .question import Question
from .work import Work

OTHER_MODEL = sentence(
    "%(model)s, the model of the %(agent)s, cannot be asked now, so %(other)s is asked instead."
)


def window_of(agent: Agent, work: Work) -> Window:
    """Return what a call to the agent's model may hold."""
    return work.models.window(model_of(agent, work.question))


def model_of(agent: Agent, question: Question) -> str:
    """Return the model of an agent: its own, or the one that was chosen, or its path's."""
    of_path = settings.FLEET_LIGHT_MODEL if agent.tier == "light" else settings.FLEET_MODEL
    return agent.model or question.model or of_path


def model_now(agent: Agent, work: Work) -> str:
    """Return the model with which an agent is asked now, as far as servers have failed."""
    model = model_of(agent, work.question)
    other = model_instead(agent, work.question)
    return other if other and model in work.failed_models else model


def tell_model(agent: Agent, model: str, work: Work) -> None:
    """Tell once if this model is asked in place of the agent's own."""
    if (own := model_of(agent, work.question)) != model:
        work.say_once(OTHER_MODEL % {"agent": agent.name, "model": own, "other": model})


def model_instead(agent: Agent, question: Question) -> str:
    """Return what answers if the server of an agent's own model fails; empty if nothing does.

    A model that a person chose has no other one, and the stand-in would be worse than none.
    """
    other = model_of(replace(agent, model=""), question)
    return other if agent.model not in ("", other) and not is_stand_in(other) else ""


def is_of_server(failure: ModelError) -> bool:
    """Return True if a call failed for no fault of its messages."""
    match failure:
        case ServerError():
            return failure.kind not in (Kind.TOO_LONG, Kind.FILTERED)
        case FirstChunkTimeout() | NoAnswer():
            return True
    return False
