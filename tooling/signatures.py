"""The parameters of a tool, from the signature that its author has written."""

import inspect
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from copy import deepcopy
from enum import Enum
from fractions import Fraction
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, TypeAliasType, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from msgspec import Meta

from .docstrings import split_docstring
from .functions import MAX_DESCRIPTION, Written
from .names import NAME
from .schema import Parameters, as_json, made_of_text

# Types that are written as a text, which msgspec doesn't know.
TEXTS = (
    *(PurePath, ZoneInfo, Fraction),
    *(IPv4Address, IPv6Address, IPv4Network, IPv6Network),
)
UNREADABLE = (TypeError, ValueError, NameError, AttributeError, RecursionError, SchemaError)
FITTING = (
    "Write str, int, float, bool, a list or dict of these, Literal, an Enum, a date, or a dataclass"
)

_MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])")

type Field = tuple[str, Any] | tuple[str, Any, Any]


def description_of(function: Written) -> str:
    """Return what models read of the tool."""
    said, _ = split_docstring(function.doc)
    if not said:
        raise function.reject("has a docstring that doesn't say what it does.")
    if len(said) > MAX_DESCRIPTION:
        raise function.reject(
            f"has a docstring of {len(said):,} characters. Models get at most {MAX_DESCRIPTION:,}."
        )
    return said


def parameters_of(function: Written, *, passed: Collection[Any]) -> Parameters:
    """Return the parameters that a model fills in: all but those of a type that is `passed`."""
    hints = hints_of(function)
    fields: list[Field] = []
    defaults: dict[str, Any] = {}
    for name, parameter in parameters_in(function):
        if hints[name] in passed:
            continue
        annotation = described(hints[name])
        check_type(function, name, annotation, shown(hints[name]))
        if parameter.default is parameter.empty:
            fields.append((name, annotation))
        else:
            check_default(function, name, annotation, parameter.default, shown(hints[name]))
            with suppress(ValueError):  # a number that JSON doesn't have
                defaults[name] = as_json(parameter.default, allow_nan=False)
            fields.append((name, annotation, kept(parameter.default)))
    try:
        struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        schema = schema_of(struct)
        Draft202012Validator.check_schema(schema)
    except UNREADABLE as exc:
        raise function.reject(f"can't be described to a model: {in_one_line(exc)}") from exc
    _, about = split_docstring(function.doc)
    for name, described_as in schema["properties"].items():
        described_as.pop("default", None)
        if name in defaults:
            described_as["default"] = defaults[name]
        if about.get(name):
            described_as.setdefault("description", about[name])
    try:
        msgspec.json.encode(schema)
    except UNREADABLE as exc:
        raise function.reject(f"can't be described to a model: {in_one_line(exc)}") from exc
    return Parameters(schema, struct)


def passed_parameter(function: Written, kind: Any) -> str:
    """Return the name of the parameter of this type; empty if there is none."""
    hints = hints_of(function)
    return next((name for name, _ in parameters_in(function) if hints[name] == kind), "")


def parameters_in(function: Written) -> list[tuple[str, inspect.Parameter]]:
    """Return the parameters that are still open. Raise NotATool if models can't fill them in."""
    found = []
    for number, (name, parameter) in enumerate(function.signature.parameters.items()):
        if name in function.fixed:
            continue
        has_type = parameter.annotation is not parameter.empty
        if number == 0 and name in ("self", "cls") and not has_type:
            raise function.reject(
                f"is a method. Make a tool of that of an object, as in"
                f" `{function.name} = tool(shop.{function.name})`."
            )
        match parameter.kind:
            case parameter.VAR_POSITIONAL | parameter.VAR_KEYWORD:
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                raise function.reject(
                    f"takes {stars}{name}. Write each parameter with its type, as in"
                    " `article: str`, or one of them as a list."
                )
            case parameter.POSITIONAL_ONLY:
                raise function.reject(f"takes `{name}` by position only. Leave out the `/`.")
        if not has_type:
            raise function.reject(f"has no type for `{name}`. Write it, as in `{name}: str`.")
        if not NAME.fullmatch(name):
            raise function.reject(
                f"has a parameter `{name}`, a name that model servers refuse. Take letters from a"
                " to z, digits and _."
            )
        found.append((name, parameter))
    return found


