"""How much a model reads and writes in one call: what its server tells, and what settings allow."""

from collections.abc import Callable
from dataclasses import dataclass

from .listing import Listing

# If neither a setting nor the server tells more. Servers that people start themselves often read
# 8,192 tokens, with the answer.
DEFAULT_CONTEXT_TOKENS = 6000
# However much a model could read. The team makes up to twelve calls for one question, which must
# not cost a million tokens because a conversation has become long.
MAX_CONTEXT_TOKENS = 65_536
# For what the estimates of messages leave out: tools, schemas, and the model's template.
OVERHEAD_TOKENS = 640
MIN_OUTPUT_TOKENS = 64
# Of a window, for the answer. Earlier exchanges need more.
ANSWER_SHARE = 0.3
STEPS_IN_CONTEXT = 6
# No model that chats reads fewer, whatever its server tells.
MIN_WINDOW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Window:
    """What one call to a model may hold, in tokens."""

    context_tokens: int  # of the messages
    output_tokens: int  # of the text that it writes
    thinking_tokens: int  # of its hidden thinking, in addition
    # The server drops the beginning of what is longer than this, without an error.
    read_tokens: int | None = None
    most_per_step: int = 1000

    @property
    def step_tokens(self) -> int:
        """What a step that doesn't write the answer may write: the next one reads several."""
        return min(self.most_per_step, self.context_tokens // STEPS_IN_CONTEXT)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the settings allow for each call. `context_tokens` is None if they leave it open.

    The next step of a team must be able to read what a step writes, so a context has at least
    `step_tokens`. `thinking_tokens` returns 0 for a model that doesn't think.
    """

    context_tokens: int | None = None
    output_tokens: int = 4096
    thinking_tokens: Callable[[str], int] = lambda model: 0
    step_tokens: int = 1000

    def window(self, name: str, listing: Listing) -> Window:
        """Return the window of a model, with what its server tells in `listing`."""
        model, told = listing.find(name), listing.read_by(name)
        thinking = self.thinking_tokens(name)
        read_tokens = told if model and model.cuts_silently else None
        if self.context_tokens is not None:
            # What people have set counts, even if the server tells less.
            return Window(
                self.context_tokens, self.output_tokens, thinking, read_tokens, self.step_tokens
            )
        # Some servers refuse a call that may write more than the model can.
        most = model.output_tokens if model else None
        if most and most < self.output_tokens + thinking:
            thinking = min(thinking, most // 2)
            output = min(self.output_tokens, most - thinking)
        else:
            output = self.output_tokens
        if told is None or told < MIN_WINDOW_TOKENS:
            return Window(DEFAULT_CONTEXT_TOKENS, output, thinking, None, self.step_tokens)
        # Servers refuse a call whose messages and limit of the answer exceed the window together.
        room = told - OVERHEAD_TOKENS
        to_write = max(room - self.step_tokens, 2 * MIN_OUTPUT_TOKENS)
        thinking = min(thinking, told // 4, to_write // 2)
        output = min(output, int(told * ANSWER_SHARE), to_write - thinking)
        context = min(max(room - output - thinking, self.step_tokens), MAX_CONTEXT_TOKENS)
        return Window(context, output, thinking, read_tokens, self.step_tokens)
