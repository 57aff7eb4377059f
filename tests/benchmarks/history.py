"""Measure how long opening long chats holds a worker's loop: `python -m tests.benchmarks.history`.

A chat of 200 answers with formulas, tables and code is opened by several readers at once, also its
earlier questions. Meanwhile a task of the same event loop notes how late it gets its turn.
"""

import argparse
import asyncio
import gc
import os
import re
import sys
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

BUDGET_MS = 50
READERS = 4  # at once
QUESTIONS = 200
threads = ThreadPoolExecutor(32)
PROSE = (
    "The **mean** of \\(n\\) values is \\(\\bar{x} = \\frac{1}{n} \\sum_{k=1}^{n} x_k\\), and "
    "their variance is $s^2 = \\frac{1}{n-1} \\sum_k (x_k - \\bar{x})^2$; see [the notes]"
    "(https://example.com/notes) for `variance` and what $\\sigma$ means in practice.\n\n"
)
DISPLAY = "\\[\n\\begin{aligned} a &= b + c \\\\ &= \\int_0^1 x^2 \\, dx \\end{aligned}\n\\]\n\n"
CODE = "```%s\n%s```\n\n"
PYTHON = '''def mean(values: list[float], *, weight: float = 1.0) -> float:
    """Return the weighted mean of the values."""
    total = 0.0
    for index, value in enumerate(values):
        total += weight * value  # the running sum of %d
    return total / max(len(values), 1)


'''
SHELL = 'for file in "$HOME"/*.csv; do\n  echo "$file: $(wc -l < "$file")"  # %d\ndone\n'
ITEMS = "".join(
    f"{number}. Step with \\(x_{number}\\):\n\n   ```bash\n   run --step {number}\n   ```\n\n"
    for number in range(1, 4)
)
TABLE = "| n | value | note |\n|---|--:|---|\n" + "| 1 | $x_1$ | some words |\n" * 8 + "\n"


def answer(number: int) -> str:
    """Return an answer of some 5,000 characters; no two are the same."""
    python = "".join(PYTHON % (10 * number + part) for part in range(5))
    code = CODE % ("python", python) + CODE % ("bash", SHELL % number)
    return f"## Answer {number}\n\n" + 3 * (PROSE + DISPLAY) + code + ITEMS + TABLE + PROSE


@dataclass
class Opening:
    hold_ms: float  # the longest
    ready_ms: float  # until all readers have the page


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Set what a worker process sets at its start."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


async def longest_hold(work: Awaitable[Any]) -> float:
    """Return the longest time for which the loop's other tasks waited, in seconds.

    Of the time that has passed only what this process used: other processes don't count.
    """
    task = asyncio.ensure_future(work)
    longest, last = 0.0, (time.monotonic(), time.process_time())
    while not task.done():
        await asyncio.sleep(0.001)
        now = (time.monotonic(), time.process_time())
        longest = max(longest, min(now[0] - last[0], now[1] - last[1]))
        last = now
    await task
    return longest


async def opened(path: str, cookie: str) -> str:
    """Return the page at the path, rendered in a thread of its own, as the server does it."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, page_at, path, cookie)


def page_at(path: str, cookie: str) -> str:
    headers = {"host": "localhost", "cookie": cookie}
    if "?" in path:
        headers["hx-request"] = "true"
    try:
        response = Client(headers=headers).get(path)
    finally:
        connection.close()
    assert response.status_code == 200, response
    return response.content.decode()


def earlier(page: str) -> str:
    """Return the address of the questions before those of this page."""
    [path] = re.findall(r'hx-get="(/[^"]*before=\d+)"', page)
    return path


async def measure(path: str, cookie: str, readers: int) -> dict[str, Opening]:
    """Return what it takes to open the pages by so many readers at once."""
    found = {}
    address = path
    for name in ("the newest 30, the first time", "the newest 30, again", "the 30 before"):
        if name == "the 30 before":
            address = earlier(await opened(path, cookie))
        started = time.monotonic()
        work = asyncio.gather(*(opened(address, cookie) for _ in range(readers)))
        hold = await longest_hold(work)
        found[name] = Opening(hold * 1000, (time.monotonic() - started) * 1000)
    return found


def fill(questions: int) -> tuple[str, str]:
    """Store a chat; return its path and its owner's cookie."""
    conversations = import_module("tests.pages.conversations")
    client = Client(headers={"host": "localhost"})
    chat = conversations.conversation_of(client)
    for number in range(questions):
        conversations.run_of(chat, f"Question {number}?", answer(number))
    cookie = client.cookies[settings.FLEET_BROWSER_COOKIE]
    return f"/c/{chat.pk}/", f"{cookie.key}={cookie.value}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=READERS)
    readers: int = parser.parse_args().readers
    with TemporaryDirectory() as folder:
        os.environ.update(
            DATABASE_URL=f"sqlite:///{Path(folder) / 'fleet.sqlite3'}",
            FLEET_STATE_DIR=folder,
            DJANGO_SETTINGS_MODULE="agenticfleet.settings",
            PYTHON_DOTENV_DISABLED="1",
        )
        django.setup()
        call_command("migrate", verbosity=0)
        path, cookie = fill(QUESTIONS)
        with as_in_a_worker():
            found = asyncio.run(measure(path, cookie, readers))
    sys.stdout.write("| opened | longest hold of the loop | ready |\n|---|---:|---:|\n")
    for name, opening in found.items():
        sys.stdout.write(f"| {name} | {opening.hold_ms:.0f} ms | {opening.ready_ms:.0f} ms |\n")
    sys.exit(any(opening.hold_ms > BUDGET_MS for opening in found.values()))


if __name__ == "__main__":
    main()
