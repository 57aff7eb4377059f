"""What a model reads: instructions, earlier exchanges and material, cut to its context."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chat.llm.dialects.calls import NO_ARGUMENTS, object_in
from chat.llm.messages import (
    BYTES_PER_TOKEN,
    ChatMessage,
    WantedCall,
    estimated_tokens,
    without_middle,
)
from chat.record import Exchange
from tooling.calls import MAX_ARGUMENT_BYTES

from .agents import Agent
from .history import HISTORY_SHARE, MESSAGES, History, fitting, history_of, messages_of
from .question import Question

NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")  # of a function, as OpenAI takes it
MAX_FUNCTION_NAME = 64
# The person's own instructions get at most this part of a model's context. Only small models with
# long instructions reach it: the rest is for the question and what was said before.
PERSONAL_SHARE = 4
ROOM_SHARE = 4  # of a context that became too small, at least this part is for later rounds
PERSONAL = "\n\nThe person's own instructions, for all answers:\n<personal>\n{text}\n</personal>"
MARK_OF_CUT = " […]"
AGAIN = "The question again:\n"
MUCH_TEXT = 300  # characters; less is a result of the calculator or the clock
MAX_REPEATED_TOKENS = 200
LEFT_OUT = "[An earlier result was left out here, to stay within the limit.]"


@dataclass(slots=True)
class Prompt:
    """What a turn's model calls read. It grows at its end, and begins in the same way each time."""

    messages: list[ChatMessage]
    opening: int = 1  # of the messages: the instructions, and the examples behind them
    history: History = field(default_factory=History)  # of which the messages behind these are

    def add_to_question(self, words: str) -> None:
        """Put words behind the question, in its message."""
        # Not as a message of role "tool", which weak models do not know. Not before the question:
        # the next request has the question in this place, without the words.
        asked = self.messages[-1]
        self.messages[-1] = replace(asked, content=f"{asked.content}\n\n{words}")

    def add_material(self, text: str) -> None:
        """Put what was found behind the question, and behind much of it the question again.

        Models remember best what they have read last, and a page should not have the last word.
        """
        question = self.messages[-1].content
        self.add_to_question(text)
        if len(text) >= MUCH_TEXT:
            over = max(0, estimated_tokens(question) - MAX_REPEATED_TOKENS)
            self.add_to_question(AGAIN + (without_middle(question, over) if over else question))

    def fit(self, budget: int) -> None:
        """Shorten the messages to at most `budget` tokens."""
        kept = within(self.messages, budget, opening=self.opening)
        dropped = len(self.messages) - len(kept)
        self.messages, self.history = kept, self.history.without(dropped // MESSAGES)


def within(messages: Sequence[ChatMessage], budget: int, *, opening: int = 1) -> list[ChatMessage]:
    """Return the messages, shortened to at most `budget` tokens.

    Behind the `opening`, earlier exchanges are dropped first, except the last one, which a
    follow-up is about. Then the oldest tool calls and results lose their content. Of both, more is
    left out at once, so that later rounds begin in the same way. Then the longest message loses its
    middle, because people ask at the beginning or at the end of a long text.
    """
    kept = list(messages)
    over = sum(message.tokens for message in kept) - budget
    if over <= 0:
        return kept
    more = budget // ROOM_SHARE
    while over + more > 0 and begins_with_two_exchanges(kept[opening : opening + 4]):
        over -= sum(message.tokens for message in kept[opening : opening + MESSAGES])
        del kept[opening : opening + MESSAGES]
    newest = max(
        (place for place, message in enumerate(kept) if message.tool_calls), default=len(kept) - 1
    )
    is_over = over > 0
    for place, message in enumerate(kept):
        shorter = left_out(message)
        needed = over + (more if is_over and place < newest else 0)
        if needed > 0 and shorter.tokens < message.tokens:
            over -= message.tokens - shorter.tokens
            kept[place] = shorter
    if over > 0:
        place = max(range(len(kept)), key=lambda i: len(kept[i].content))
        kept[place] = replace(kept[place], content=without_middle(kept[place].content, over))
    return kept


def begins_with_two_exchanges(messages: Sequence[ChatMessage]) -> bool:
    """Return True if these four messages are two earlier exchanges."""
    return [message.role for message in messages] == ["user", "assistant"] * 2 and not any(
        message.tool_calls for message in messages
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
) -> Prompt:
    """Return what an agent reads: instructions, examples, earlier exchanges, the question.

    What is for this question alone comes behind it, so that the next request of this agent begins
    with all that this one has before.
    """
    first = [message for example in examples for message in messages_of(example)]
    opening = [ChatMessage("system", instructions_for(agent, question, context_tokens)), *first]
    asked = ChatMessage("user", question.text)
    room = context_tokens - sum(message.tokens for message in (*opening, asked))
    history = fitting(history_of(question, context_tokens), room, context_tokens // HISTORY_SHARE)
    return Prompt([*opening, *history.messages, asked], len(opening), history)


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


def as_told(call: WantedCall) -> WantedCall:
    """Return the call in the form in which its model reads it again.

    Servers reject names with odd characters and arguments that aren't a JSON object. Arguments that
    were rejected for their length would push everything else out of the context.
    """
    name = NOT_IN_A_NAME.sub("_", call.name)[:MAX_FUNCTION_NAME] or "_"
    is_fit = len(call.arguments.encode()) <= MAX_ARGUMENT_BYTES
    arguments = object_in(call.arguments) if is_fit else None
    return replace(call, name=name, arguments=arguments or NO_ARGUMENTS)
