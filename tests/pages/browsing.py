"""Chromium, and the page as a user handles it, for the browser tests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.programs import REQUIRED

# The same engine in both; without windows and their frames, a page costs a fifth of the CPU time.
CHROMIUMS = [Path("/usr/bin") / name for name in ("chromium-headless-shell", "chromium")]
CHROMIUM = next((path for path in CHROMIUMS if path.exists()), CHROMIUMS[0])
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What the browser and htmx report about a lost socket or request.
# 426 is what the page gets that looks why its sockets can't be opened.
CONNECTION_ERRORS = ("WebSocket connection to", "htmx:", "net::ERR_", "a status of 426")
# An answer with all kinds of Markdown.
EVERY_KIND = Path(__file__).with_name("every_kind.md").read_text()
TIMEOUT = 40_000  # ms; only an overloaded machine needs so many
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists() and not REQUIRED,
        reason="no Chromium: apt-get install chromium-headless-shell",
    ),
]

Open = Callable[..., Page]
expect.set_options(timeout=TIMEOUT)


@contextmanager
def chromium_running(*arguments: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, *arguments],
            # Playwright disables the back/forward cache, which readers have.
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        browser.close()


@contextmanager
def pages(chromium: Browser, *, ignored: Sequence[str] = ()) -> Iterator[Open]:
    """Yield a function that opens a page in its own browser context.

    Afterwards fail if a page has reported an error or a warning, unless it contains an `ignored`
    text.
    """
    problems: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(
            text in message.text for text in ignored
        ):
            problems.append(message.text)

    def open_page(address: str, *, width: int = 1280, height: int = 800, **options: object) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == [], problems


def ask(page: Page, question: str) -> None:
    page.locator("#composer-text").fill(question)
    page.locator("#composer-text").press("Enter")


def answer(page: Page) -> Locator:
    return page.locator("article.answer").last


def prose(page: Page) -> Locator:
    """Return the text of the last answer."""
    return answer(page).locator(".prose").first


def expect_ready_for_the_next(page: Page) -> None:
    """Expect that no spinner is left and the composer works."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    expect(page.locator(".busy")).to_have_count(0)
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#composer-text")).to_be_editable()


def watch(page: Page) -> None:
    """Keep what the page says of its connection from now on."""
    page.evaluate(
        """() => {
            window.said = [];
            const bar = document.querySelector("#link-state");
            new MutationObserver(() => bar.hidden || said.push(bar.innerText)).observe(
                bar, { attributes: true, childList: true, subtree: true, characterData: true });
        }"""
    )


def time_to_stop(page: Page) -> float:
    """Return the seconds from the click on Stop until the page shows that it worked."""
    ask(page, "long")
    expect(prose(page)).to_contain_text("Kept words.")
    milliseconds: float = page.evaluate(
        """() => new Promise((resolve) => {
            const started = performance.now();
            const end = () => document.querySelector("article.answer[aria-busy=false] .end");
            const check = () => end()?.textContent.includes("Stopped.")
                ? resolve(performance.now() - started) : requestAnimationFrame(check);
            document.querySelector("#stop").click();
            check();
        })"""
    )
    expect(prose(page)).to_have_text("Kept words.")
    expect_ready_for_the_next(page)
    expect(page.locator("#composer-text")).to_be_focused()
    return milliseconds / 1000
