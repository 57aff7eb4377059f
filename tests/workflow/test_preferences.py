"""What a person prefers where one agent or the team may answer, from the request to the route."""

from typing import Any, ClassVar

import pytest
from django.test import Client
from pytest_django import Settings

from chat.access.owners import TERMINAL, Owner
from chat.conversations import Conversation
from chat.database import in_database
from chat.instructions import Instructions
from chat.models import Run
from chat.runs.continuing import question_of
from routing import policy
from routing.classifier import Judgement
from tests.chatting import Chatting, Event, chat_request, cookie_header
from tests.owners import SCRIPT
from tests.pages.conversations import owner_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = {"origin": "http://testserver"}


class Undecided:
    """A classifier that would have one agent answer if the person prefers that."""

    threshold = 0.62
    thresholds: ClassVar = {"economy": 0.4, "balanced": 0.62, "quality": 0.8}

    def judge(self, text: str, context: object = (), answered: object = None) -> Judgement:
        return Judgement(0.5, ("a",), {}, core=text)


@pytest.fixture(autouse=True)
def _undecided(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FLEET_LIGHT_THRESHOLD = None
    monkeypatch.setattr(policy, "classifier", Undecided)


async def ask(chat: Chatting, client: Client | None, **fields: Any) -> list[Event]:
    headers = ORIGIN | {"cookie": cookie_header(client)} if client else {}
    return await (await chat.ask(chat_request(**fields), headers=headers)).rest()


async def asked(chat: Chatting, client: Client | None = None, **fields: Any) -> tuple[Run, str]:
    """Return the run of a request, and the path that was chosen first."""
    events = await ask(chat, client, **fields)
    route = next(event["data"]["path"] for event in events if event["type"] == "routing.decided")
    return await Run.objects.aget(pk=events[0]["workflow_id"]), route


async def test_preference_of_a_request_decides_a_close_question(
    chat: Chatting, team: ScriptedModel
) -> None:
    run, path = await asked(chat, preference="economy")
    assert (run.preference, path) == ("economy", "light")
    for preference in ("balanced", "quality", None):
        run, path = await asked(chat, preference=preference)
        assert (run.preference, path) == (preference or "balanced", "full")


async def test_without_one_the_persons_own_counts(
    chat: Chatting, team: ScriptedModel, client: Client
) -> None:
    owner = Owner("browser", (await in_database(owner_of, client)).removeprefix("browser:"))
    await in_database(Instructions.objects.prefer, owner, "economy")
    run, path = await asked(chat, client)
    assert (run.preference, path) == ("economy", "light")
    run, _ = await asked(chat, client, preference="quality", mode="light")
    assert run.preference == "quality"


@pytest.mark.parametrize("owner", [SCRIPT, TERMINAL])
def test_scripts_and_the_terminal_have_none(owner: Owner) -> None:
    Instructions.objects.prefer(owner, "economy")
    assert Instructions.objects.of(owner).preference == "balanced"


async def test_answer_that_is_asked_for_again_takes_the_same_path(
    chat: Chatting, team: ScriptedModel, client: Client
) -> None:
    await in_database(owner_of, client)
    first, _ = await asked(chat, client, preference="economy")
    again, path = await asked(chat, client, rerun_of=str(first.pk))
    assert (again.preference, path) == ("economy", "light")
    changed, _ = await asked(chat, client, rerun_of=str(first.pk), preference="quality")
    assert changed.preference == "quality"
    # Another text is another question.
    branch, _ = await asked(chat, client, branch_of=str(first.pk), message="And this one?")
    assert branch.preference == "balanced"


async def test_worker_that_takes_a_run_over_knows_what_was_preferred(
    chat: Chatting, team: ScriptedModel
) -> None:
    run, _ = await asked(chat, preference="economy")
    stored = Run.objects.select_related("question", "conversation", "continues")
    run = await stored.aget(pk=run.pk)
    assert (await in_database(question_of, run)).preference == "economy"


async def test_other_words_are_refused(chat: Chatting, team: ScriptedModel) -> None:
    [event] = await ask(chat, None, preference="luxury")
    assert event["error"]["code"] == "bad_request"


async def test_last_answer_of_a_chat_has_the_path_that_it_took(
    chat: Chatting, team: ScriptedModel
) -> None:
    run, _ = await asked(chat, preference="economy")
    conversation = await Conversation.objects.aget(pk=run.conversation_id)
    found = await in_database(conversation.exchanges, [run.question_id])
    assert [each.path for each in found] == ["light"]
