"""Tools that block, hang, raise or return anything: the run goes on, and the log says why."""

import asyncio
import contextvars
import logging
import re
import sys
import threading
import time
import urllib.error
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from email.message import Message
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tooling import Output, Passage, ToolFailure, threads, tool
from tooling.calls import Call, Rejection, ToolResult
from tooling.functions import NotATool
from tooling.registry import Tool
from tooling.services import Services
from tooling.toolbox import Toolbox

HERE = re.escape(__file__)


def toolbox_of(*tools: Tool, **options: Any) -> Toolbox:
    known = {each.name: each for each in tools}
    return Toolbox(
        Services(), allowed=frozenset(known), **{"max_calls": 1000, **options}, tools=known
    )


async def made(one: Tool, toolbox: Toolbox | None = None, **arguments: Any) -> ToolResult:
    toolbox = toolbox or toolbox_of(one)
    call = toolbox.check(one.name, arguments)
    assert isinstance(call, Call), call
    return await toolbox.make(call)


def tool_that(do: Callable[..., Any], **options: Any) -> Tool:
    @tool(name="stock", **options)
    def stock() -> Any:
        """Return the stock."""
        return do()

    return stock


def async_tool_that(do: Callable[..., Any], **options: Any) -> Tool:
    @tool(name="stock", **options)
    async def stock() -> Any:
        """Return the stock."""
        result = do()
        return await result if asyncio.iscoroutine(result) else result

    return stock


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


# --- Functions that block -------------------------------------------------------------------------


async def test_a_function_that_blocks_lets_the_event_loop_go_on() -> None:
    gate = threading.Event()
    call = asyncio.ensure_future(made(tool_that(lambda: gate.wait(30))))
    await asyncio.sleep(0.05)  # the loop goes on, or the gate would never open
    gate.set()
    assert (await call).text == "true"


async def test_a_function_has_the_context_of_its_call() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    who.set("Ada")
    assert (await made(tool_that(who.get))).text == "Ada"


async def test_the_time_limit_of_a_function_that_hangs_holds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = threading.Event()
    one = tool_that(lambda: gate.wait(30), timeout=0.05)
    result = await made(one)
    assert (result.failure, result.message) == ("temporary", "stock took longer than 0.05 s.")
    assert one.lane
    assert one.lane.left == 1
    [line] = lines(caplog)
    assert re.fullmatch(
        rf"tool=stock took longer than its limit of 0\.05 s, and its thread goes on"
        rf" \({HERE}, line \d+\)",
        line,
    )
    gate.set()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.01)


async def test_a_tool_with_too_many_calls_that_hang_is_closed_until_one_comes_back() -> None:
    gate = threading.Event()
    hung = tool_that(lambda: gate.wait(30), timeout=0.05)
    toolbox = toolbox_of(hung)

    async def call() -> ToolResult:
        found = toolbox.check("stock", "{}")
        assert isinstance(found, Call)
        return await toolbox.make(found)

    for _ in range(threads.MAX_STUCK):
        assert (await call()).failure == "temporary"
    assert hung.lane
    await until(lambda: hung.lane.stuck == threads.MAX_STUCK)  # type: ignore[union-attr]
    closed = toolbox.check("stock", "{}")
    assert isinstance(closed, Rejection)
    assert closed.text == (
        "stock is closed until one of its 8 calls ends that are beyond their time limit."
        " Answer without stock."
    )
    assert toolbox.names == frozenset()
    # A tool of its own is not affected.
    assert (await made(tool_that(lambda: "7"))).text == "7"
    gate.set()
    await until(lambda: toolbox.names == {"stock"})
    assert (await call()).text == "true"


async def test_calls_beyond_the_threads_of_a_tool_wait_for_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "MAX_AT_ONCE", 2)
    gate, at_once, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def work() -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        gate.wait(30)
        with lock:
            at_once -= 1
        return "done"

    one = tool_that(work)
    calls = [asyncio.ensure_future(made(one)) for _ in range(6)]
    await until(lambda: at_once == 2)
    gate.set()
    assert [each.text for each in await asyncio.gather(*calls)] == ["done"] * 6
    assert most == 2


