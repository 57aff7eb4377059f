"""The decorator `@tool`, which makes a `Tool` of a function.

To add a tool to the product, write such a function in a module of its own, add it to BUILT_IN in
`known.py`, and name it in the agents that may call it (`chat/workflow/agents.py`). Operators
write one in fleet_tools.py, or in the module `tools` of an app (chat/config/README.md).
"""

import logging
import math
import re
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, overload

import msgspec

from .awaiting import result_of
from .functions import NotATool, Written, written
from .outputs import collected, output_of
from .results import Given, Output, TtlClass
from .schema import Arguments, Parameters
from .sentences import sentence
from .services import Services
from .signatures import description_of, parameters_of, passed_parameter
from .tables import APPROVER
from .threads import MAX_STUCK, Lane

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 30.0  # seconds
MAX_TIMEOUT = 600.0
MAX_CHARS_IN_PARTS = 100_000  # of all parts of a result
OFF = sentence("%(tool)s cannot be used now.")
_told: set[str] = set()  # the tools of which the log says once that reason_off fails
STUCK = sentence(
    "%(tool)s is closed until one of its %(count)s calls ends that are beyond their time limit."
)

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
    function: Callable[..., Any]
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
    place: str = ""  # file and line, for operators
    lane: Lane | None = None  # the threads in which a plain function runs; None for an async one
    # A long result is read in parts: the argument `part` says which.
    in_parts: bool = False
    # It opens an address in its argument `url`, which must be one that the run knows.
    opens: bool = False
    suffices: bool = False  # a question with its phrases needs no team

    @property
    def kept_chars(self) -> int:
        """How many characters of a result are of use."""
        return MAX_CHARS_IN_PARTS if self.in_parts else self.max_chars

    @property
    def offer(self) -> dict[str, Any]:
        """The tool as an OpenAI-compatible server expects it in `tools`."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters.schema,
        }
        return {"type": "function", "function": function}

    @property
    def definition(self) -> str:
        """What identifies the tool as models read it."""
        return sha256(msgspec.json.encode(self.offer, order="sorted")).hexdigest()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as other code and tests of its author do."""
        return self.function(*args, **kwargs)

    async def run(
        self,
        arguments: Arguments,
        services: Services,
        key: CallKey = NO_KEY,
        given: Given | None = None,
    ) -> Output:
        """Return the function's result, or raise what it raises; Escaped for what isn't Exception.

        What it returns may be of any type. Raise UnusableResult if that has no text. `given` is
        what a person replied when the last call of it raised NeedsInput.
        """
        passed: dict[str, Any] = {"services": services} if self.takes_services else {}
        if self.key_parameter:
            passed[self.key_parameter] = key
        if self.given_parameter:
            passed[self.given_parameter] = given

        def call() -> Any:
            result = self.function(**arguments, **passed)
            if isinstance(result, Awaitable | AsyncIterable):
                return result  # for the event loop
            return output_of(result, self.kept_chars)

        result = await self.lane.run(call, limit=self.timeout) if self.lane else call()
        if isinstance(result, Awaitable):
            result = await self.awaited(result)
        if isinstance(result, AsyncIterable):
            result = await self.awaited(collected(result, self.kept_chars))
        return output_of(result, self.kept_chars)

    async def awaited(self, awaitable: Awaitable[Any]) -> Any:
        return await result_of(awaitable, on_block=self.note_block, on_refusal=self.note_refusal)

    def why_off(self, services: Services) -> str:
        """Return why the tool cannot be called now, or an empty string."""
        if self.lane and (stuck := self.lane.stuck) >= MAX_STUCK:
            return STUCK % {"tool": self.name, "count": stuck}
        try:
            return self.reason_off(services)
        except Exception as exc:  # noqa: BLE001 - code of the owner; answers can do without it
            if self.name not in _told:
                _told.add(self.name)
                said = " ".join(str(exc).split())[:200]
                logger.error(
                    "tool=%s: reason_off raised %s: %s (%s)",
                    *(self.name, type(exc).__name__, said, self.place),
                )
            return OFF % {"tool": self.name}

    def note_block(self, seconds: float) -> None:
        logger.warning(
            "tool=%s blocked the event loop for %.1f s, in which no answer went on. Write it with"
            " `def` in place of `async def`: then it runs in a thread (%s)",
            *(self.name, seconds, self.place),
        )

    def note_refusal(self) -> None:
        logger.warning(
            "tool=%s goes on after it was cancelled: it must not catch CancelledError (%s)",
            *(self.name, self.place),
        )


MADE: list[Tool] = []  # by the decorator in this process

