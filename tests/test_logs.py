"""The ids on log records, and the line of a record in a terminal."""

import asyncio
import logging

import pytest

from chat.logs import Ids, LineFormatter, bind


def record(message: str) -> logging.LogRecord:
    made = logging.LogRecord("chat", logging.INFO, __file__, 1, message, (), None)
    assert Ids().filter(made)
    return made


async def test_task_inherits_the_ids_of_the_task_that_starts_it() -> None:
    async def child() -> str:
        bind("run_id", "r1")
        return str(vars(record("")))

    bind("request_id", "q1")
    inside = await asyncio.create_task(child())
    assert "'request_id': 'q1'" in inside
    assert "'run_id': 'r1'" in inside
    # The child's ids are its own.
    assert not hasattr(record(""), "run_id")


@pytest.mark.parametrize(
    ("message", "ending"),
    [
        ("it happened", "INFO chat it happened run=r1 request=q1"),
        ("run=r1 it happened", "INFO chat run=r1 it happened request=q1"),
    ],
)
async def test_line_shows_ids_that_the_message_lacks(message: str, ending: str) -> None:
    bind("run_id", "r1")
    bind("request_id", "q1")
    bind("conversation_id", "c1")
    assert LineFormatter().format(record(message)).endswith(ending)


async def test_line_outside_a_request_has_no_ids() -> None:
    assert LineFormatter().format(record("it happened")).endswith("INFO chat it happened")
