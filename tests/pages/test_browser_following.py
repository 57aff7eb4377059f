"""What the page keeps in view: the end of the live answer, and the text that is being read."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from playwright.async_api import Browser, Locator, expect

from .browsing import MARKS
from .conversations import address, conversation_of, run_of
from .staging import RUN, Stage, stages

pytestmark = [*MARKS, pytest.mark.asyncio(loop_scope="module")]  # the browser's loop

LONG = "\n\n".join(f"Paragraph {number} of an answer." for number in range(30))


@pytest_asyncio.fixture(loop_scope="module")
async def stage(
    staging: Browser, transactional_db: None, async_client: AsyncClient, client: Client
) -> AsyncIterator[Stage]:
    """Open a chat with four long answers."""
    path = await sync_to_async(chat_with_long_answers)(client)
    async_client.cookies = client.cookies
    async with stages(staging, async_client) as stage:
        await stage.open(path)
        yield stage


def chat_with_long_answers(client: Client) -> str:
    chat = conversation_of(client)
    for number in range(4):
        run_of(chat, f"Question {number}", LONG)
    return address(chat)


class LiveAnswer:
    """The answer that a stage writes, paragraph by paragraph."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seq = 1
        self.article = stage.page.locator(f"#run-{RUN}")
        self.end = self.article.locator(".end")

    async def begin(self) -> None:
        request = await self.stage.next_request()
        await self.say(
            "connected",
            f'<article class="answer" id="run-{RUN}" data-answer data-live aria-busy="true"'
            f' data-workflow-id="{RUN}"'
            f' hx-swap-oob="outerHTML:#answer-{request["message_id"]}">'
            f'<details class="steps"><summary>Working</summary>'
            f'<ol class="timeline" id="run-{RUN}-timeline"></ol></details>'
            f'<div class="prose" id="run-{RUN}-body"></div><footer class="end">the end</footer>'
            "</article>",
            data={"conversation_id": request["conversation_id"]},
        )
        await expect(self.article).to_be_attached()

    async def say(self, kind: str, html: str, **fields: Any) -> None:
        self.stage.send(kind, self.seq, html, **fields)
        self.seq += 1

    async def write(self, paragraphs: int = 30) -> None:
        """Write so many paragraphs, one event each, and wait until they are shown."""
        for _ in range(paragraphs):
            name = f"part-{self.seq}"
            place = f'data-slot="run-{RUN}-body" hx-swap-oob="true"'
            await self.say("response.delta", f'<p id="{name}" {place}>{name}</p>')
        await expect(self.stage.page.locator(f"#part-{self.seq - 1}")).to_be_attached()

    async def step(self, lines: int) -> None:
        """Add a step of so many lines."""
        text = "<br>".join(f"line {line}" for line in range(lines))
        name = f"step-{self.seq}"
        self.stage.show(self.seq, name, text)
        self.seq += 1
        await expect(self.stage.page.locator(f"#{name}")).to_be_attached()

    async def finish(self) -> None:
        await self.say("done", "", data={"status": "completed"})
        await expect(self.article).to_have_attribute("aria-busy", "false")


async def ask_again(stage: Stage, number: int) -> LiveAnswer:
    """Ask the question with this number again; return its new answer."""
    turn = stage.page.locator(f'.turn[data-turn="{number}"]')
    await turn.locator("[data-action=again]").click()
    await stage.wait(0)
    live = LiveAnswer(stage)
    await live.begin()
    return live


async def ask(stage: Stage) -> LiveAnswer:
    await stage.page.locator("#composer-text").fill("Which one?")
    await stage.page.locator("#composer-text").press("Enter")
    await stage.wait(0)
    live = LiveAnswer(stage)
    await live.begin()
    return live


async def scroll(stage: Stage, pixels: int) -> None:
    """Scroll as a reader does, and wait until the page has noticed."""
    box = await stage.page.locator("#scroll").bounding_box()
    assert box
    await stage.page.mouse.move(box["x"] + 100, box["y"] + 100)
    await stage.page.evaluate(
        """(pixels) => {
            const scroller = document.querySelector("#scroll");
            const below = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
            const canScroll = pixels < 0 ? scroller.scrollTop > 0 : below >= 1;
            window.scrolled = new Promise((done) => {
                if (canScroll) scroller.addEventListener("scroll", done, { once: true });
                else done();
            });
        }""",
        pixels,
    )
    await stage.page.mouse.wheel(0, pixels)
    await stage.page.evaluate("window.scrolled.then(() => true)")


async def top_of(place: Locator) -> float:
    box = await place.bounding_box()
    assert box
    return box["y"]


