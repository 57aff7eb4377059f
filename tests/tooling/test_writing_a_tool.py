"""What the author of a tool may write, what models read of it, and what is said of a mistake."""

import asyncio
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from msgspec import Meta

from tooling import ToolFailure, tool
from tooling.calls import Call, Rejection, ToolResult
from tooling.functions import NotATool
from tooling.registry import DEFAULT_TIMEOUT, CallKey, Tool
from tooling.services import Services
from tooling.toolbox import Toolbox

if TYPE_CHECKING:
    from fractions import Fraction as Hidden


def box(*tools: Tool) -> Toolbox:
    known = {each.name: each for each in tools}
    return Toolbox(Services(), allowed=frozenset(known), max_calls=20, tools=known)


async def called(made: Tool, **arguments: Any) -> ToolResult:
    toolbox = box(made)
    call = toolbox.check(made.name, json.dumps(arguments))
    assert isinstance(call, Call), call
    return await toolbox.make(call)


# --- Forms of functions ---------------------------------------------------------------------------


@tool
async def plain_decorator(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"


@tool()
def plain_function(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"


@tool
class StockLevel:
    """Return the stock of an article."""

    def __call__(self, article: str) -> str:
        return f"{article}: 7"


class Warehouse:
    def __init__(self, count: int) -> None:
        self.count = count

    async def __call__(self, article: str) -> str:
        """Return the stock of an article."""
        return f"{article}: {self.count}"

    def stock(self, article: str) -> str:
        """Return the stock of an article."""
        return f"{article}: {self.count}"

    @tool
    @staticmethod
    def inside(article: str) -> str:
        """Return the stock of an article."""
        return f"{article}: 7"


def of_house(house: str, article: str, unit: str = "pieces") -> str:
    """Return the stock of an article."""
    return f"{article}: 7" if (house, unit) == ("north", "boxes") else "wrong"


def traced[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


@tool
@traced
async def behind_a_decorator(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"


@tool
@functools.cache
def cached(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"


FORMS = {
    "plain_decorator": plain_decorator,
    "plain_function": plain_function,
    "stock_level": StockLevel,
    "warehouse": tool(Warehouse(7)),
    "stock": tool(Warehouse(7).stock),
    "inside": Warehouse.inside,
    "of_house": tool(functools.partial(of_house, "north", unit="boxes")),
    "named": tool(name="named")(of_house),
    "behind_a_decorator": behind_a_decorator,
    "cached": cached,
}


@pytest.mark.parametrize("name", sorted(FORMS.keys() - {"named"}))
async def test_each_form_of_function_is_a_tool_that_answers(name: str) -> None:
    made = FORMS[name]
    assert isinstance(made, Tool)
    assert made.name == name
    assert made.description == "Return the stock of an article."
    assert made.parameters.schema == {
        "type": "object",
        "properties": {"article": {"type": "string"}},
        "required": ["article"],
        "additionalProperties": False,
    }
    assert (await called(made, article="A1")).text == "A1: 7"


def test_a_tool_has_the_name_the_limit_and_the_place_that_its_author_would_guess() -> None:
    assert FORMS["named"].name == "named"
    assert plain_function.timeout == DEFAULT_TIMEOUT
    lines = Path(__file__).read_text().splitlines()
    [number] = [n for n, text in enumerate(lines, 1) if text.startswith("def plain_function")]
    assert plain_function.place == f"{__file__}, line {number}"


async def test_the_authors_own_code_still_calls_the_function() -> None:
    assert plain_function("A1") == "A1: 7"
    assert await plain_decorator(article="A1") == "A1: 7"


def test_options_are_those_of_the_tool() -> None:
    made = tool(timeout=5, approver="perm:shop.refund", acts=True, light=False, calls_per_run=2)(
        of_house
    )
    assert (made.timeout, made.approver, made.acts) == (5, "perm:shop.refund", True)
    assert (made.paths, made.calls_per_run) == ({"full"}, 2)


async def test_what_the_toolbox_passes_is_not_shown_to_models() -> None:
    @tool
    def keyed(services: Services, article: str, key: CallKey) -> str:
        """Return what was passed."""
        return f"{type(services).__name__} {article} {key!r}"

    assert list(keyed.parameters.schema["properties"]) == ["article"]
    assert (await called(keyed, article="A")).text == "Services A ''"


async def test_a_parameter_of_another_type_may_be_called_services() -> None:
    @tool
    def listing(services: list[str]) -> str:
        """Join the names of services."""
        return " ".join(services)

    assert (await called(listing, services=["a", "b"])).text == "a b"


# --- Annotations ----------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Order:
    article: str
    count: int = 1


class Place(TypedDict):
    city: str


class Point(NamedTuple):
    x: int
    y: int = 0


type Article = Annotated[str, "one article number"]
type Numbers = list[int]

ANNOTATIONS: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 2, 2),
    (float, 2, 2.0),
    (bool, True, True),
    (Literal["a", 1], "a", "a"),
    (Colour, "red", Colour.RED),
    (str | None, None, None),
    (int | str, "007", "007"),
    (list[str], ["a"], ["a"]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1 + 1], {1, 2}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[str, list[Colour]], {"a": ["red"]}, {"a": [Colour.RED]}),
    (Order, {"article": "a", "count": 1}, Order("a")),
    (list[Order], [{"article": "a", "count": 2}], [Order("a", 2)]),
    (Place, {"city": "Oslo"}, {"city": "Oslo"}),
    (Point, [1], Point(1)),
    (datetime, "2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (time, "03:04:00", time(3, 4)),
    (timedelta, "PT90S", timedelta(seconds=90)),
    (Decimal, "1.50", Decimal("1.50")),
    (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678123456781234567812345678")),
    (Path, "a/b", Path("a/b")),
    (Path | None, "a/b", Path("a/b")),
    (ZoneInfo, "Europe/Oslo", ZoneInfo("Europe/Oslo")),
    (bytes, "YQ==", b"a"),
    (Article, "a", "a"),
    (Numbers, [1], [1]),
    (Any, {"a": [1]}, {"a": [1]}),
    (Annotated[int, Meta(ge=1)], 3, 3),
]


@pytest.mark.parametrize(
    ("annotation", "sent", "got"), ANNOTATIONS, ids=lambda each: str(each)[:40]
)
async def test_annotations_of_the_standard_library_become_values_of_their_type(
    annotation: Any, sent: Any, got: Any
) -> None:
    seen = []

    def take(value: Any) -> str:
        """Take a value."""
        seen.append(value)
        return "taken"

    take.__annotations__["value"] = annotation
    assert (await called(tool(take), value=sent)).text == "taken"
    assert seen == [got]
    assert type(seen[0]) is type(got)


@pytest.mark.parametrize(
    ("annotation", "sent", "got"), ANNOTATIONS, ids=lambda each: str(each)[:40]
)
async def test_each_annotation_has_defaults(annotation: Any, sent: Any, got: Any) -> None:
    seen = []

    def take(value: Any = got) -> str:
        """Take a value."""
        seen.append(value)
        return "taken"

    take.__annotations__["value"] = annotation
    made = tool(take)
    json.dumps(made.offer)
    toolbox = box(made)
    for arguments in ("{}", {"value": sent}):
        call = toolbox.check("take", arguments)
        assert isinstance(call, Call)
        # What equals the default is not worth showing, and a repeated call is known as one.
        assert call.arguments == {}
        await toolbox.make(call)
    assert seen == [got]


@pytest.mark.parametrize(
    "annotation",
    [
        Article,
        Annotated[str, "one article number"],
        Annotated[str, Meta(description="one article number")],
        Annotated[str, "one article number", Meta(max_length=9)],
        Annotated[str, "one article number"] | None,
    ],
)
def test_a_plain_text_in_annotated_is_the_description(annotation: Any) -> None:
    def take(article: Any) -> str:
        """Take it."""
        return ""

    take.__annotations__["article"] = annotation
    assert "one article number" in json.dumps(tool(take).parameters.schema)


async def test_a_long_text_is_read_in_parts() -> None:
    words = [f"Line {number}." for number in range(300)]

    @tool(in_parts=True, max_chars=1000)
    def manual(part: int = 1) -> str:
        """Return the manual."""
        return "\n".join(words)

    texts = [(await called(manual, part=part)).text for part in range(1, 6)]
    assert all(len(text) <= 1000 for text in texts)
    assert texts[0].endswith("[Part 1 of 4. To read on, call manual with part=2.]")
    assert texts[3].endswith("[Part 4 of 4.]")
    assert texts[4] == "There is no such part: the last one is 4."
    assert all(f"{each}\n" in "\n".join(texts[:4]) for each in words)


async def test_a_default_that_can_be_changed_is_new_in_each_call() -> None:
    @tool
    def collect(words: list[str] = ["a"], more: dict[str, int] = {}) -> str:  # noqa: B006
        """Collect words."""
        words.append("b")
        more["x"] = 1
        return " ".join(words)

    assert [(await called(collect)).text for _ in range(2)] == ["a b", "a b"]


async def test_a_wrong_value_is_rejected_with_a_text_that_names_it() -> None:
    @tool
    def at(zone: ZoneInfo, day: date) -> str:
        """Tell the time."""
        return ""

    for arguments in (
        {"zone": "Nowhere/Land", "day": "2026-01-01"},
        {"zone": "Europe/Oslo", "day": "tomorrow"},
    ):
        rejection = box(at).check("at", arguments)
        assert isinstance(rejection, Rejection)
        assert rejection.reason == "invalid_arguments"
        assert "$.zone" in rejection.text or "$.day" in rejection.text


# --- Descriptions from docstrings -----------------------------------------------------------------


def google(article: str, house: str = "north", limit: int = 5) -> str:
    """Return the stock of an article.

    Counts what is reserved, too.

    Args:
        article: its number,
            as the catalogue has it
        house (str, optional): where to look

    Returns:
        A number.
    """
    return ""


def numpy(article: str, house: str = "north", limit: int = 5) -> str:
    """Return the stock of an article.

    Counts what is reserved, too.

    Parameters
    ----------
    article : str
        its number,
        as the catalogue has it
    house : str, optional
        where to look

    Returns
    -------
    A number.
    """
    return ""


def sphinx(article: str, house: str = "north", limit: int = 5) -> str:
    """Return the stock of an article.

    Counts what is reserved, too.

    :param article: its number,
        as the catalogue has it
    :type article: str
    :param str house: where to look
    :returns: A number.
    """
    return ""


@pytest.mark.parametrize("style", [google, numpy, sphinx], ids=lambda each: each.__name__)
def test_a_docstring_describes_the_parameters(style: Callable[..., str]) -> None:
    made = tool(style)
    assert made.description.startswith("Return the stock of an article. Counts what is reserved, t")
    assert "catalogue" not in made.description
    properties = made.parameters.schema["properties"]
    assert properties["article"]["description"] == "its number, as the catalogue has it"
    assert properties["house"]["description"] == "where to look"
    assert "description" not in properties["limit"]


# --- Mistakes -------------------------------------------------------------------------------------


def no_docstring(article: str) -> str:
    return article


def only_arguments(article: str) -> str:
    """
    Args:
        article: its number
    """
    return article


def no_annotation(article) -> str:  # type: ignore[no-untyped-def]
    """Return it."""
    return str(article)


def many(*articles: str) -> str:
    """Return it."""
    return ""


def named(**articles: str) -> str:
    """Return it."""
    return ""


def positional(article: str, /) -> str:
    """Return it."""
    return article


def unknown_type(article: "Hidden") -> str:
    """Return it."""
    return ""


def unreadable_type(article: "1 +") -> str:  # type: ignore[valid-type]  # noqa: F722
    """Return it."""
    return ""


def no_schema(article: asyncio.Event) -> str:
    """Return it."""
    return ""


def two_texts(when: str | date) -> str:
    """Return it."""
    return ""


def none_for_a_number(limit: int = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
    """Return it."""
    return ""


def wrong_default(limit: int = "many") -> str:  # type: ignore[assignment]
    """Return it."""
    return ""


def generator(article: str) -> Any:
    """Return it."""
    yield article


async def async_generator(article: str) -> Any:
    """Return it."""
    yield article


def größe(article: str) -> str:
    """Return it."""
    return ""


def shop__read(article: str) -> str:
    """Return it."""
    return ""


def foreign_parameter(größe: str) -> str:
    """Return it."""
    return ""


def talkative(article: str) -> str:
    return article


talkative.__doc__ = "Return it. " * 200


def other_services(clients: Services) -> str:
    """Return it."""
    return ""


class NoCall:
    """Return it."""


class NeedsMore:
    """Return it."""

    def __init__(self, count: int) -> None: ...

    def __call__(self, article: str) -> str:
        return article


async def fitting(article: str) -> str:
    """Return it."""
    return article


def a_very_long_name(article: str) -> str:
    """Return it."""
    return ""


a_very_long_name.__name__ = "x" * 65


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (no_docstring, 'no_docstring has no docstring. Write what it does, as in """Return'),
        (only_arguments, "has a docstring that doesn't say what it does."),
        (talkative, "has a docstring of 2,199 characters. Models get at most 1,024."),
        (no_annotation, "has no type for `article`. Write it, as in `article: str`."),
        (many, "takes *articles. Write each parameter with its type, as in `article: str`"),
        (named, "takes **articles. Write each parameter with its type"),
        (positional, "takes `article` by position only. Leave out the `/`."),
        (unknown_type, "has the type `Hidden` for `article`, but Hidden is not known"),
        (unreadable_type, "has a type for `article` that can't be read: `1 +`."),
        (no_schema, "has `article: Event`, a type that models can't fill in. Write str, int,"),
        (two_texts, "has `when: str | date`, types that can't be told apart in JSON."),
        (none_for_a_number, "has the default None for `limit`, which is not of its type int."),
        (none_for_a_number, "Write `limit: int | None = None`."),
        (wrong_default, "has the default 'many' for `limit`, which is not of its type int."),
        (generator, "yields its results. Return them, as a list or as a text."),
        (async_generator, "yields its results. Return them, as a list or as a text."),
        (größe, "größe has a name that model servers refuse."),
        (a_very_long_name, "has a name that model servers refuse. Take at most 64 letters"),
        (shop__read, "has two underscores in its name, as only tools of MCP servers have."),
        (foreign_parameter, "has a parameter `größe`, a name that model servers refuse."),
        (other_services, "must call its parameter `services`, not `clients`."),
        (Warehouse.stock, "is a method. Make a tool of that of an object, as in `stock = tool(sho"),
        (NoCall, "the class NoCall has no method __call__"),
        (NeedsMore, "the class NeedsMore needs count to be made. Make it yourself, as in"),
        (lambda article: article, "has a name that model servers refuse"),
        (5, "@tool is for functions, not for an int. Write @tool on the line above `def`."),
        (classmethod(fitting), "@tool is for functions, not for a classmethod."),
        (plain_function, "is a tool already"),
        (math_sqrt := __import__("math").sqrt, "takes `x` by position only."),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else getattr(each, "__name__", "")[:20],
)
def test_each_mistake_is_said_in_one_line_with_its_place(subject: Any, said: str) -> None:
    with pytest.raises(NotATool) as raised:
        tool(subject)
    line = str(raised.value)
    assert said in line
    assert line.startswith(f"{__file__}, line ")
    assert "\n" not in line
    code = getattr(subject, "__code__", None)
    if code and subject.__name__ != "<lambda>":
        number = int(line.removeprefix(f"{__file__}, line ").partition(":")[0])
        text = Path(__file__).read_text().splitlines()[number - 1]
        assert f"def {code.co_name}" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": -1}, "has timeout=-1. Write seconds, at most 600."),
        ({"timeout": "5"}, "has timeout='5'. Write seconds"),
        ({"timeout": float("nan")}, "has timeout=nan."),
        ({"max_chars": 0}, "has max_chars=0."),
        ({"calls_per_run": 0}, "has calls_per_run=0."),
        ({"approver": "boss"}, 'has approver=\'boss\'. Write "owner", or "perm:app.codename"'),
        ({"approver": True}, "has approver=True."),
        ({"phrases": "stock of"}, "has phrases, which need from_question"),
        ({"phrases": "(", "from_question": fitting}, "has phrases that are no regular expression"),
        ({"from_question": 5}, "has a from_question that is no function"),
        ({"suffices": True}, "has suffices=True, which needs phrases"),
        ({"opens": True}, "has opens=True, which needs a parameter `url: str` without a default."),
        ({"in_parts": True}, "has in_parts=True, which needs a parameter `part: int = 1`."),
    ],
    ids=lambda each: each if isinstance(each, str) else ", ".join(each),
)
def test_each_wrong_option_is_said_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(NotATool) as raised:
        tool(**options)(fitting)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{"opens": True}, {"in_parts": True}])
def test_parameter_of_an_option_has_its_type_and_default(options: dict[str, Any]) -> None:
    def optional_address(url: str = "", *, part: int) -> str:
        """Read."""
        return ""

    def numbers(url: int, part: str = "1") -> str:
        """Read."""
        return ""

    def fitting_both(url: Annotated[str, "its address"], part: int = 1) -> str:
        """Read."""
        return ""

    for subject in (optional_address, numbers):
        with pytest.raises(NotATool, match="which needs a parameter"):
            tool(**options)(subject)
    assert tool(**options)(fitting_both).name == "fitting_both"


async def test_a_failure_for_the_reader_is_raised_as_tool_failure() -> None:
    @tool
    def refusing(article: str) -> str:
        """Refuse."""
        raise ToolFailure("There is no such article.", advice="Ask for another one.")

    result = await called(refusing, article="A")
    assert result.message == "There is no such article."
    assert result.text == "refusing failed: There is no such article. Ask for another one."