type Decorator = Callable[[Callable[..., Any]], Tool]


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *,
    name: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    max_chars: int = 4000,
    light: bool = True,
    cache: CacheRule | None = None,
    untrusted: bool = False,
    reason_off: Callable[[Services], str] | None = None,
    phrases: re.Pattern[str] | str | None = None,
    from_question: Callable[[str, str], dict[str, Any] | None] | None = None,
    acts: bool = False,
    approver: str = "",
    calls_per_run: float = math.inf,
    in_parts: bool = False,
    opens: bool = False,
    suffices: bool = False,
) -> Decorator: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    max_chars: int = 4000,
    light: bool = True,
    cache: CacheRule | None = None,
    untrusted: bool = False,
    reason_off: Callable[[Services], str] | None = None,
    phrases: re.Pattern[str] | str | None = None,
    from_question: Callable[[str, str], dict[str, Any] | None] | None = None,
    acts: bool = False,
    approver: str = "",
    calls_per_run: float = math.inf,
    in_parts: bool = False,
    opens: bool = False,
    suffices: bool = False,
) -> Tool | Decorator:
    """Make a tool of a function: models see its name, docstring and typed signature.

    Write `@tool` or `@tool(timeout=5)`. A plain function runs in a thread. Raise NotATool, in one
    line, for what can't be a tool.

    `light` says that a light answer may use it, too. `reason_off` returns why the tool cannot be
    used now, or an empty string. `from_question` returns the arguments for the one call that
    answers a question, or None. It gets the question and the one that this follows, which is empty
    for a question that stands alone. The light path makes such a call before it asks its model. If
    any question has arguments, as for a search, `phrases` are the wordings that obviously ask for
    this tool. Without them, arguments are found only in questions that the tool answers exactly.
    A parameter `services: Services` is passed by the toolbox and not shown to models, and so is one
    of the type CallKey or `Given | None`. `acts` marks a tool that changes something outside: a
    call is made at most once. `approver` says who is asked before each call. `untrusted` marks text
    from outside. `in_parts` marks a tool whose result is shown in parts that fit the model; its
    argument `part` names one. `opens` marks one that opens the address in its argument `url`: only
    those that the person wrote or that an earlier result names are let through. `suffices` says
    that a question with its `phrases` needs no team.
    """

    def decorate(subject: Callable[..., Any]) -> Tool:
        if isinstance(subject, Tool):
            raise NotATool(f"{subject.place}: {subject.name} is a tool already.")
        own = written(subject, name)
        check_options(
            own,
            timeout=timeout,
            max_chars=max_chars,
            approver=approver,
            calls_per_run=calls_per_run,
            phrases=phrases,
            from_question=from_question,
            suffices=suffices,
        )
        services = passed_parameter(own, Services)
        if services not in ("", "services"):
            raise own.reject(f"must call its parameter `services`, not `{services}`.")
        parameters = parameters_of(own, passed=(Services, CallKey, Given | None))
        check_parameters(own, parameters, opens=opens, in_parts=in_parts)
        made = Tool(
            name=own.name,
            description=description_of(own),
            parameters=parameters,
            function=own.function,
            takes_services=bool(services),
            key_parameter=passed_parameter(own, CallKey),
            given_parameter=passed_parameter(own, Given | None),
            timeout=timeout,
            max_chars=max_chars,
            paths=frozenset({"light", "full"}) if light else frozenset({"full"}),
            cache=cache,
            untrusted=untrusted,
            reason_off=reason_off or (lambda services: ""),
            phrases=re.compile(phrases, re.IGNORECASE) if isinstance(phrases, str) else phrases,
            from_question=from_question,
            acts=acts,
            approver=approver,
            calls_per_run=calls_per_run,
            place=own.place,
            lane=None if own.is_async else Lane(),
            in_parts=in_parts,
            opens=opens,
            suffices=suffices,
        )
        MADE.append(made)
        return made

    return decorate if function is None else decorate(function)


def check_options(
    own: Written,
    *,
    timeout: float,
    max_chars: int,
    approver: str,
    calls_per_run: float,
    phrases: re.Pattern[str] | str | None,
    from_question: object,
    suffices: bool,
) -> None:
    """Raise NotATool for what can't be said of a tool."""
    if not is_number(timeout) or not 0 < timeout <= MAX_TIMEOUT:
        raise own.reject(f"has timeout={timeout!r}. Write seconds, at most {MAX_TIMEOUT:g}.")
    if not is_number(max_chars) or not 1 <= max_chars <= 100_000:
        raise own.reject(f"has max_chars={max_chars!r}. Write a number up to 100000.")
    if not is_number(calls_per_run) or calls_per_run < 1:
        raise own.reject(f"has calls_per_run={calls_per_run!r}. Write a number from 1.")
    if not isinstance(approver, str) or (approver and not re.match(APPROVER, approver)):
        raise own.reject(
            f'has approver={approver!r}. Write "owner", or "perm:app.codename" for staff with that'
            " permission."
        )
    if phrases is not None and from_question is None:
        raise own.reject("has phrases, which need from_question: the arguments to call it with.")
    if suffices and phrases is None:
        raise own.reject("has suffices=True, which needs phrases: the questions that it answers.")
    if from_question is not None and not callable(from_question):
        raise own.reject("has a from_question that is no function of a question.")
    if isinstance(phrases, str):
        try:
            re.compile(phrases)
        except re.error as exc:
            raise own.reject(f"has phrases that are no regular expression: {exc}.") from exc


def check_parameters(own: Written, parameters: Parameters, *, opens: bool, in_parts: bool) -> None:
    """Raise NotATool for a tool without the parameter that one of its options is about."""
    known = parameters.schema["properties"]
    required = parameters.schema.get("required", ())
    if opens and (known.get("url", {}).get("type") != "string" or "url" not in required):
        raise own.reject("has opens=True, which needs a parameter `url: str` without a default.")
    if in_parts and (known.get("part", {}).get("type") != "integer" or "part" in required):
        raise own.reject("has in_parts=True, which needs a parameter `part: int = 1`.")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