async def expect_in_view(place: Locator) -> None:
    await expect(place).to_be_in_viewport(ratio=0.9)


async def test_answer_to_an_earlier_question_is_followed_while_it_is_written(
    stage: Stage,
) -> None:
    live = await ask_again(stage, 2)
    for _ in range(3):
        await live.write()
        await expect_in_view(live.end)
    await live.finish()
    await expect_in_view(live.end)
    await expect(stage.page.locator("#jump")).to_be_hidden()


async def test_jump_leads_to_the_live_answer_wherever_it_stands(stage: Stage) -> None:
    live = await ask_again(stage, 2)
    await live.write()
    for direction in (-1, 1):
        await scroll(stage, direction * 3_000)
        await expect(live.end).not_to_be_in_viewport()
        await live.write()
        await expect(live.end).not_to_be_in_viewport()
        await stage.page.locator("#jump").click()
        await expect_in_view(live.end)
        await live.write()
        await expect_in_view(live.end)


async def test_text_that_is_being_read_stays_while_an_answer_above_grows(stage: Stage) -> None:
    live = await ask_again(stage, 2)
    await live.write()
    await scroll(stage, 3_000)
    reading = stage.page.locator('.turn[data-turn="4"] .prose p').nth(20)
    before = await top_of(reading)
    await live.write()
    await live.finish()
    assert await top_of(reading) == pytest.approx(before, abs=1)


async def test_live_answer_stays_in_view_when_its_steps_are_opened_and_closed(
    stage: Stage,
) -> None:
    live = await ask(stage)
    await live.step(12)
    await live.write(3)
    steps = live.article.locator(".steps > summary")
    await steps.click()
    await live.step(12)
    await live.write(3)
    await expect_in_view(live.end)
    await scroll(stage, -200)
    await steps.click()
    await live.write()
    await expect_in_view(live.end)


async def test_steps_opened_above_the_text_that_is_read_do_not_lose_its_place(
    stage: Stage,
) -> None:
    live = await ask(stage)
    await live.step(60)
    await live.write(3)
    # Playwright would scroll if it had to click again, as a reader does who leaves the end.
    await live.article.locator(".steps > summary").evaluate("summary => summary.click()")
    await live.write(3)
    await expect_in_view(live.end)
    await expect(stage.page.locator("#jump")).to_be_hidden()


async def test_question_that_waited_does_not_take_a_reader_away(stage: Stage) -> None:
    live = await ask(stage)
    await live.write()
    await stage.page.locator("#composer-text").fill("And then?")
    await stage.page.locator("#composer-text").press("Enter")
    await scroll(stage, -2_000)
    reading = stage.page.locator('.turn[data-turn="4"] .prose p').nth(20)
    before = await top_of(reading)
    await live.finish()
    await expect(stage.page.locator(".turn")).to_have_count(6)
    assert await top_of(reading) == pytest.approx(before, abs=1)
    await stage.page.locator("#jump").click()
    await expect(stage.page.locator(".answer").last).to_be_in_viewport()


async def test_answer_is_followed_through_changes_of_the_window(stage: Stage) -> None:
    live = await ask_again(stage, 2)
    await live.write()
    for width, height in ((400, 800), (400, 420), (1280, 800)):
        await stage.page.set_viewport_size({"width": width, "height": height})
        await expect_in_view(live.end)


async def test_opening_the_chat_leads_to_the_live_answer(
    staging: Browser, transactional_db: None, async_client: AsyncClient, client: Client
) -> None:
    path = await sync_to_async(chat_with_live_rerun)(client)
    async_client.cookies = client.cookies
    async with stages(staging, async_client) as stage:
        await stage.open(path)
        await expect_in_view(stage.page.locator("[data-live]").locator(".prose p").last)


def chat_with_live_rerun(client: Client) -> str:
    chat = conversation_of(client)
    runs = [run_of(chat, f"Question {number}", LONG) for number in range(4)]
    run_of(chat, runs[1].question, "", ending=None, text_so_far=LONG)
    return address(chat)


async def test_clock_counts_from_the_start_even_if_the_timers_of_a_hidden_page_are_late(
    stage: Stage,
) -> None:
    live = await ask(stage)
    clock = '<span id="clock" data-tick data-since-ms="65000"></span>'
    slot = f'data-slot="run-{RUN}-timeline" hx-swap-oob="true"'
    await live.say("phase.start", f'<li id="step" {slot}>{clock}</li>')
    await expect(stage.page.locator("#clock")).to_be_attached()
    # Timers that are due run once.
    await stage.page.clock.fast_forward(30_000)
    await expect(stage.page.locator("#clock")).to_have_text("95 s")
