"""What a model reads of its messages, and what people are told if that isn't all of them."""

import logging
from collections.abc import Sequence

from chat.access.owners import everybody_is_operator
from chat.llm.local_servers import how_to_read_more
from chat.llm.messages import ChatMessage
from chat.llm.windows import Window
from chat.protocol.terms import Usage
from tooling.sentences import sentence

from .prompt import Prompt
from .work import Work

logger = logging.getLogger(__name__)

READS_THE_END = sentence("The model reads only the last %(tokens)s tokens of what it is given.")
READ_LESS = sentence("The model server read only %(read)s of about %(sent)s tokens.")
ITS_CONTEXT = sentence("Its context is %(tokens)s tokens.")
MORE_CONTEXT = sentence("This makes it read more: %(command)s")
SET_CONTEXT = sentence("FLEET_CONTEXT_TOKENS must not be more than it reads.")
# Our estimate is rather too high, by a third for English. A server that counts less than this share
# of it has dropped something.
READ_SHARE = 0.6
MIN_COMPARED = 1500  # tokens: in short messages the estimate is too rough


def fit(prompt: Prompt, window: Window, work: Work) -> None:
    """Shorten what a model is given to what fits, and tell once if it won't read all of that."""
    prompt.fit(window.context_tokens)
    if window.read_tokens and sum(each.tokens for each in prompt.messages) > window.read_tokens:
        work.say_once(READS_THE_END % {"tokens": f"{window.read_tokens:,}"})


def tell_unread(messages: Sequence[ChatMessage], usage: Usage, window: Window, work: Work) -> None:
    """Tell once if the server counts far fewer tokens than it was sent: it has read only a part."""
    sent = sum(each.tokens for each in messages)
    # Some servers leave out what they have cached.
    counts_all = usage.input_tokens and not usage.estimated and not usage.cached_tokens
    if not counts_all or sent < MIN_COMPARED or usage.input_tokens >= READ_SHARE * sent:
        return
    parts = [READ_LESS % {"read": f"{usage.input_tokens:,}", "sent": f"{sent:,}"}]
    if window.read_tokens:
        parts.append(ITS_CONTEXT % {"tokens": f"{window.read_tokens:,}"})
    command = how_to_read_more(is_ollama=window.read_tokens is not None)
    advice = MORE_CONTEXT % {"command": command} if command else SET_CONTEXT
    logger.warning("%s %s", " ".join(parts), advice)
    if everybody_is_operator():
        parts.append(advice)
    work.say_once(" ".join(parts))