async def test_a_cancelled_call_leaves_its_thread_and_closes_nothing() -> None:
    gate = threading.Event()
    one = tool_that(lambda: gate.wait(30))
    calls = [asyncio.ensure_future(made(one)) for _ in range(threads.MAX_STUCK + 2)]
    assert one.lane
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert one.lane.left == len(calls)
    # Not one is beyond its time limit.
    assert one.lane.stuck == 0
    gate.set()


async def test_a_thread_is_used_again() -> None:
    ids = {(await made(tool_that(threading.get_ident))).text for _ in range(20)}
    assert len(ids) <= 2


async def test_an_async_tool_that_blocks_the_event_loop_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def block() -> str:
        await asyncio.sleep(0)
        time.sleep(0.3)
        return "done"

    assert (await made(async_tool_that(block))).text == "done"
    [line] = lines(caplog)
    assert re.match(r"tool=stock blocked the event loop for 0\.[34] s, in which no answer", line)
    assert re.search(rf"Write it with `def` .* \({HERE}, line \d+\)$", line)


async def test_an_async_tool_that_waits_is_not_said_to_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert (await made(async_tool_that(lambda: asyncio.sleep(0.4, "done")))).text == "done"
    assert lines(caplog) == []


async def test_an_async_tool_that_refuses_to_end_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tooling.awaiting.GRACE", 0.05)
    gate = asyncio.Event()

    async def stubborn() -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    async with asyncio.timeout(10):
        result = await made(async_tool_that(stubborn, timeout=0.05))
    assert result.message == "stock took longer than 0.05 s."
    assert any("goes on after it was cancelled" in line for line in lines(caplog))
    gate.set()
    await asyncio.sleep(0)


async def test_pure_python_in_a_thread_delays_the_event_loop_only_a_little() -> None:
    """Python switches threads every 5 ms. What holds its lock longer, such as `re`, does block."""
    end = time.monotonic() + 0.5

    def compute() -> str:
        while time.monotonic() < end:
            sum(range(100))
        return "done"

    call = asyncio.ensure_future(made(tool_that(compute)))
    lags = []
    while not call.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(time.perf_counter() - begun - 0.01)
    assert (await call).text == "done"
    assert sorted(lags)[len(lags) // 2] < 0.2


# --- Results --------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


@dataclass
class Article:
    name: str
    count: int = 7
    tags: list[str] = field(default_factory=list)


class Row(msgspec.Struct):
    name: str


class Model:
    """As pydantic's."""

    def model_dump(self) -> dict[str, Any]:
        return {"name": "A1", "on": date(2026, 1, 2)}


class Worded:
    def __str__(self) -> str:
        return "in words"


Pair = namedtuple("Pair", "left right")


def numbers() -> Iterator[int]:
    yield from range(3)


def without_end() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


async def numbers_later() -> AsyncIterator[int]:
    for number in range(3):
        yield number


async def later() -> str:
    return "later"


async def nested_later() -> Any:
    return numbers_later()


CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]

RESULTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: "7", "7"),
    (lambda: "", "Nothing was found."),
    (lambda: None, "It was called, and returned no result."),
    (lambda: 7, "7"),
    (lambda: 7.5, "7.5"),
    (lambda: True, "true"),
    (lambda: float("nan"), "nan"),
    (lambda: Decimal("1.50"), "1.50"),
    (lambda: date(2026, 1, 2), "2026-01-02"),
    (lambda: Colour.RED, "red"),
    (lambda: "grün".encode(), "grün"),
    (lambda: bytearray(b"7"), "7"),
    (lambda: [1, "a", None], '[1, "a", null]'),
    (lambda: (1, 2), "[1, 2]"),
    (lambda: {"a": {"b": [1.5, float("inf")]}}, '{"a": {"b": [1.5, "inf"]}}'),
    (lambda: {(1, 2): 3, None: 4}, '{"(1, 2)": 3, "None": 4}'),
    (lambda: {"on": date(2026, 1, 2), "of": Colour.RED}, '{"on": "2026-01-02", "of": "red"}'),
    (lambda: Article("A1"), '{"name": "A1", "count": 7, "tags": []}'),
    (lambda: [Article("A1", 1, ["x"])], '[{"name": "A1", "count": 1, "tags": ["x"]}]'),
    (lambda: Row("A1"), '{"name": "A1"}'),
    (lambda: Pair(1, "b"), '{"left": 1, "right": "b"}'),
    (lambda: Model(), '{"name": "A1", "on": "2026-01-02"}'),
    (lambda: Worded(), "in words"),
    (lambda: {1}, "[1]"),
    (lambda: range(3), "[0, 1, 2]"),
    (lambda: {"a": 1}.keys(), '["a"]'),
    (lambda: numbers(), "[0, 1, 2]"),
    (lambda: numbers_later(), "[0, 1, 2]"),
    (lambda: later(), "later"),
    (lambda: nested_later(), "[0, 1, 2]"),
    (lambda: "a\x00b\ud800c\u200b", "abc"),
    (lambda: ["a\x00b\ud800c"], '["a\\u0000bc"]'),
    (lambda: Output("7"), "7"),
    (lambda: Output(7), "7"),  # type: ignore[arg-type]
    (lambda: Passage("Handbook", "", "Page 3."), "[1] Handbook\nPage 3."),
    (lambda: [Passage("A", text="one"), Passage("B", text="two")], "[1] A\none\n\n[2] B\ntwo"),
    (lambda: ["Found:", Passage("A", text="one")], "Found:\n\n[1] A\none"),
    (lambda: Passage(None, None, 5), "[1] Untitled\n5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("do", "text"), RESULTS)
@pytest.mark.parametrize("kind", [tool_that, async_tool_that])
async def test_results_of_any_type_become_a_text(
    kind: Callable[..., Tool], do: Callable[[], Any], text: str
) -> None:
    result = await made(kind(do))
    assert (result.ok, result.text) == (True, text)


LONG: list[Callable[[], Any]] = [
    lambda: "x" * 10_000_000,
    lambda: b"x" * 10_000_000,
    lambda: ["x" * 1000] * 10_000,
    lambda: {str(number): "x" * 100 for number in range(100_000)},
    lambda: {"x": "y" * 10_000_000},
    lambda: list(range(1_000_000)),
    lambda: 10**5000,
    without_end,
    lambda: Output("x" * 10_000_000),
    lambda: [Passage("t" * 10_000_000, text="x" * 10_000_000)] * 1000,
    lambda: [Passage(str(number), text="x") for number in range(100_000)],
]


@pytest.mark.parametrize("do", LONG)
@pytest.mark.parametrize("kind", [tool_that, async_tool_that])
async def test_long_results_are_cut_without_holding_up_the_event_loop(
    kind: Callable[..., Tool], do: Callable[[], Any]
) -> None:
    result = do()  # made before, as if it had been received
    one = kind(lambda: result, max_chars=1000)
    begun = time.thread_time()
    found = await made(one)
    assert time.thread_time() - begun < 0.05
    assert found.ok
    assert len(found.text) <= 1000
    assert sum(len(source.title) for source in found.sources) <= 150 * 100


UNUSABLE: list[tuple[Callable[[], Any], str]] = [
    (lambda: CYCLE, "it returned a list that holds itself"),
    (lambda: {"a": CYCLE}, "it returned a list that holds itself"),
    (lambda: DEEP, "it returned more than 40 levels"),
    (lambda: b"\x89PNG\xff", "it returned bytes that are no text in UTF-8"),
    (lambda: object(), "it returned a object, which has no text"),
    (lambda: [asyncio.sleep(0)], "it returned a coroutine that nobody awaits: `await` is missing"),
    (lambda: len, "it returned a builtin_function_or_method, which has no text"),
    (lambda: Article, "it returned a type, which has no text"),
    (lambda: [object()], "it returned a object, which has no text"),
    (lambda: Output(passages=("text",)), "hold a str. Put in Passage alone"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("do", "said"), UNUSABLE)
@pytest.mark.parametrize("kind", [tool_that, async_tool_that])
async def test_a_result_without_a_text_is_a_failure_that_its_author_can_read(
    kind: Callable[..., Tool],
    do: Callable[[], Any],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = await made(kind(do))
    assert (result.ok, result.message) == (False, "stock failed.")
    [line] = lines(caplog)
    assert said in line
    assert re.search(rf"\({HERE}, line \d+\)$", line)


# --- Exceptions -----------------------------------------------------------------------------------


class WithStatus(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status}")
        self.response = type("Response", (), {"status_code": status})()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Odd(BaseException):
    pass


def raising(exc: BaseException, cause: BaseException | None = None) -> Callable[[], Any]:
    def do() -> Any:
        if cause is None:
            raise exc
        raise exc from cause

    return do


def in_handler() -> Any:
    try:
        raise ConnectionRefusedError("127.0.0.1:9")
    except OSError:
        raise RuntimeError("no stock") from None


def recursion() -> Any:
    return recursion()


DOWN = [
    raising(ConnectionRefusedError("secret")),
    raising(TimeoutError("secret")),
    raising(OSError(113, "secret")),
    raising(RuntimeError("secret"), ConnectionResetError()),
    raising(ExceptionGroup("secret", [ValueError(), ExceptionGroup("", [TimeoutError()])])),
    raising(WithStatus(503)),
    raising(WithStatus(429)),
    raising(urllib.error.HTTPError("http://x.example", 502, "secret", Message(), None)),
    raising(urllib.error.URLError(OSError("secret"))),
]
BROKEN = [
    raising(ZeroDivisionError("secret")),
    raising(KeyError("secret")),
    raising(AssertionError()),
    raising(WithStatus(404)),
    raising(urllib.error.HTTPError("http://x.example", 404, "secret", Message(), None)),
    raising(FileNotFoundError(2, "secret")),
    raising(PermissionError("secret")),
    raising(ExceptionGroup("secret", [ValueError()])),
    raising(Unprintable()),
    raising(SystemExit("secret")),
    raising(KeyboardInterrupt()),
    raising(asyncio.CancelledError()),
    raising(StopIteration("secret")),
    raising(StopAsyncIteration()),
    raising(MemoryError()),
    raising(Odd("secret")),
    in_handler,
    recursion,
    lambda: sys.exit(1),
]


@pytest.mark.parametrize("do", DOWN)
@pytest.mark.parametrize("kind", [tool_that, async_tool_that])
async def test_a_service_that_is_down_is_said_as_that(
    kind: Callable[..., Tool], do: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    result = await made(kind(do))
    assert result.message == "stock cannot reach the service that it needs."
    assert (result.failure, "secret" in result.text) == ("temporary", False)
    [line] = lines(caplog)
    assert line.startswith("tool=stock can't reach its service: ")
    assert re.search(rf"\({HERE}, line \d+\)$", line)


@pytest.mark.parametrize("do", BROKEN)
@pytest.mark.parametrize("kind", [tool_that, async_tool_that])
async def test_a_bug_is_said_as_a_failure_of_the_tool_and_the_run_goes_on(
    kind: Callable[..., Tool], do: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    result = await made(kind(do))
    assert (result.failure, result.message) == ("permanent", "stock failed.")
    assert "secret" not in result.text
    [line] = lines(caplog)
    assert line.startswith("tool=stock failed: ")
    assert re.search(rf"\({HERE}, line \d+\)$", line)
    assert (await made(kind(lambda: "7"))).text == "7"


async def test_the_log_has_the_line_of_the_tool_and_the_traceback_only_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "tooling.failures")
    await made(tool_that(raising(ZeroDivisionError("no stock\nat all"))))
    [error] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert error.exc_info is None
    [number] = re.findall(r"line (\d+)\)$", error.getMessage())
    with open(__file__) as own:
        assert own.readlines()[int(number) - 1].strip() == "raise exc"
    assert "ZeroDivisionError: no stock at all" in error.getMessage()
    assert any(each.exc_info for each in caplog.records if each.levelno == logging.DEBUG)


@pytest.mark.parametrize("do", [raising(ConnectionRefusedError()), raising(ValueError())])
async def test_a_tool_that_acts_is_not_called_again_after_any_failure(
    do: Callable[[], Any],
) -> None:
    result = await made(tool_that(do, acts=True))
    assert result.failure == "permanent"
    assert "It may have been done. Do not repeat this call." in result.text


async def test_a_failure_for_readers_may_be_in_a_group() -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [ToolFailure("No such article.")])])
    assert (await made(tool_that(raising(group)))).message == "No such article."


async def test_our_cancel_is_not_taken_for_that_of_the_tool() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(made(async_tool_that(wait)))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_reason_off_that_raises_closes_its_tool_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(services: Services) -> str:
        raise KeyError("secret")

    toolbox = toolbox_of(tool_that(lambda: "7", reason_off=broken))
    for _ in range(3):
        assert toolbox.names == frozenset()
    closed = toolbox.check("stock", {})
    assert isinstance(closed, Rejection)
    assert closed.text == "stock cannot be used now. Answer without stock."
    [line] = lines(caplog)
    assert re.search(rf"reason_off raised KeyError: 'secret' \({HERE}, line \d+\)$", line)


# --- Anything -------------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
    | st.just(Colour.RED)
    | st.builds(Passage, st.text(), st.text(), st.text())
    | st.builds(Article, st.text())
    | st.builds(object)
    | st.sampled_from([len, Article, ValueError("x"), Worded()])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text() | st.integers() | st.dates(), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.builds(Output, inner, inner, inner)
        | inner.map(lambda value: (each for each in [value, value]))
    ),
    max_leaves=20,
)


