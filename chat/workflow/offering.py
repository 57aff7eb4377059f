"""Which tools a model is offered: their schemas leave room for what it reads."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import msgspec

from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.llm.servers import is_stand_in
from chat.llm.windows import OVERHEAD_TOKENS, Window
from tooling.choosing import chosen, nearest
from tooling.registry import Tool

from .history import History
from .work import Work

MAX_TOOLS = 24  # in one call: with more, models choose worse
# Tools that a question has most to do with: with the next twenty, the right one is not found more
# often (tests/tooling/test_choosing.py).
MOST_NEEDED = 4
SHARE = 4  # at most this part of a context is for tools


async def tools_to_offer(
    work: Work,
    names: Collection[str],
    window: Window,
    *,
    model: str,
    history: History,
    wanted: Collection[str] = (),
    task: str = "",
) -> list[Tool]:
    """Return the tools that go with the calls of a turn to this model, of those with these `names`.

    All, as long as they are small: servers put them before the messages, so other tools would be
    another beginning. Of larger ones, those that are `wanted`; if none are, all. If not all fit,
    those come first that are `wanted`, then those that have to do with the task or the question: of
    so many, a plan may not have named the right ones. The model may call the others, too.
    """
    if is_stand_in(model):  # it can't call any
        return []
    tools = work.toolbox.usable_tools(names)
    if wanted and len(tools) <= MAX_TOOLS and tokens_of(tools) > OVERHEAD_TOKENS:
        tools = [tool for tool in tools if tool.name in wanted]
    max_bytes = BYTES_PER_TOKEN * max(OVERHEAD_TOKENS, window.context_tokens // SHARE)
    if len(tools) <= MAX_TOOLS and sum(map(size_of, tools)) <= max_bytes:
        return tools
    questions = [*(each.question for each in history.exchanges), work.question.text]
    # To take in the words of hundreds takes a while, the first time.
    return await asyncio.to_thread(
        chosen_for, tools, questions, wanted=wanted, task=task, max_bytes=max_bytes
    )


def chosen_for(
    tools: Sequence[Tool],
    questions: Sequence[str],
    *,
    wanted: Collection[str],
    task: str,
    max_bytes: int,
) -> list[Tool]:
    """Return the tools for the last of these questions, within `max_bytes`.

    They are those that were chosen for a question before, for as long as these have what later
    ones need most.
    """
    choose = partial(chosen, tools, most=MAX_TOOLS, max_bytes=max_bytes)
    # Each with the question that it may follow.
    texts = [questions[0], *(f"{after}\n{before}" for before, after in pairwise(questions))]
    offered = choose(texts[0])
    for text in texts[1:]:
        if not names_of(offered).issuperset(nearest(tools, text, MOST_NEEDED)):
            offered = choose(text)
    needed = {*wanted, *(nearest(tools, task, MOST_NEEDED) if task else ())}
    return offered if needed <= names_of(offered) else choose(f"{task}\n{texts[-1]}", first=wanted)


def with_called(
    offered: Sequence[Tool], usable: Sequence[Tool], messages: Sequence[ChatMessage]
) -> list[Tool]:
    """Return the tools that are offered, and behind them the others that the messages call.

    Servers refuse a conversation with calls of tools that aren't declared.
    """
    called = {call.name for message in messages for call in message.tool_calls}
    called -= {tool.name for tool in offered}
    return [*offered, *(tool for tool in usable if tool.name in called)]


def window_beside(tools: Sequence[Tool], window: Window) -> Window:
    """Return what a call may hold of messages beside these tools."""
    # So many are left for them in any window.
    over = max(0, tokens_of(tools) - OVERHEAD_TOKENS)
    return replace(window, context_tokens=window.context_tokens - over)


def tokens_of(tools: Sequence[Tool]) -> int:
    return sum(map(size_of, tools)) // BYTES_PER_TOKEN


def size_of(tool: Tool) -> int:
    return len(msgspec.json.encode(tool.offer))


def names_of(tools: Sequence[Tool]) -> set[str]:
    return {tool.name for tool in tools}
