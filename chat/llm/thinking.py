"""How much a model may think before it answers."""

import re

from django.conf import settings

THINKING_MODEL = re.compile(r"(^|/)(gpt-[5-9]|gpt-oss|o[1-9]\b)")
THINKING_TOKENS = 4000


def thinking_tokens(model: str) -> int:
    """Return the tokens that a call may spend on hidden thinking, in addition to its text.

    0 means that the model isn't known to think. People may choose any model that is offered, so
    without FLEET_THINKING_TOKENS this depends on the model.
    """
    if settings.FLEET_THINKING_TOKENS is not None:
        return int(settings.FLEET_THINKING_TOKENS)
    return THINKING_TOKENS if THINKING_MODEL.search(model) else 0
