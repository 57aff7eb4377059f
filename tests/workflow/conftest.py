import pytest
import pytest_asyncio
from pytest_django import Settings

from chat.runs.worker import Worker
from chat.workflow.agents import ANALYST, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from tests.chatting import Chatting
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


@pytest_asyncio.fixture
async def thinker(chat: Chatting, team: ScriptedModel, settings: Settings) -> ScriptedModel:
    """A team whose model is known to think."""
    settings.FLEET_THINKING_TOKENS, settings.FLEET_STEP_TOKENS, settings.FLEET_MAX_OUTPUT_TOKENS = (
        4000,
        1000,
        3000,
    )
    await Worker.current().stop()  # the next one reads the setting
    return team
