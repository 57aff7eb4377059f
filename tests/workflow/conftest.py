import pytest

from chat.workflow.agents import ANALYST, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from tests.scripted_model import Script, ScriptedModel

from .playing import plan, review


@pytest.fixture
def team(model: ScriptedModel) -> ScriptedModel:
    """A model that plays every member of the team well."""
    model.as_agent(PLANNER.instructions, plan("researcher", "analyst"))
    model.as_agent(RESEARCHER.instructions, Script(tokens=["found ", "it"]))
    model.as_agent(ANALYST.instructions, Script(tokens=["counted ", "it"]))
    model.as_agent(WRITER.instructions, Script(tokens=["a ", "draft"]))
    model.as_agent(REVIEWER.instructions, review(9))
    model.as_agent(EDITOR.instructions, Script(tokens=["The ", "final ", "answer."]))
    return model
