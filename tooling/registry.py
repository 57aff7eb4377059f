"""The decorator `@tool`, which makes a `Tool` of an async function.

To add a tool, write such a function in a module of its own, add it to TOOLS in `toolbox.py`, and
name it in the agents that may call it (`chat/workflow/agents.py`).
"""

import inspect
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from .results import Given, Output, TtlClass
from .schema import Arguments, Parameters, parameters_of
from .services import Services

type Path = Literal["light", "full"]


class CallKey(str):
    """The stable name of a call, the same if it is made again: an idempotency key."""

    __slots__ = ()


NO_KEY = CallKey("")


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How results are kept and shared by all owners. Only for tools whose arguments are public."""

    # Everything that decides the result, normalised.
    parameters: Callable[[Arguments, Services], dict[str, Any]]
    ttl: Callable[[Arguments], TtlClass]
    query: Callable[[Arguments], str]  # as the inspector shows it
    topic: Callable[[Arguments], str]
    # The account that pays: if the provider refuses it, the tool is closed for its users only.
    account: Callable[[Services], str]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that models may call, and what is needed to offer, check and bound a call."""

    name: str
    description: str
    parameters: Parameters
    function: Callable[..., Awaitable[str | Output]]
    takes_services: bool
    key_parameter: str  # the name of its CallKey; empty if it takes none
    timeout: float  # seconds
    max_chars: int  # of its result, as a model reads it
    paths: frozenset[Path]
    cache: CacheRule | None
    untrusted: bool  # its result holds text from outside
    reason_off: Callable[[Services], str]
    phrases: re.Pattern[str] | None
    from_question: Callable[[str, str], dict[str, Any] | None] | None
    acts: bool = False  # it changes something outside, so it must happen at most once
    # Who must approve each call: "" (no one), "owner", or "perm:app.codename" for staff.
    approver: str = ""
    calls_per_run: float = math.inf
    given_parameter: str = ""  # the name of its `Given | None`; empty if it takes none

    @property
    def offer(self) -> dict[str, Any]:
        """The tool as an OpenAI-compatible server expects it in `tools`."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters.schema,
        }
        return {"type": "function", "function": function}

    async def run(
        self,
        arguments: Arguments,
        services: Services,
        key: CallKey = NO_KEY,
        given: Given | None = None,
    ) -> Output:
        """Return the function's result, or raise ToolFailure or NeedsInput.

        `given` is what a person replied when the last call of it raised NeedsInput.
        """
        passed: dict[str, Any] = {"services": services} if self.takes_services else {}
        if self.key_parameter:
            passed[self.key_parameter] = key
        if self.given_parameter:
            passed[self.given_parameter] = given
        result = await self.function(**arguments, **passed)
        return Output(text=result) if isinstance(result, str) else result


def tool(
    *,
    timeout: float,
    max_chars: int = 4000,
    paths: frozenset[Path] = frozenset({"light", "full"}),
    cache: CacheRule | None = None,
    untrusted: bool = False,
    reason_off: Callable[[Services], str] = lambda services: "",
    phrases: re.Pattern[str] | None = None,
    from_question: Callable[[str, str], dict[str, Any] | None] | None = None,
    acts: bool = False,
    approver: str = "",
    calls_per_run: float = math.inf,
) -> Callable[[Callable[..., Awaitable[str | Output]]], Tool]:
    """Make a tool of an async function: models see its name, docstring and typed signature.

    `reason_off` returns why the tool cannot be used now, or an empty string. `from_question`
    returns the arguments for the one call that answers a question, or None. It gets the question
    and the one that this follows, which is empty for a question that stands alone. The light path
    makes such a call before it asks its model. If any question has arguments, as for a search,
    `phrases` are the wordings that obviously ask for this tool. Without them, arguments are found
    only in questions that the tool answers exactly.
    A parameter `services: Services` is passed by the toolbox and not shown to models, and so is one
    of the type CallKey or `Given | None`. `acts` marks a tool that changes something outside: a
    call is made at most once. `approver` says who is asked before each call.
    """
    # Phrases need the arguments to call with.
    assert phrases is None or from_question, "phrases need from_question"

    def decorate(function: Callable[..., Awaitable[str | Output]]) -> Tool:
        assert function.__doc__, "models know a tool by its docstring"
        hints = get_type_hints(function)
        return Tool(
            name=function.__name__,
            description=" ".join(inspect.cleandoc(function.__doc__).split()),
            parameters=parameters_of(function, passed=[Services, CallKey, Given | None]),
            function=function,
            takes_services="services" in inspect.signature(function).parameters,
            key_parameter=next((n for n, kind in hints.items() if kind is CallKey), ""),
            given_parameter=next((n for n, kind in hints.items() if kind == Given | None), ""),
            timeout=timeout,
            max_chars=max_chars,
            paths=paths,
            cache=cache,
            untrusted=untrusted,
            reason_off=reason_off,
            phrases=phrases,
            from_question=from_question,
            acts=acts,
            approver=approver,
            calls_per_run=calls_per_run,
        )

    return decorate