@pytest.mark.bulk
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(VALUES, st.integers(1, 300), st.booleans())
def test_no_result_gets_through_as_an_exception_or_too_long(
    value: Any, max_chars: int, in_thread: bool
) -> None:
    kind = tool_that if in_thread else async_tool_that
    result = asyncio.run(made(kind(lambda: value, max_chars=max_chars)))
    assert len(result.text) <= max_chars or not result.ok
    assert len(result.text) < 1000
    msgspec.json.encode(result.text)
    for source in result.sources:
        msgspec.json.encode([source.title, source.url, source.host, source.published])


KINDS = st.recursive(
    st.sampled_from(
        [
            *(str, int, float, bool, None, bytes, date, Decimal, Colour, Article, Row, Pair, Path),
            *(Annotated[str, "words"], Literal["a", 1], Any, object, complex, type, ZoneInfo),
            *(Passage, Model),
        ]
    ),
    lambda inner: (
        inner.map(lambda kind: list[kind])
        | inner.map(lambda kind: set[kind])
        | inner.map(lambda kind: tuple[kind, ...])
        | inner.map(lambda kind: dict[str, kind])
        | st.tuples(inner, inner).map(lambda kinds: Union[kinds])  # noqa: UP007
        | inner.map(lambda kind: Annotated[kind, "words"])
    ),
    max_leaves=5,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.bulk
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(KINDS, JSON, st.booleans(), LEAVES)
def test_no_annotation_gets_through_as_another_exception(
    kind: Any, sent: Any, has_default: bool, default: Any
) -> None:
    def stock(value: Any) -> Any:
        """Return the stock."""
        return value

    stock.__annotations__["value"] = kind
    stock.__defaults__ = (default,) if has_default else None
    try:
        one = tool(stock)
    except NotATool:
        return
    msgspec.json.encode(one.offer)
    toolbox = toolbox_of(one)
    for arguments in ({"value": sent}, {}):
        call = toolbox.check("stock", arguments)
        if isinstance(call, Call):
            msgspec.json.encode(call.arguments)
            msgspec.json.encode(asyncio.run(toolbox.make(call)).text)
