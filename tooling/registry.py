"""What a tool is: an async function that becomes a `Tool` by the decorator `@tool`."""

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from .results import Output, TtlClass
from .schema import Arguments, Parameters, parameters_of
from .services import Services

type Path = Literal["light", "full"]


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How results are kept and shared between owners: only for tools whose arguments are public."""

    parameters: Callable[
        [Arguments, Services], dict[str, Any]
    ]  # everything that decides the result, normalised
    ttl: Callable[[Arguments], TtlClass]
    query: Callable[[Arguments], str]  # what the inspector shows
    topic: Callable[[Arguments], str]
    account: Callable[
        [Services], str
    ]  # which one pays: a closed account closes the tool for its users only


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that models may call, with all that is needed to offer it, check a call, and bound it."""

    name: str
    description: str
    parameters: Parameters
    function: Callable[..., Awaitable[str | Output]]
    takes_services: bool
    timeout: float  # seconds
    max_chars: int  # of its result, as a model reads it
    paths: frozenset[Path]
    cache: CacheRule | None
    untrusted: bool  # its result holds text from outside
    reason_off: Callable[[Services], str]
    phrases: re.Pattern[str] | None
    from_question: Callable[[str, str], dict[str, Any] | None] | None

    @property
    def offer(self) -> dict[str, Any]:
        """The tool as OpenAI-compatible servers want it in `tools`."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters.schema,
        }
        return {"type": "function", "function": function}

    async def run(self, arguments: Arguments, services: Services) -> Output:
        """The function's result; ToolFailure says why there is none."""
        ours = {"services": services} if self.takes_services else {}
        result = await self.function(**arguments, **ours)
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
) -> Callable[[Callable[..., Awaitable[str | Output]]], Tool]:
    """Make a tool of an async function: its name, docstring and typed signature are what models see.

    `reason_off` returns why the tool cannot be used now, or an empty string. `phrases` are the
    wordings of a question that obviously asks for this tool, and `from_question` returns the
    arguments for it, or None. It gets the question and the one that this follows, which is empty
    for a question that stands alone. The light path makes such a call before it asks its model.
    A parameter `services: Services` is passed by the toolbox and not shown to models.
    """
    # With phrases alone there is nothing to call the tool with; arguments alone are never asked for.
    assert (phrases is None) == (from_question is None), "give both or neither"

    def made(function: Callable[..., Awaitable[str | Output]]) -> Tool:
        assert function.__doc__, "a model knows a tool by its docstring"
        return Tool(
            name=function.__name__,
            description=" ".join(inspect.cleandoc(function.__doc__).split()),
            parameters=parameters_of(function, given_by_us=[Services]),
            function=function,
            takes_services="services" in inspect.signature(function).parameters,
            timeout=timeout,
            max_chars=max_chars,
            paths=paths,
            cache=cache,
            untrusted=untrusted,
            reason_off=reason_off,
            phrases=phrases,
            from_question=from_question,
        )

    return made
