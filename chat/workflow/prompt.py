"""What a model reads: instructions, earlier exchanges and material, cut to its context."""

import re
from collections.abc import Sequence
from dataclasses import replace

from chat.llm.dialects.calls import NO_ARGUMENTS, object_in
from chat.llm.messages import (
    BYTES_PER_TOKEN,
    ChatMessage,
    WantedCall,
    estimated_tokens,
)
from chat.record import Exchange
from tooling.calls import MAX_ARGUMENT_BYTES

from .agents import Agent
from .question import Question

NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")  # of a function, as OpenAI takes it
MAX_FUNCTION_NAME = 64
# The person's own instructions get at most this part of a model's context. Only small models with
# long instructions reach it: the rest is for the question and what was said before.
PERSONAL_SHARE = 4
PERSONAL = "\n\nThe person's own instructions, for all answers:\n<personal>\n{text}\n</personal>"
MARK_OF_CUT = " […]"
LEFT_OUT = "[An earlier result was left out here, to stay within the limit.]"


def within(messages: Sequence[ChatMessage], budget: int) -> list[ChatMessage]:
    """Return the messages, shortened to at most `budget` tokens.

    Earlier exchanges are dropped first, except the last one, which a follow-up is about. Then the
    oldest tool calls and results lose their content. Then the longest message loses its middle,
    because people ask at the beginning or at the end of a long text.
    """
    kept = list(messages)
    over = sum(message.tokens for message in kept) - budget
    while over > 0 and begins_with_two_exchanges(kept):
        over -= kept[1].tokens + kept[2].tokens
        del kept[1:3]
    for place, message in enumerate(kept):
        shorter = left_out(message)
        if over > 0 and shorter.tokens < message.tokens:
            over -= message.tokens - shorter.tokens
            kept[place] = shorter
    if over > 0:
        place = max(range(len(kept)), key=lambda i: len(kept[i].content))
        kept[place] = replace(
            kept[place], content=without_middle(kept[place].content, BYTES_PER_TOKEN * over)
        )
    return kept


def without_middle(text: str, fewer: int) -> str:
    """Return the text with `fewer` bytes less, apart from the mark of the cut."""
    content = text.encode()
    room = max(0, len(content) - fewer)
    head, tail = content[: room - room // 3], content[len(content) - room // 3 :]
    return f"{head.decode(errors='ignore')} […] {tail.decode(errors='ignore')}"


def begins_with_two_exchanges(messages: Sequence[ChatMessage]) -> bool:
    """Return True if two earlier exchanges stand between the instructions and the question."""
    first = messages[1:5]
    return [message.role for message in first] == ["user", "assistant"] * 2 and not any(
        message.tool_calls for message in first
    )


def left_out(message: ChatMessage) -> ChatMessage:
    """Return the message without the arguments of its calls, or without its result."""
    if message.role == "tool":
        return replace(message, content=LEFT_OUT)
    return replace(
        message, tool_calls=[replace(call, arguments=NO_ARGUMENTS) for call in message.tool_calls]
    )


def prompt(
    agent: Agent,
    question: Question,
    context_tokens: int,
    examples: Sequence[Exchange] = (),
) -> list[ChatMessage]:
    """Return what an agent reads: instructions, examples, the newest exchanges, the question.

    All examples are read, and as many exchanges as fit.
    """
    first = [message for example in examples for message in messages_of(example)]
    instructions = instructions_for(agent, question, context_tokens)
    budget = context_tokens - estimated_tokens(instructions) - estimated_tokens(question.text)
    budget -= sum(message.tokens for message in first)
    kept: list[ChatMessage] = []
    for earlier in reversed(question.earlier):
        exchange = messages_of(earlier)
        budget -= sum(message.tokens for message in exchange)
        if budget < 0:
            break
        kept = [*exchange, *kept]
    return [
        ChatMessage("system", instructions),
        *first,
        *kept,
        ChatMessage("user", question.text),
    ]


def instructions_for(agent: Agent, question: Question, context_tokens: int) -> str:
    """Return the agent's instructions, with the person's own if its words reach the person."""
    personal = personal_within(question.instructions, context_tokens) if agent.heeds_person else ""
    return agent.instructions + (PERSONAL.format(text=personal) if personal else "")


def personal_within(text: str, context_tokens: int) -> str:
    """Return as much of the person's own instructions as a model with this context reads."""
    budget = context_tokens // PERSONAL_SHARE - estimated_tokens(PERSONAL)
    content, room = text.encode(), BYTES_PER_TOKEN * max(budget, 0)
    if len(content) <= room:
        return text
    head = content[: max(0, room - len(MARK_OF_CUT.encode()))].decode(errors="ignore").rstrip()
    return head and head + MARK_OF_CUT


def messages_of(exchange: Exchange) -> list[ChatMessage]:
    return [ChatMessage("user", exchange.question), ChatMessage("assistant", exchange.answer)]


def as_told(call: WantedCall) -> WantedCall:
    """Return the call in the form in which its model reads it again.

    Servers reject names with odd characters and arguments that aren't a JSON object. Arguments that
    were rejected for their length would push everything else out of the context.
    """
    name = NOT_IN_A_NAME.sub("_", call.name)[:MAX_FUNCTION_NAME] or "_"
    is_fit = len(call.arguments.encode()) <= MAX_ARGUMENT_BYTES
    arguments = object_in(call.arguments) if is_fit else None
    return replace(call, name=name, arguments=arguments or NO_ARGUMENTS)
