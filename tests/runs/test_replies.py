"""Replies to paused runs: what they decide, and which are refused."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError
from django.utils import timezone

from chat.conversations import Message
from chat.database import in_database
from chat.journal import StepResult
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.terms import SUBPROTOCOL_HTML, Reply
from chat.runs.replay import EPOCH_SIZE
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.owners import SCRIPT
from tests.scripted_model import ScriptedModel

from .pausing import Pause, Plan, paused, reply_frame

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("plan")]


DECISIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "approve": ({}, {"decision": "approve"}, "approved"),
    "approve and remember": ({}, {"decision": "approve", "remember": True}, "approved"),
    "edit": ({}, {"decision": "edit", "arguments": {"city": "Bonn"}}, "edited"),
    "refuse": ({}, {"decision": "refuse"}, "refused"),
    "refuse with words": ({}, {"decision": "refuse", "text": "Too far."}, "refused"),
    "answer": ({"kind": "question"}, {"decision": "answer", "text": "Two."}, "answered"),
    "refuse to answer": ({"kind": "question"}, {"decision": "refuse"}, "refused"),
    "do it again": ({"kind": "unsure"}, {"decision": "approve"}, "approved"),
    "fill in": (
        {"kind": "form"},
        {"decision": "answer", "arguments": {"city": "Bonn"}},
        "answered",
    ),
    "refuse to fill in": ({"kind": "form"}, {"decision": "refuse"}, "refused"),
    "leave it": ({"kind": "unsure"}, {"decision": "refuse"}, "refused"),
}


@pytest.mark.parametrize(("ask", "reply", "state"), DECISIONS.values(), ids=DECISIONS.keys())
async def test_each_decision_is_stored_and_reaches_the_workflow(
    chat: Chatting, plan: Plan, ask: dict[str, Any], reply: dict[str, Any], state: str
) -> None:
    plan.asks = [ask]
    pause = await paused(chat)
    events = await chat.answer(pause.frame(**reply))
    assert text_of(events) == f"So far. {reply['decision']}"
    row = await pause.asks().aget()
    assert (row.state, row.replied_by, row.remember) == (
        state,
        str(SCRIPT),
        reply.get("remember", False),
    )
    assert row.replied_at
    assert row.reply == {"ask_id": pause.ask_ids[0], **reply}
    [closed] = [event["data"] for event in events if event["type"] == "ask.closed"]
    assert (closed["decision"], closed["edited"]) == (reply["decision"], state == "edited")


async def test_several_asks_are_closed_by_one_reply(chat: Chatting, plan: Plan) -> None:
    plan.asks = [{}, {"kind": "question"}]
    pause = await paused(chat)
    first, second = pause.ask_ids
    events = await chat.answer(
        reply_frame(
            pause.run_id,
            [
                {"ask_id": second, "decision": "answer", "text": "Two."},
                {"ask_id": first, "decision": "refuse"},
            ],
        )
    )
    assert text_of(events) == "So far. refuse answer"
    assert await pause.states() == ["refused", "answered"]


async def test_withdrawing_one_ask_withdraws_all_and_cancels_the_run(
    chat: Chatting, plan: Plan
) -> None:
    plan.asks = [{}, {"kind": "question"}]
    pause = await paused(chat)
    frame = reply_frame(pause.run_id, pause.replies("withdraw")[:1])
    events = await chat.answer(frame)
    assert kinds(events)[-2:] == ["cancelled", "done"]
    assert text_of(events) == "So far. "
    assert await pause.states() == ["withdrawn", "withdrawn"]
    refusal = await chat.answer(pause.frame())
    assert refusal[0]["error"]["code"] == "already_answered"
    # Sent again, the frame joins its run.
    assert kinds(await chat.answer({**frame, "after": 1}))[-1] == "done"


# --- Twice, or at once


async def test_second_reply_is_told_that_it_was_answered(chat: Chatting) -> None:
    pause = await paused(chat)
    await chat.answer(pause.frame())
    socket = await chat.ask(pause.frame("refuse"))
    assert (await socket.event())["error"]["code"] == "already_answered"
    assert await socket.close_code() == 4409
    assert await pause.states() == ["approved"]
    assert await Run.objects.acount() == 2


async def test_two_tabs_that_reply_at_once_start_one_run(chat: Chatting) -> None:
    pause = await paused(chat)
    tabs = await asyncio.gather(*(chat.answer(pause.frame(d)) for d in ("approve", "refuse")))
    endings = sorted(tab[-1]["type"] for tab in tabs)
    assert endings == ["done", "error"]
    assert await Run.objects.acount() == 2


async def test_same_reply_joins_its_run(chat: Chatting) -> None:
    pause = await paused(chat)
    frame = pause.frame()
    one, two = await asyncio.gather(chat.answer(frame), chat.answer(frame))
    assert one == two
    rejoined = await chat.answer({**frame, "after": 3})
    assert rejoined == one[3:]
    html = await chat.answer(frame, subprotocol=SUBPROTOCOL_HTML)
    assert text_of(html) == "So far. approve"
    assert await Run.objects.acount() == 2


async def test_message_id_belongs_to_one_request(chat: Chatting) -> None:
    request = chat_request("May I?")
    pause = await paused(chat, request)
    frame = pause.frame()
    await chat.answer(frame)
    for other in (
        {**frame, "replies": pause.replies("refuse")},
        {**frame, "continues": str(uuid.uuid4())},
        {**pause.frame(), "message_id": request["message_id"]},
        {**request, "message_id": frame["message_id"], "message": "Another?"},
    ):
        assert (await chat.answer(other))[0]["error"]["code"] == "bad_request"
    assert await Run.objects.acount() == 2


# --- Refusals: the asks stay open, and no run is started


async def refusal_of(chat: Chatting, pause: Pause, frame: dict[str, Any]) -> dict[str, Any]:
    """Send a frame that is refused. Check that nothing has changed."""
    before = await Run.objects.acount()
    socket = await chat.ask(frame)
    error: dict[str, Any] = (await socket.event())["error"]
    assert set(await pause.states()) == {"open"}
    assert await Run.objects.acount() == before
    assert not await StepResult.objects.aexists()
    return {**error, "close": await socket.close_code()}


REFUSED_REPLIES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an answer to an approval": ({}, {"decision": "answer", "text": "x"}, "bad_request"),
    "an approval of a question": ({"kind": "question"}, {"decision": "approve"}, "bad_request"),
    "an edit of an unsure act": (
        {"kind": "unsure"},
        {"decision": "edit", "arguments": {"city": "x"}},
        "bad_request",
    ),
    "an empty answer": ({"kind": "question"}, {"decision": "answer", "text": " "}, "bad_request"),
    "an edit without arguments": ({}, {"decision": "edit"}, "bad_request"),
    "an approval with arguments": (
        {},
        {"decision": "approve", "arguments": {"city": "x"}},
        "bad_request",
    ),
    "an approval with words": ({}, {"decision": "approve", "text": "x"}, "bad_request"),
    "a refusal to remember": ({}, {"decision": "refuse", "remember": True}, "bad_request"),
    "a wrong type": (
        {},
        {"decision": "edit", "arguments": {"city": 7}},
        "invalid_arguments",
    ),
    "an unknown argument": (
        {},
        {"decision": "edit", "arguments": {"city": "x", "day": 1}},
        "invalid_arguments",
    ),
    "a form without values": ({"kind": "form"}, {"decision": "answer"}, "bad_request"),
    "a form with words": (
        {"kind": "form"},
        {"decision": "answer", "text": "x", "arguments": {"city": "x"}},
        "bad_request",
    ),
    "a form that is approved": ({"kind": "form"}, {"decision": "approve"}, "bad_request"),
    "a value that doesn't fit": (
        {"kind": "form"},
        {"decision": "answer", "arguments": {"city": "x" * 11}},
        "invalid_arguments",
    ),
    "a missing argument": ({}, {"decision": "edit", "arguments": {}}, "invalid_arguments"),
}


@pytest.mark.parametrize(
    ("ask", "reply", "code"), REFUSED_REPLIES.values(), ids=REFUSED_REPLIES.keys()
)
async def test_reply_that_does_not_fit_leaves_the_ask_open(
    chat: Chatting, plan: Plan, ask: dict[str, Any], reply: dict[str, Any], code: str
) -> None:
    plan.asks = [ask]
    pause = await paused(chat)
    refusal = await refusal_of(chat, pause, pause.frame(**reply))
    assert (refusal["code"], refusal["close"]) == (code, 4400)
    if code == "invalid_arguments":
        assert "city" in refusal["message"]
    assert text_of(await chat.answer(pause.frame("refuse"))) == "So far. refuse"


async def test_each_open_ask_needs_one_reply_of_its_own_run(chat: Chatting, plan: Plan) -> None:
    plan.asks = [{}, {}]
    pause, other = await paused(chat), await paused(chat)
    for replies in (pause.replies()[:1], [*pause.replies(), *other.replies()], other.replies()):
        refusal = await refusal_of(chat, pause, reply_frame(pause.run_id, replies))
        assert refusal["code"] == "bad_request"


async def test_foreign_and_unknown_runs_get_the_same_refusal(chat: Chatting) -> None:
    pause = await paused(chat)
    await Run.objects.filter(pk=pause.run_id).aupdate(owner="user:77")
    foreign = await refusal_of(chat, pause, pause.frame())
    unknown = await refusal_of(chat, pause, reply_frame(uuid.uuid4(), pause.replies()))
    assert foreign == unknown
    assert (foreign["code"], foreign["close"]) == ("forbidden", 4403)


async def test_run_that_did_not_pause_takes_no_reply(chat: Chatting) -> None:
    pause = await paused(chat)
    plain = await chat.answer("plain")
    frame = reply_frame(plain[0]["workflow_id"], pause.replies())
    assert (await refusal_of(chat, pause, frame))["code"] == "already_answered"


async def test_reply_for_rejoining_must_be_known(chat: Chatting) -> None:
    pause = await paused(chat)
    assert (await refusal_of(chat, pause, {**pause.frame(), "after": 3}))["code"] == "bad_request"


async def test_reply_waits_for_another_question_of_the_conversation(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = await paused(chat)
    await Run.objects.acreate(
        conversation_id=pause.conversation_id,
        question=await Message.objects.acreate(
            conversation_id=pause.conversation_id, role="user", text="Another?"
        ),
        answer=await Message.objects.acreate(
            conversation_id=pause.conversation_id, role="assistant"
        ),
        owner=str(SCRIPT),
        message_id=uuid.uuid4(),
        mode="auto",
        worker="worker.elsewhere",
        lease_expires_at=timezone.now() + timedelta(seconds=60),
    )
    refusal = await refusal_of(chat, pause, pause.frame())
    assert (refusal["code"], refusal["retryable"], refusal["close"]) == (
        "conversation_busy",
        True,
        4429,
    )


async def test_draining_worker_refuses_a_reply(chat: Chatting, worker: Worker) -> None:
    pause = await paused(chat)
    worker.runs.accepting = False
    assert (await refusal_of(chat, pause, pause.frame()))["code"] == "shutting_down"


async def test_failing_database_closes_no_ask(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = await paused(chat)

    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("chat.starts.StepResult.objects.bulk_create", fail)
        refusal = await refusal_of(chat, pause, pause.frame())
    assert refusal["code"] == "storage_unavailable"
    assert text_of(await chat.answer(pause.frame())) == "So far. approve"


# --- Staff


ADDRESS = "198.51.100.7"
PERMISSION = "perm:chat.export_run"


def make_user(name: str, *, permitted: bool) -> User:
    user = User.objects.create_user(name)
    if permitted:
        content_type = ContentType.objects.get_for_model(Run)
        user.user_permissions.add(
            Permission.objects.get(content_type=content_type, codename="export_run")
        )
    return User.objects.get(pk=user.pk)


def approvals(pause: Pause, *numbers: int, decision: Any = "approve") -> list[Reply]:
    return [Reply(ask_id=uuid.UUID(pause.ask_ids[n]), decision=decision) for n in numbers]


async def reply_as_staff(user: User, pause: Pause, replies: list[Reply]) -> Run | None:
    return await in_database(Run.objects.reply_as_staff, user, uuid.UUID(pause.run_id), replies)


@pytest.fixture
async def staff(chat: Chatting) -> User:
    return await in_database(make_user, "staff", permitted=True)


async def test_owner_without_the_permission_cannot_decide_but_withdraw(
    chat: Chatting, plan: Plan
) -> None:
    plan.asks = [{"approver": PERMISSION}]
    pause = await paused(chat)
    refusal = await refusal_of(chat, pause, pause.frame())
    assert (refusal["code"], refusal["close"]) == ("forbidden", 4403)
    assert kinds(await chat.answer(pause.frame("withdraw")))[-2:] == ["cancelled", "done"]


@pytest.mark.parametrize("permitted", [True, False])
async def test_owner_decides_with_the_permission_only(
    chat: Chatting, plan: Plan, monkeypatch: pytest.MonkeyPatch, permitted: bool
) -> None:
    plan.asks = [{"approver": PERMISSION}]
    pause = await paused(chat)
    user = await in_database(make_user, "owner", permitted=permitted)
    monkeypatch.setattr("chat.starts.user_of", lambda owner: user)
    ending = (await chat.answer(pause.frame()))[-1]
    assert ending["type"] == ("done" if permitted else "error")


async def test_staff_with_the_permission_release_the_run(
    chat: Chatting, plan: Plan, staff: User
) -> None:
    plan.asks = [{"approver": PERMISSION}]
    pause = await paused(chat, address=ADDRESS)
    # No worker here may take the run while the test looks at it.
    Worker.current().takeovers.is_on = False
    run = await reply_as_staff(staff, pause, approvals(pause, 0))
    assert run
    assert (run.worker, run.status, run.owner, run.text_so_far) == (
        "released",
        "running",
        str(SCRIPT),
        "So far. ",
    )
    assert run.address == ADDRESS
    assert await pause.states() == ["approved"]
    assert (await pause.asks().aget()).replied_by == f"user:{staff.pk}"
    # The asker's client joins it, although it made no frame for it.
    socket = await chat.ask({"message": "May I?", "message_id": pause.run_id, "after": 1})
    assert (await socket.event())["workflow_id"] == str(run.pk)


async def test_run_that_staff_released_goes_on_at_once(
    chat: Chatting, plan: Plan, staff: User
) -> None:
    plan.asks = [{"approver": PERMISSION}]
    pause = await paused(chat)
    run = await reply_as_staff(staff, pause, approvals(pause, 0))
    assert run
    events = await chat.answer({"message": "May I?", "message_id": pause.run_id})
    opening = [event for event in events if event["seq"] >= EPOCH_SIZE][:4]
    assert kinds(opening) == ["response.snapshot", "connected", "resumed", "ask.closed"]
    assert opening[1]["data"]["continues"] == pause.run_id
    assert text_of(events) == "So far. approve"
    row = await Run.objects.aget(pk=run.pk)
    assert (row.status, row.epoch, row.deaths) == ("completed", 1, 0)


async def test_staff_and_owner_each_decide_their_asks(
    chat: Chatting, plan: Plan, staff: User
) -> None:
    plan.asks = [{"approver": PERMISSION}, {}]
    pause = await paused(chat)
    assert (await refusal_of(chat, pause, pause.frame()))["code"] == "forbidden"
    assert await reply_as_staff(staff, pause, approvals(pause, 0)) is None
    assert await pause.states() == ["approved", "open"]
    frame = reply_frame(pause.run_id, pause.replies("refuse")[1:])
    events = await chat.answer(frame)
    assert text_of(events) == "So far. approve refuse"
    by = [event["data"]["by"] for event in events if event["type"] == "ask.closed"]
    assert by == ["staff", "owner"]
    assert await chat.answer({**frame, "after": 2}) == events[2:]


async def test_owner_who_decided_as_staff_before_joins_by_the_same_reply(
    chat: Chatting, plan: Plan, staff: User
) -> None:
    plan.asks = [{"approver": PERMISSION}, {}]
    pause = await paused(chat)
    await reply_as_staff(staff, pause, approvals(pause, 0))
    await pause.asks().exclude(state="open").aupdate(replied_by=str(SCRIPT))
    frame = reply_frame(pause.run_id, pause.replies("refuse")[1:])
    events = await chat.answer(frame)
    assert await chat.answer({**frame, "after": 2}) == events[2:]


@pytest.mark.parametrize("decision", ["approve", "withdraw"])
async def test_staff_decide_nothing_that_the_owner_is_asked(
    chat: Chatting, staff: User, decision: str
) -> None:
    pause = await paused(chat)
    with pytest.raises(ProtocolError) as refused:
        await reply_as_staff(staff, pause, approvals(pause, 0, decision=decision))
    assert refused.value.error.code == "forbidden"
    assert await pause.states() == ["open"]


async def test_staff_without_the_permission_are_refused(chat: Chatting, plan: Plan) -> None:
    plan.asks = [{"approver": PERMISSION}]
    pause = await paused(chat)
    user = await in_database(make_user, "colleague", permitted=False)
    with pytest.raises(ProtocolError) as refused:
        await reply_as_staff(user, pause, approvals(pause, 0))
    assert refused.value.error.code == "forbidden"
    assert await pause.states() == ["open"]
