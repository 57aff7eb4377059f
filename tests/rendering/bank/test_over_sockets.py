"""The cases as a browser gets them: over a socket, and again from history."""

import asyncio
import random
import uuid
from itertools import chain

import pytest

from chat.database import in_database
from chat.models import Run
from chat.pages import answer_of
from chat.runs.worker import Worker
from tests.chatting import Chatting, Socket, chat_request, is_terminal
from tests.rendering.page import Node, Page, history_page, parsed
from tests.scripted_model import ScriptedModel

from .cases import Case, has_maths
from .test_bank import CASES, HANDED

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 10
RUN_FIELDS = ("question", "answer", "conversation")


def tokens_of(case: Case) -> list[str]:
    choose, text, tokens = random.Random(case.name), case.markdown, []
    while text:
        size = choose.choice([1, 2, 3, 5, 9])
        tokens.append(text[:size])
        text = text[size:]
    return tokens


def body_of(page: Page, run_id: str) -> Node:
    found = page.root.find(f"run-{run_id}-body")
    assert found is not None
    body = found[0].children[found[1]]
    assert isinstance(body, Node)
    return body


async def stop_behind(text: str, run_id: str, socket: Socket) -> None:
    """Cancel the run when its model has said all that it says. The last piece may show nothing."""
    run = Worker.current().runs.live[uuid.UUID(run_id)]
    while run.log.text != text:
        await asyncio.sleep(0.01)
    await socket.send({"type": "cancel"})


async def faults_of(case: Case, chat: Chatting, model: ScriptedModel) -> list[str]:
    """Play a case; return what is wrong with it on the page and in history."""
    tokens = tokens_of(case)
    question = f"Play {CASES.index(case):03}"  # which no tool can answer
    model.on(question, tokens=tokens, hang_after=len(tokens) if case.stopped else None)
    request = chat_request(question, mode="light")
    page, faults = Page(), []
    page.root = parsed(f'<article id="answer-{request["message_id"]}"></article>')
    socket = await chat.ask(request, subprotocol="fleet.html.v1")
    run_id = (await socket.until("connected"))["workflow_id"]
    page.show(socket.events[-1]["html"])
    if case.stopped:
        stopping = asyncio.create_task(stop_behind(case.markdown, run_id, socket))
    while not is_terminal(socket.events[-1]):
        page.show((await socket.event()).get("html") or "")
        if case.never_maths and has_maths(str(body_of(page, run_id))):
            faults.append(f"{case.name}: maths for a moment")
    if case.stopped:
        await stopping
    run = await Run.objects.select_related(*RUN_FIELDS).aget(pk=run_id)
    view = await in_database(answer_of, run)
    live, history = body_of(page, run_id), body_of(history_page(view), run_id)
    if str(live) != str(history):
        faults.append(f"{case.name}: {live} on the page, {history} in history")
    return [*filter(None, [case.fault(live)]), *faults]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(HANDED[::2], id="half of the handed ones"),
        pytest.param(CASES, id="all", marks=pytest.mark.long),
    ],
)
async def test_cases_are_seen_right_over_a_socket_and_in_history(
    chat: Chatting, model: ScriptedModel, cases: list[Case]
) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def play(case: Case) -> list[str]:
        async with gate:
            return await faults_of(case, chat, model)

    found = await asyncio.gather(*map(play, cases))
    assert list(chain(*found)) == []
