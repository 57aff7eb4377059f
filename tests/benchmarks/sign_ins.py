"""Measure many sign-ins at once, and pages beside them: `python -m tests.benchmarks.sign_ins`."""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import psutil

from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, Fleet, clean_environment, running

PASSWORD = "correct horse battery"
PEOPLE = """
from django.contrib.auth.models import User
first = User.objects.create_user("person0", password={password!r})
rest = range(1, {count})
User.objects.bulk_create(User(username=f"person{{n}}", password=first.password) for n in rest)
"""
PAGE_INTERVAL = 0.1  # seconds between two page views
WRONG = 5  # sign-ins with a wrong password, and as many with an unknown name


def address(number: int) -> str:
    """Return an address of this machine, so that each person has one."""
    return f"127.0.1.{1 + number % 250}"


async def sign_in(url: str, name: str, password: str, source: str) -> tuple[float, int]:
    """Return how many seconds a sign-in took, and its status."""
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        async with session.get(f"{url}login/") as page:
            await page.read()
        token = next(cookie.value for cookie in jar if cookie.key.startswith("fleet_csrf"))
        fields = {"username": name, "password": password, "csrfmiddlewaretoken": token}
        began = time.perf_counter()
        async with session.post(f"{url}login/", data=fields, allow_redirects=False) as answer:
            await answer.read()
            return time.perf_counter() - began, answer.status


async def view_pages(url: str, times: list[float]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            began = time.perf_counter()
            async with session.get(url) as page:
                await page.read()
            times.append(time.perf_counter() - began)
            await asyncio.sleep(PAGE_INTERVAL)


async def measure(fleet: Fleet, count: int) -> None:
    url = fleet.address
    quiet: list[float] = []
    with_timeout = asyncio.wait_for(view_pages(url, quiet), 3)
    await asyncio.gather(with_timeout, return_exceptions=True)
    beside: list[float] = []
    pages = asyncio.create_task(view_pages(url, beside))
    began = time.perf_counter()
    people = (sign_in(url, f"person{n}", PASSWORD, address(n)) for n in range(count))
    found = await asyncio.gather(*people)
    took = time.perf_counter() - began
    pages.cancel()
    await asyncio.gather(pages, return_exceptions=True)
    times = [seconds for seconds, _ in found]
    print(f"{count} sign-ins at once: {took:.2f} s, statuses {sorted({s for _, s in found})}")
    print(f"  one: p50 {statistics.median(times):.2f} s, slowest {max(times):.2f} s")
    for what, pages_took in (("alone", quiet), ("beside them", beside)):
        p95 = statistics.quantiles(pages_took, n=20)[-1] if len(pages_took) > 1 else pages_took[0]
        print(f"  / {what}: p95 {p95 * 1000:.0f} ms, slowest {max(pages_took) * 1000:.0f} ms")
    children = psutil.Process(fleet.process.pid).children(recursive=True)
    print(f"  memory of all processes: {sum(c.memory_info().rss for c in children) >> 20} MiB")
    for what, name in (("known", "person0"), ("unknown", "nobody")):
        tries = [await sign_in(url, name, "wrong", address(n)) for n in range(WRONG)]
        median = statistics.median(seconds for seconds, _ in tries)
        print(f"  a wrong password of a {what} name: {median * 1000:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40)
    count = parser.parse_args().count
    model = ScriptedModel()
    with TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, count)
        with running(folder, model, "--workers", "1") as fleet:
            asyncio.run(measure(fleet, count))
    model.stop()


def fill(folder: Path, count: int) -> None:
    (folder / "state").mkdir()
    environment = {
        **clean_environment(),
        "FLEET_STATE_DIR": str(folder / "state"),
        "PYTHON_DOTENV_DISABLED": "1",
        "PATH": os.environ["PATH"],
    }
    code = PEOPLE.format(password=PASSWORD, count=count)
    for arguments in (["migrate", "--verbosity", "0"], ["shell", "--verbosity", "0", "-c", code]):
        subprocess.run([sys.executable, MANAGE, *arguments], env=environment, check=True)


if __name__ == "__main__":
    main()
