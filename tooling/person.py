"""A question of an agent to the person who asked."""

from typing import Annotated

from msgspec import Meta

from .registry import tool

PERSON = "ask_person"


@tool(timeout=1, light=False, calls_per_run=1)
async def ask_person(
    question: Annotated[str, Meta(description="One question", min_length=1, max_length=500)],
    options: Annotated[
        tuple[Annotated[str, Meta(max_length=100)], ...],
        Meta(description="Likely answers to choose from", max_length=6),
    ] = (),
) -> str:
    """Ask the person one question, if the answer depends on something that only they know.

    Their reply may take days, so ask only if no sensible assumption is possible.
    """
    raise AssertionError("the workflow asks the person; there is nothing to run")