def hints_of(function: Written) -> dict[str, Any]:
    """Return the annotations of the open parameters, evaluated."""
    hints: dict[str, Any] = {}
    for name, parameter in parameters_in(function):
        one = SimpleNamespace(__annotations__={name: parameter.annotation})
        try:
            hints |= get_type_hints(one, function.scope, function.scope, include_extras=True)
        except NameError as exc:
            raise function.reject(
                f"has the type `{shown(parameter.annotation)}` for `{name}`, but {exc.name} is not"
                " known when it is loaded. Import it at the top, outside of `if TYPE_CHECKING`."
            ) from exc
        except (*UNREADABLE, SyntaxError) as exc:
            raise function.reject(
                f"has a type for `{name}` that can't be read: `{shown(parameter.annotation)}`."
            ) from exc
    return hints


def described(annotation: Any) -> Any:
    """Return the annotation with plain texts as descriptions, in the form that msgspec knows."""
    if isinstance(annotation, TypeAliasType) and get_origin(annotation.__value__) is Annotated:
        return described(annotation.__value__)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return Union[tuple(described(each) for each in get_args(annotation))]  # noqa: UP007
    if origin is not Annotated:
        return annotation
    base, *notes = get_args(annotation)
    metas = [note for note in notes if isinstance(note, Meta)]
    texts = [text for text in map(text_of, notes) if text]
    if texts and not any(meta.description for meta in metas):
        metas.append(Meta(description=" ".join(texts)))
    return Annotated[described(base), *metas] if metas else described(base)


def text_of(note: object) -> str:
    """Return a description: a plain text, or one of those that other libraries have for it."""
    if isinstance(note, str):
        return note
    for name in ("documentation", "description"):
        if not isinstance(note, Meta) and isinstance(text := getattr(note, name, None), str):
            return text
    return ""


def check_type(function: Written, name: str, annotation: Any, words: str) -> None:
    """Raise NotATool if a model could not fill in a parameter of this type."""
    try:
        schema_of(msgspec.defstruct("One", [(name, annotation)]))
    except UNREADABLE as exc:
        if "Type unions may not contain" in str(exc):
            raise function.reject(
                f"has `{name}: {words}`, types that can't be told apart in JSON. Write one of them."
            ) from exc
        raise function.reject(
            f"has `{name}: {words}`, a type that models can't fill in. {FITTING}."
        ) from exc


def schema_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema with the tool's object on top. Servers don't follow a reference there."""
    [top], definitions = msgspec.json.schema_components([struct], schema_hook=schema_of_text)
    own = definitions.pop(str(top["$ref"]).rsplit("/", 1)[1])
    own.pop("title", None)
    return {**own, "$defs": definitions} if definitions else own


def schema_of_text(kind: type) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, TEXTS):
        return {"type": "string"}
    raise NotImplementedError


def check_default(
    function: Written, name: str, annotation: Any, default: object, words: str
) -> None:
    """Raise NotATool if the default doesn't fit the type."""
    try:
        plain = msgspec.to_builtins(default, str_keys=True, enc_hook=str)
        msgspec.convert(plain, type=annotation, strict=False, dec_hook=made_of_text)
    except (*UNREADABLE, OverflowError) as exc:
        hint = f"Write `{name}: {words} | None = None`." if default is None else in_one_line(exc)
        raise function.reject(
            f"has the default {in_one_line(repr(default))[:60]} for `{name}`, which is not of its"
            f" type {words}. {hint}"
        ) from exc


def kept(default: Any) -> Any:
    """Return a default for msgspec: each call gets its own of one that can be changed."""
    if isinstance(default, str | int | float | bytes | Enum | NoneType):
        return default
    make: Callable[[], Any] = partial(deepcopy, default)
    return msgspec.field(default_factory=make)


def shown(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__.rsplit(".", 1)[-1]
    return in_one_line(_MODULES.sub("", str(annotation)))


def in_one_line(said: object) -> str:
    return " ".join(str(said).split())[:200]
