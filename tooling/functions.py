"""What the author of a tool has written: the function, its name, its docstring, its place."""

import inspect
import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

from .names import NAME, PARTING

MAX_DESCRIPTION = 1024  # characters; OpenAI's server refuses more
_HEADS = ("def ", "async def ", "class ")
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class NotATool(TypeError):
    """Raised for what can't be a tool, in one line: its place, and how to write it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A function that is to be a tool."""

    function: Callable[..., Any]
    name: str
    doc: str
    place: str  # file and line
    signature: inspect.Signature
    scope: dict[str, Any]  # in which its annotations have a meaning
    is_async: bool
    fixed: frozenset[str]  # parameters that have their argument already

    def reject(self, problem: str) -> NotATool:
        """Return the error for this function."""
        return NotATool(f"{self.place}: {self.name} {problem}")


def written(subject: object, name: str = "") -> Written:
    """Return what the decorator was put on, ready to become a tool. Raise NotATool if it can't.

    A class is made once, without arguments.
    """
    if isinstance(subject, staticmethod):
        subject = subject.__func__
    place = place_of(subject)
    if isinstance(subject, type):
        subject = instance_of(subject, place)
    if isinstance(subject, classmethod | property) or not callable(subject):
        shown = type(subject).__name__
        raise NotATool(
            f"{place}: @tool is for functions, not for {article(shown)}. Write @tool on the line"
            " above `def`."
        )
    fixed: set[str] = set()
    inner: Any = subject
    while isinstance(inner, partial):
        fixed |= inner.keywords.keys()
        inner = inner.func
    # An object without a name is of a class with `__call__`.
    is_object = not hasattr(inner, "__name__")
    code = type(inner).__call__ if is_object else inner
    default = _WORD_BEGINS.sub("_", type(inner).__name__).lower() if is_object else inner.__name__
    name = name or default
    problem_in = f"{place}: {name}"
    check_name(name, problem_in)
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise NotATool(f"{problem_in} yields its results. Return them, as a list or as a text.")
    of_class = type(inner).__doc__ if is_object else None
    doc = inspect.cleandoc(code.__doc__ or of_class or "")
    if not doc:
        raise NotATool(
            f'{problem_in} has no docstring. Write what it does, as in """Return the stock of an'
            ' article.""": models choose a tool by that.'
        )
    try:
        signature = inspect.signature(subject)
    except (ValueError, TypeError) as exc:
        raise NotATool(f"{problem_in} has no signature. Call it in a function of yours.") from exc
    bare = unwrapped(code)
    scope = getattr(bare, "__globals__", {})
    scope = {**scope, **{each.__name__: each for each in getattr(bare, "__type_params__", ())}}
    return Written(
        subject,
        name,
        doc,
        place,
        signature,
        scope,
        inspect.iscoroutinefunction(code),
        frozenset(fixed),
    )


def check_name(name: str, place: str) -> None:
    """Raise NotATool for a name that model servers or other tools have trouble with."""
    if not NAME.fullmatch(name):
        raise NotATool(
            f"{place} has a name that model servers refuse. Take at most 64 letters from a to z,"
            ' digits and _, as in @tool(name="stock").'
        )
    if PARTING in name:
        raise NotATool(
            f"{place} has two underscores in its name, as only tools of MCP servers have. Take one,"
            f' as in @tool(name="{re.sub("_+", "_", name)}").'
        )


def instance_of(subject: type, place: str) -> object:
    shown = f"{place}: the class {subject.__name__}"
    if not any("__call__" in vars(base) for base in subject.__mro__[:-1]):
        raise NotATool(f"{shown} has no method __call__, which the tool would call.")
    required = [
        each.name
        for each in inspect.signature(subject).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if required:
        raise NotATool(
            f"{shown} needs {', '.join(required)} to be made. Make it yourself, as in"
            f" `{subject.__name__.lower()} = tool({subject.__name__}(…))`."
        )
    made: object = subject()
    return made


def article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def unwrapped(function: Any) -> Any:
    """Return the function that has the code, behind partials, methods and decorators."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif isinstance(function, MethodType | staticmethod | classmethod):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def place_of(subject: Any) -> str:
    """Return file and line of a function or a class, or those of the decorator."""
    subject = unwrapped(subject)
    if isinstance(subject, type):
        module = inspect.getmodule(subject)
        file, line = getattr(module, "__file__", None), vars(subject).get("__firstlineno__", 1)
        return placed(file, line) if file else calling_place()
    code = (
        getattr(subject, "__code__", None)
        or getattr(unwrapped(type(subject).__call__), "__code__", None)
        if callable(subject)
        else None
    )
    if code is None:
        return calling_place()
    return placed(code.co_filename, code.co_firstlineno)


def placed(file: str, line: int) -> str:
    """Return the place in words. Decorators come before the line that people look for."""
    for number in range(line, line + 20):
        if linecache.getline(file, number).lstrip().startswith(_HEADS):
            return f"{file}, line {number}"
    return f"{file}, line {line}"


def calling_place() -> str:
    """Return the place of the first caller outside of this package."""
    frame = inspect.currentframe()
    own = Path(__file__).parent
    while frame and Path(frame.f_code.co_filename).parent == own:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}" if frame else "somewhere"
