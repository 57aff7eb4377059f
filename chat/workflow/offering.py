"""Which tools a model is offered: their schemas leave room for what it reads."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.llm.servers import is_stand_in
from chat.llm.windows import OVERHEAD_TOKENS, Window
from tooling.choosing import chosen
from tooling.registry import Tool

from .question import Question
from .work import Work

MAX_TOOLS = 24  # in one call: with more, models choose worse
SHARE = 4  # at most this part of a context is for tools


async def tools_to_offer(
    work: Work,
    names: Collection[str],
    window: Window,
    *,
    model: str,
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
    choose = partial(
        chosen,
        tools,
        "\n".join([task, *about(work.question)]),
        first=wanted,
        most=MAX_TOOLS,
        max_bytes=BYTES_PER_TOKEN * max(OVERHEAD_TOKENS, window.context_tokens // SHARE),
    )
    # To take in the words of hundreds takes a while, the first time.
    return choose() if len(tools) <= MAX_TOOLS else await asyncio.to_thread(choose)


def with_called(
    offered: Sequence[Tool], usable: Sequence[Tool], messages: Sequence[ChatMessage]
) -> list[Tool]:
    """Return the tools that are offered, and behind them the others that the messages call.

    Servers refuse a conversation with calls of tools that aren't declared.
    """
    called = {call.name for message in messages for call in message.tool_calls}
    called -= {tool.name for tool in offered}
    return [*offered, *(tool for tool in usable if tool.name in called)]


def about(question: Question) -> list[str]:
    """Return the question, with the one that it may follow."""
    return [question.text, *(earlier.question for earlier in question.earlier[-1:])]


def window_beside(tools: Sequence[Tool], window: Window) -> Window:
    """Return what a call may hold of messages beside these tools."""
    # So many are left for them in any window.
    over = max(0, tokens_of(tools) - OVERHEAD_TOKENS)
    return replace(window, context_tokens=window.context_tokens - over)


def tokens_of(tools: Sequence[Tool]) -> int:
    return sum(len(msgspec.json.encode(tool.offer)) for tool in tools) // BYTES_PER_TOKEN
