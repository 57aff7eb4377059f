"""Custom instructions: the models that write answers to a person read them, and no others."""

from collections.abc import Sequence

import pytest
from django.test import Client
from pytest_django import Settings

from chat.access.owners import TERMINAL, Owner
from chat.database import in_database
from chat.instructions import MAX_INSTRUCTIONS, Instructions
from chat.llm.messages import estimated_tokens
from chat.models import Run
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER, Agent
from chat.workflow.prompt import prompt
from chat.workflow.question import Question
from tests.chatting import Chatting, Event, Socket, chat_request, cookie_header, kinds
from tests.owners import SCRIPT
from tests.pages.conversations import owner_of
from tests.scripted_model import Script, ScriptedModel

from .workers import another_worker, freeze, mark_died, until_epoch

pytestmark = pytest.mark.django_db(transaction=True)

METRIC = "Use metric units, and answer in Welsh."
ORIGIN = {"origin": "http://testserver"}


@pytest.fixture
def person(client: Client) -> Owner:
    """The owner that the client is, with instructions."""
    return written(client, METRIC)


def written(client: Client, text: str, *, is_on: bool = True) -> Owner:
    owner = Owner("browser", owner_of(client).removeprefix("browser:"))
    Instructions.objects.keep(owner, text, is_on=is_on)
    return owner


async def ask(chat: Chatting, client: Client, **fields: str) -> Socket:
    headers = ORIGIN | {"cookie": cookie_header(client)}
    return await chat.ask(chat_request(**fields), headers=headers)


async def answered(chat: Chatting, client: Client, **fields: str) -> list[Event]:
    return await (await ask(chat, client, **fields)).rest()


def told(events: Sequence[Event]) -> bool:
    [route] = [event["data"] for event in events if event["type"] == "routing.decided"]
    return bool(route["personal"])


async def test_model_reads_the_instructions_of_the_person_who_asks(
    chat: Chatting, model: ScriptedModel, client: Client, person: Owner
) -> None:
    teammate, stranger = Client(), Client()
    await in_database(written, teammate, "Answer like a pirate.")
    await in_database(owner_of, stranger)
    told_of = [told(await answered(chat, each)) for each in (client, teammate, stranger)]
    assert told_of == [True, True, False]
    mine, theirs, none = (call.instructions for call in model.calls)
    assert mine.startswith(ASSISTANT.instructions)
    assert METRIC in mine
    assert "pirate" not in mine
    assert METRIC not in theirs
    assert none == ASSISTANT.instructions


async def test_instructions_that_are_off_are_not_read(
    chat: Chatting, model: ScriptedModel, client: Client
) -> None:
    await in_database(written, client, METRIC, is_on=False)
    assert not told(await answered(chat, client))
    assert model.calls[0].instructions == ASSISTANT.instructions


@pytest.mark.parametrize("owner", [SCRIPT, TERMINAL])
def test_scripts_and_the_terminal_have_none(owner: Owner) -> None:
    Instructions.objects.keep(owner, METRIC, is_on=True)
    assert Instructions.objects.of(owner).in_force == ""


async def test_of_the_team_only_those_who_write_for_the_person_read_them(
    chat: Chatting, model: ScriptedModel, client: Client, person: Owner
) -> None:
    for agent in (PLANNER, RESEARCHER, REVIEWER):
        model.as_agent(agent.instructions, Script(tokens=["{}"]))
    await answered(chat, client, mode="full")

    def have_read(agent: Agent) -> set[bool]:
        """Return if the calls of an agent had the instructions."""
        mine = [
            c.instructions for c in model.calls if c.instructions.startswith(agent.instructions)
        ]
        return {METRIC in instructions for instructions in mine}

    assert {agent.id: have_read(agent) for agent in (PLANNER, RESEARCHER, REVIEWER)} == {
        "planner": {False},
        "researcher": {False},
        "reviewer": {False},
    }
    assert have_read(WRITER) == have_read(EDITOR) == {True}


async def test_run_goes_on_elsewhere_with_the_instructions_that_it_began_with(
    chat: Chatting, model: ScriptedModel, client: Client, person: Owner
) -> None:
    model.on("hold", hold_after=2)
    async with another_worker():
        socket = await ask(chat, client, message="hold")
        connected = await socket.until("connected")
        for _ in range(2):
            await socket.until("response.delta")
        await Worker.current().leases.renew()
        await in_database(Instructions.objects.keep, person, "Something else.", is_on=True)
        await freeze(Worker.current())
        await mark_died(connected["workflow_id"])
        run = await until_epoch(connected["workflow_id"], 1)
        assert run.instructions == METRIC
        model.release()
        await socket.rest()
    assert [METRIC in call.instructions for call in model.calls] == [True, True]
    run = await Run.objects.aget(pk=run.pk)
    assert (run.status, run.instructions) == ("completed", "")


async def test_small_model_gets_their_beginning_and_the_reader_is_told(
    chat: Chatting, model: ScriptedModel, client: Client, settings: Settings
) -> None:
    settings.FLEET_CONTEXT_TOKENS, settings.FLEET_MAX_OUTPUT_TOKENS = 1200, 600
    await Worker.current().stop()  # the next one reads the settings
    await in_database(written, client, "größer " * 285)
    events = await answered(chat, client, message="word " * 1000)
    [call] = model.calls
    read = sum(estimated_tokens(str(message["content"])) for message in call.body["messages"])
    assert read <= 1200 + estimated_tokens(" […] ")
    assert "größer" in call.instructions
    assert estimated_tokens(call.instructions) <= 1200 // 4 + estimated_tokens(
        ASSISTANT.instructions
    )
    assert "orchestrator.message" in kinds(events)


@pytest.mark.parametrize("text", ["x" * MAX_INSTRUCTIONS, "語" * MAX_INSTRUCTIONS, "é " * 900])
@pytest.mark.parametrize("context", [150, 1200, 6000])
def test_instructions_take_at_most_a_quarter_of_the_context(text: str, context: int) -> None:
    [system, _] = prompt(ASSISTANT, Question("Why?", "auto", instructions=text), context).messages
    assert system.tokens - estimated_tokens(ASSISTANT.instructions) <= context // 4
