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
    messages: Sequence[ChatMessage],
    window: Window,
    *,
    model: str,
    wanted: Collection[str] = (),
    task: str = "",
    is_last: bool = False,
) -> list[Tool]:
    """Return the tools that go with a call to this model, of those with these `names`.

    Of few tools, those that are `wanted`; if none are, all. If not all fit, those come first that
    are `wanted` or that the messages call, then those that have to do with the task or the
    question: of so many, a plan may not have named the right ones. The model may call the others,
    too.
    """
    called = {call.name for message in messages for call in message.tool_calls}
    # In the last round the model must answer, so no tools are offered. But servers refuse a
    # conversation with calls of tools that aren't declared. The stand-in can't call any.
    if (is_last and not called) or is_stand_in(model):
        return []
    tools, first = work.toolbox.usable_tools(names), {*wanted, *called}
    if wanted and len(tools) <= MAX_TOOLS:
        tools = [tool for tool in tools if tool.name in first]
    choose = partial(
        chosen,
        tools,
        "\n".join([task, *about(work.question)]),
        first=first,
        most=MAX_TOOLS,
        max_bytes=BYTES_PER_TOKEN * max(OVERHEAD_TOKENS, window.context_tokens // SHARE),
    )
    # To take in the words of hundreds takes a while, the first time.
    return choose() if len(tools) <= MAX_TOOLS else await asyncio.to_thread(choose)


def about(question: Question) -> list[str]:
    """Return the question, with the one that it may follow."""
    return [question.text, *(earlier.question for earlier in question.earlier[-1:])]


def window_beside(tools: Sequence[Tool], window: Window) -> Window:
    """Return what a call may hold of messages beside these tools."""
    tokens = sum(len(msgspec.json.encode(tool.offer)) for tool in tools) // BYTES_PER_TOKEN
    # So many are left for them in any window.
    return replace(window, context_tokens=window.context_tokens - max(0, tokens - OVERHEAD_TOKENS))
