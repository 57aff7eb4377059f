"""Cards of a paused answer in a real Chromium: what the page sends, and how the answer goes on."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from playwright.async_api import Browser, Locator, expect

from chat.asks import Ask
from chat.conversations import Conversation
from chat.models import Run
from chat.protocol.events import (
    AgentStart,
    AnyEvent,
    AskClosed,
    Connected,
    OrchestratorMessage,
    PhaseStart,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    StreamEvent,
    encode,
    ending_events,
    stamp,
    with_html,
)
from chat.protocol.payloads import (
    AskClosedData,
    ConnectedData,
    PhaseData,
    ResumedData,
    SnapshotData,
)
from chat.protocol.terms import Asked, Ending, paused
from chat.rendering.answer import AnswerView
from chat.rendering.earlier import Earlier
from tests.serving import GONE

from .browsing import MARKS
from .conversations import address, asked, continuing_run_of, conversation_of, paused_run_of
from .staging import CONVERSATION, RUN, Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]

NEXT_RUN = "33333333-3333-4333-8333-333333333333"
WHO = {"agent_id": "researcher", "author": "Researcher"}
EPOCH = 10_000_000


@pytest.fixture
def chat(transactional_db: None, client: Client, async_client: AsyncClient) -> Conversation:
    found = conversation_of(client)
    async_client.cookies = client.cookies
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, chat: Conversation, async_client: AsyncClient
) -> AsyncIterator[Stage]:
    async with stages(staging, async_client) as stage:
        yield stage


async def open_paused(stage: Stage, chat: Conversation, *asks: Asked, **fields: Any) -> Run:
    """Open the page of a conversation whose answer waits; return its run."""
    run = await sync_to_async(paused_run_of)(chat, *asks, **fields)
    await stage.open(address(chat))
    return run


def ids_of(*asks: Asked) -> list[str]:
    return [str(ask.data.ask_id) for ask in asks]


async def next_reply(stage: Stage) -> dict[str, Any]:
    await stage.wait(0)
    return await stage.next_request()


def answer(stage: Stage) -> Locator:
    return stage.page.locator("article.answer")


def button(stage: Stage, name: str) -> Locator:
    return stage.page.get_by_role("button", name=name, exact=True)


def tell(
    stage: Stage, view: AnswerView, *events: AnyEvent | StreamEvent, run: str = RUN, seq: int = 1
) -> int:
    """Send these events with the markup that a socket of the server adds; return the next seq."""
    assert stage.socket is not None
    for at, event in enumerate(events, seq):
        stamp(event, seq=at, workflow_id=run)
        stage.socket.send(with_html(encode(event), view.render(event)).decode())
    return seq + len(events)


def connected(run: Run | None, request: dict[str, Any]) -> Connected:
    return Connected(
        data=ConnectedData(
            run.conversation_id if run else CONVERSATION,  # type: ignore[arg-type]
            request["message_id"],
            run.pk if run else None,
        )
    )


async def test_approval_is_sent_at_once_and_the_answer_goes_on_in_its_article(
    stage: Stage, chat: Conversation
) -> None:
    ask = asked()
    run = await open_paused(stage, chat, ask, answer="So far.")
    await expect(stage.page).to_have_title(re.compile(r"^\(waiting\) "))
    await button(stage, "Approve").click()
    await expect(stage.page.locator("#composer-text")).to_be_focused()
    await expect(button(stage, "Approve")).to_be_disabled()
    await expect(answer(stage).locator("[data-reply-state]")).to_have_text("Sending…")
    request = await next_reply(stage)
    assert request == {
        "type": "reply",
        "message_id": request["message_id"],
        "continues": str(run.pk),
        "replies": [{"ask_id": ids_of(ask)[0], "decision": "approve"}],
        "after": 0,
    }
    view = AnswerView(NEXT_RUN, earlier=Earlier(str(run.pk)))
    closed = AskClosed(data=AskClosedData(ask_id=ask.data.ask_id, decision="approve"))
    tell(stage, view, connected(run, request), closed, ResponseDelta(delta="Done."), run=NEXT_RUN)
    await expect(answer(stage)).to_have_count(1)
    await expect(answer(stage).locator(".prose").first).to_have_text("Done.")
    await expect(answer(stage)).to_have_attribute("data-workflow-id", NEXT_RUN)
    await expect(answer(stage)).to_have_attribute("aria-busy", "true")
    await expect(stage.page.locator(".ask")).to_have_count(0)
    await expect(stage.page).not_to_have_title(re.compile("waiting"))
    await expect(button(stage, "Stop")).to_be_visible()
    tell(stage, view, *ending_events(Ending(status="completed"), "Done."), run=NEXT_RUN, seq=4)
    await expect(answer(stage)).to_have_attribute("aria-busy", "false")
    await expect(stage.page.locator("#announce")).to_have_text("Answer complete")


async def test_changed_arguments_are_sent_and_escape_gives_them_up(
    stage: Stage, chat: Conversation
) -> None:
    ask = asked(arguments={"query": "kafka", "topic": "news"})
    await open_paused(stage, chat, ask)
    query = stage.page.get_by_label("Query")
    await expect(query).not_to_be_editable()
    await expect(stage.page.get_by_label("Max results")).to_be_hidden()
    await button(stage, "Change").click()
    await expect(query).to_be_focused()
    await query.fill("rabbits")
    await query.press("Escape")
    await expect(query).to_have_value("kafka")
    await expect(query).not_to_be_editable()
    await expect(button(stage, "Change")).to_be_focused()
    await button(stage, "Change").click()
    await query.fill("rabbits")
    await stage.page.get_by_label("Max results").fill("3")
    # Enter doesn't approve.
    await stage.page.get_by_label("Max results").press("Enter")
    await stage.page.get_by_label("Topic").select_option("general")
    await stage.page.get_by_label("Remember for this chat").check()
    assert stage.socket is None
    await button(stage, "Approve").click()
    (reply,) = (await next_reply(stage))["replies"]
    assert reply == {
        "ask_id": ids_of(ask)[0],
        "decision": "edit",
        "arguments": {"query": "rabbits", "topic": "general", "max_results": 3},
        "remember": True,
    }


async def test_fields_of_every_kind_are_sent_as_their_schema_wants_them(
    stage: Stage, chat: Conversation
) -> None:
    schema = {
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}},
            "express": {"type": "boolean"},
            "price": {"type": "number"},
            "level": {"enum": [1, 2]},
            "more": {"type": "object"},
            "note": {"type": "string"},
            "unset": {"type": "boolean"},
        }
    }
    arguments = {"tags": ["a"], "express": False, "price": 1, "level": 1, "more": {}, "note": "x"}
    await open_paused(stage, chat, asked(schema=schema, arguments=arguments))
    await button(stage, "Change").click()
    page = stage.page
    await page.get_by_label("Tags").fill("a\n\n b ")
    await page.get_by_label("Express").check()
    await page.get_by_label("Price").fill("1.5")
    await page.get_by_label("Level").select_option("2")
    await page.get_by_label("Note").fill("")
    await page.get_by_label("More").fill("{")
    await button(stage, "Approve").click()
    await expect(page.get_by_role("alert")).to_have_text("More: this is not JSON.")
    await expect(page.get_by_label("More")).to_be_focused()
    await page.get_by_label("More").fill('{"b": [1]}')
    await button(stage, "Approve").click()
    (reply,) = (await next_reply(stage))["replies"]
    assert reply["arguments"] == {
        "tags": ["a", "b"],
        "express": True,
        "price": 1.5,
        "level": 2,
        "more": {"b": [1]},
        "note": "",
    }


async def test_refusal_has_room_for_words(stage: Stage, chat: Conversation) -> None:
    await open_paused(stage, chat, asked())
    await button(stage, "Refuse").click()
    words = stage.page.get_by_label("Why, or what to do instead")
    await expect(words).to_be_focused()
    await words.fill("Not on the web.")
    await stage.page.locator("[data-ask=send]").click()
    (reply,) = (await next_reply(stage))["replies"]
    assert (reply["decision"], reply["text"]) == ("refuse", "Not on the web.")


@pytest.mark.parametrize("own", [False, True])
async def test_question_is_answered_by_an_option_or_in_words(
    stage: Stage, chat: Conversation, own: bool
) -> None:
    await open_paused(stage, chat, asked("question", options=["EU", "US"]))
    await expect(button(stage, "Answer")).to_be_disabled()
    if own:
        await stage.page.get_by_label("Or in your words").fill("Asia")
        await button(stage, "Answer").click()
    else:
        await button(stage, "US").click()
    (reply,) = (await next_reply(stage))["replies"]
    assert (reply["decision"], reply["text"]) == ("answer", "Asia" if own else "US")


async def test_all_cards_are_answered_with_one_reply(stage: Stage, chat: Conversation) -> None:
    asks = asked(), asked("unsure", message="It may have been done.")
    await open_paused(stage, chat, *asks)
    send = stage.page.locator("[data-ask=send]")
    await expect(send).to_be_disabled()
    await button(stage, "Approve").click()
    await expect(button(stage, "Approve")).to_have_attribute("aria-pressed", "true")
    await expect(send).to_be_disabled()
    await button(stage, "Do it again").click()
    await button(stage, "Leave it").click()
    await expect(button(stage, "Do it again")).to_have_attribute("aria-pressed", "false")
    await send.click()
    replies = (await next_reply(stage))["replies"]
    decisions = {reply["ask_id"]: reply["decision"] for reply in replies}
    assert decisions == dict(zip(ids_of(*asks), ["approve", "refuse"], strict=True))


async def test_question_can_be_taken_back(stage: Stage, chat: Conversation) -> None:
    asks = asked(), asked(approver="perm:shop.refund")
    await open_paused(stage, chat, *asks)
    await expect(button(stage, "Approve")).to_have_count(0)
    await button(stage, "Take the question back").click()
    replies = (await next_reply(stage))["replies"]
    assert {(reply["ask_id"], reply["decision"]) for reply in replies} == {
        (ask_id, "withdraw") for ask_id in ids_of(*asks)
    }


def refuse(stage: Stage, code: str, message: str) -> None:
    stage.send("error", 0, run="", error={"code": code, "message": message})


async def test_invalid_arguments_are_shown_at_the_card_which_stays_open(
    stage: Stage, chat: Conversation
) -> None:
    await open_paused(stage, chat, asked())
    await button(stage, "Change").click()
    await stage.page.get_by_label("Query").fill("x" * 9)
    await button(stage, "Approve").click()
    first = await next_reply(stage)
    refuse(stage, "invalid_arguments", "query: too long")
    await expect(stage.page.get_by_role("alert")).to_have_text("query: too long")
    await expect(stage.page.get_by_label("Query")).to_have_value("x" * 9)
    await expect(stage.page.get_by_label("Query")).to_be_editable()
    await button(stage, "Approve").click()
    second = await next_reply(stage)
    assert first["replies"] == second["replies"]
    assert first["message_id"] != second["message_id"]


async def test_answer_that_was_decided_elsewhere_is_shown_as_it_is(
    stage: Stage, chat: Conversation
) -> None:
    run = await open_paused(stage, chat, asked())
    await button(stage, "Approve").click()
    await next_reply(stage)
    await Ask.objects.filter(run=run).aupdate(state=Ask.State.REFUSED)
    await sync_to_async(continuing_run_of)(run, answer="Without the web.")
    refuse(stage, "already_answered", "This was answered elsewhere.")
    await expect(stage.link_state).to_contain_text("This was answered elsewhere.")
    await expect(answer(stage).locator(".prose").first).to_have_text("Without the web.")
    await expect(stage.page.locator(".ask")).to_have_count(0)
    await expect(stage.page).not_to_have_title(re.compile("waiting"))


async def test_answer_that_goes_on_elsewhere_is_joined(stage: Stage, chat: Conversation) -> None:
    run = await open_paused(stage, chat, asked(approver="perm:shop.refund"))
    await Ask.objects.filter(run=run).aupdate(state=Ask.State.APPROVED)
    live = await sync_to_async(continuing_run_of)(run, answer="", ending=None)
    await button(stage, "Look again").click()
    await expect(answer(stage)).to_have_attribute("data-workflow-id", str(live.pk))
    request = await next_reply(stage)
    assert request["message_id"] == str(live.message_id)
    assert request["message"] == "Which one?"
    view = AnswerView(str(live.pk), earlier=Earlier(str(run.pk)))
    events = connected(run, request), ResponseDelta(delta="Done.")
    tell(stage, view, *events, run=str(live.pk))
    await expect(answer(stage).locator(".prose").first).to_have_text("Done.")


async def test_expired_answer_says_so_when_a_reply_comes_too_late(
    stage: Stage, chat: Conversation
) -> None:
    run = await open_paused(stage, chat, asked())
    await button(stage, "Approve").click()
    await next_reply(stage)
    await Ask.objects.filter(run=run).aupdate(state=Ask.State.EXPIRED)
    refuse(stage, "expired", "This has waited too long. Ask again.")
    await expect(answer(stage).locator(".trouble")).to_contain_text("has waited too long")


async def test_reply_waits_while_another_answer_is_written(
    stage: Stage, chat: Conversation
) -> None:
    await open_paused(stage, chat, asked())
    await button(stage, "Approve").click()
    request = await next_reply(stage)
    refuse(stage, "conversation_busy", "Busy.")
    await expect(stage.link_state).to_contain_text("Your reply is sent next.")
    await stage.wait(3_000)
    assert await stage.next_request() == request
    await button(stage, "Take back").click()
    await expect(button(stage, "Approve")).to_be_enabled()
    await expect(stage.link_state).to_be_hidden()


async def test_reply_is_sent_again_with_its_cursor_on_a_new_socket(
    stage: Stage, chat: Conversation
) -> None:
    run = await open_paused(stage, chat, asked())
    await button(stage, "Approve").click()
    request = await next_reply(stage)
    view = AnswerView(NEXT_RUN, earlier=Earlier(str(run.pk)))
    tell(stage, view, connected(run, request), run=NEXT_RUN)
    await expect(answer(stage)).to_have_attribute("aria-busy", "true")
    assert stage.socket is not None
    await stage.socket.close()
    await stage.wait(2_000)
    assert await stage.next_request() == {**request, "after": 1}


async def test_pause_is_announced_and_leaves_the_focus_alone(
    stage: Stage, chat: Conversation
) -> None:
    await stage.open()
    request = await stage.ask()
    view = AnswerView(RUN)
    ask = asked()
    seq = tell(stage, view, connected(None, request), AgentStart(**WHO))
    tell(stage, view, *ending_events(paused([ask]), ""), seq=seq)
    await expect(stage.page.locator("#announce")).to_have_text("The answer waits for you")
    await expect(stage.page.locator("#composer-text")).to_be_focused()
    await expect(stage.page).to_have_title(re.compile(r"^\(waiting\) "))
    label = stage.page.locator(f"#run-{RUN}-label")
    await expect(label).to_have_text("Answer 1, waiting for you")
    await expect(button(stage, "Send")).to_be_visible()
    await button(stage, "Approve").click()
    assert (await next_reply(stage))["continues"] == RUN


# --- A server that was replaced


async def test_takeover_keeps_folds_and_words_and_drops_steps_that_are_told_again(
    stage: Stage,
) -> None:
    await stage.open()
    request = await stage.ask()
    view = AnswerView(RUN)
    seq = tell(
        stage,
        view,
        connected(None, request),
        PhaseStart(data=PhaseData("research")),
        AgentStart(**WHO),
        ResponseDelta(delta="Words **that** were read.\n\nAnd"),
        OrchestratorMessage(message="Only the dead worker showed this."),
    )
    steps = stage.page.locator(".steps > summary")
    await steps.click()
    await expect(stage.page.locator(".timeline").get_by_text("Only the dead")).to_be_visible()
    await stage.page.evaluate("document.querySelector('.answer .prose').marked = true")
    resumed = Resumed(data=ResumedData(epoch=1, from_seq=seq - 2, silent_ms=900))
    text = "Words **that** were read.\n\nAnd"
    snapshot = ResponseSnapshot(data=SnapshotData(text))
    tell(stage, view, snapshot, resumed, seq=EPOCH)
    status = stage.page.locator(".activity")
    await expect(status).to_contain_text("The server was replaced; going on…")
    await expect(stage.page.get_by_text("Only the dead worker")).to_have_count(0)
    await expect(stage.page.locator(".step.agent")).to_be_visible()  # the fold is open
    await expect(steps).to_be_focused()
    assert await stage.page.evaluate("document.querySelector('.answer .prose').marked === true")
    more = ReasoningDelta(delta="Hm", agent_id="researcher"), ResponseDelta(delta=" more.")
    tell(stage, view, *more, seq=EPOCH + 2)
    await expect(status).not_to_contain_text("replaced")
    await expect(answer(stage).locator(".step .prose")).to_contain_text("Hm")
    await expect(answer(stage).locator(f"#run-{RUN}-body")).to_contain_text("And more.")


async def test_page_moves_from_a_worker_that_is_frozen(stage: Stage) -> None:
    await stage.open()
    request = await stage.begin()
    frozen = stage.socket
    await stage.wait(14_000)
    assert await asyncio.wait_for(stage.closed.get(), GONE) is frozen
    assert await stage.next_request() == {**request, "after": 1}
    view = AnswerView(RUN)
    resumed = Resumed(data=ResumedData(epoch=1, from_seq=1, silent_ms=13_000))
    snapshot = ResponseSnapshot(data=SnapshotData("Hello"))
    tell(stage, view, snapshot, resumed, seq=EPOCH)
    await expect(stage.page.locator(f"#run-{RUN}-timeline")).to_be_attached()
    await stage.wait(14_000)
    assert (await stage.next_request())["after"] == EPOCH + 1
