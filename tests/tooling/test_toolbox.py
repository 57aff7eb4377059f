"""Tools as models call them: schemas, wrong calls, repeated calls, caps, time limits."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from tooling.calls import Call, Rejection, ToolResult
from tooling.registry import Tool, tool
from tooling.results import Output, Passage, ToolFailure
from tooling.services import Services
from tooling.toolbox import Toolbox

# --- Tools for these tests ------------------------------------------------------------------------


class Stage:
    """What the tools below do."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0


STAGE = Stage()


@pytest.fixture(autouse=True)
def stage() -> Stage:
    STAGE.__init__()  # type: ignore[misc]
    return STAGE


@tool(timeout=5)
async def echo(
    word: Annotated[str, Meta(description="Any word", min_length=1, max_length=20)],
    times: Annotated[int, Meta(ge=1, le=5)] = 1,
    kind: Literal["plain", "loud"] = "plain",
    tags: list[str] | None = None,
) -> str:
    """Say a word
    several times."""
    STAGE.calls.append(word)
    try:
        await STAGE.gate.wait()
    except asyncio.CancelledError:
        STAGE.cancelled += 1
        raise
    return " ".join([word.upper() if kind == "loud" else word] * times)


@tool(timeout=0.05)
async def slow() -> str:
    """Take too long."""
    await asyncio.sleep(60)
    return ""


@tool(timeout=5)
async def failing(how: str) -> str:
    """Fail."""
    STAGE.calls.append(how)
    match how:
        case "temporary":
            raise ToolFailure("The moon is in the way.", temporary=True)
        case "permanent":
            raise ToolFailure("There is no moon.", advice="Ask for the sun.")
        case "bug":
            raise ZeroDivisionError("secret detail")
    return how


@tool(timeout=5, max_chars=100, untrusted=True)
async def flood() -> Output:
    """Return far too much."""
    passages = [Passage("t", f"https://x.example/{n}", "word " * 100_000) for n in range(3)]
    return Output(text="y" * 10_000_000, passages=tuple(passages))


@tool(timeout=5)
async def secretive(services: Services) -> str:
    """Use what we pass."""
    return services.now().tzname() or ""


MINE: dict[str, Tool] = {each.name: each for each in (echo, slow, failing, flood, secretive)}


def box(
    *,
    max_calls: int = 100,
    allowed: frozenset[str] = frozenset(MINE),
    services: Services | None = None,
) -> Toolbox:
    return Toolbox(services or Services(), allowed=allowed, max_calls=max_calls, tools=MINE)


async def called(toolbox: Toolbox, name: str, arguments: Any = "{}") -> ToolResult:
    call = toolbox.check(name, arguments)
    assert isinstance(call, Call), call
    return await toolbox.make(call)


def rejected(toolbox: Toolbox, name: str, arguments: Any = "{}") -> Rejection:
    rejection = toolbox.check(name, arguments)
    assert isinstance(rejection, Rejection), rejection
    return rejection


# --- Schemas --------------------------------------------------------------------------------------


def test_schema_is_made_from_signature_and_docstring() -> None:
    assert echo.offer == {
        "type": "function",
        "function": {
            "name": "echo",
            "description": "Say a word several times.",
            "parameters": {
                "type": "object",
                "properties": {
                    "word": {
                        "type": "string",
                        "description": "Any word",
                        "minLength": 1,
                        "maxLength": 20,
                    },
                    "times": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                    "kind": {"enum": ["loud", "plain"], "default": "plain"},
                    "tags": {
                        "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                        "default": None,
                    },
                },
                "required": ["word"],
                "additionalProperties": False,
            },
        },
    }


def test_services_parameter_is_not_in_the_schema() -> None:
    assert secretive.parameters.schema["properties"] == {}


def test_only_allowed_tools_are_offered() -> None:
    assert [
        each["function"]["name"] for each in box(allowed=frozenset({"echo", "nope"})).offered()
    ] == ["echo"]


# --- Right calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"word": "a"}', "a"),
        ({"word": "a", "times": 2}, "a a"),
        ('{"word": "a", "times": 2.0, "kind": "loud"}', "A A"),
        ('{"word": "a", "times": null, "kind": null, "tags": null}', "a"),
        ('"{\\"word\\": \\"a\\"}"', "a"),
        (' {"word": "\\u00e9"} ', "é"),
    ],
)
async def test_valid_call_returns_the_result(arguments: Any, text: str) -> None:
    result = await called(box(), "echo", arguments)
    assert (result.ok, result.text, result.failure) == (True, text, None)
    assert result.duration_ms > 0


@pytest.mark.parametrize("arguments", ["", "{}", {}, '"{}"', '""'])
async def test_call_without_arguments_can_be_written_in_several_ways(arguments: Any) -> None:
    assert (await called(box(), "secretive", arguments)).text == "UTC"


# --- Wrong calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "reason", "said"),
    [
        ("nope", "{}", "unknown_tool", "There is no tool named 'nope'. Available: echo, slow"),
        ("", "{}", "unknown_tool", "There is no tool named ''"),
        ("x" * 10_000, "{}", "unknown_tool", "[…]"),
        ("e\u200bcho\n", "{}", "unknown_tool", "There is no tool named 'echo'"),
        ("echo", "word=a", "malformed", "not a JSON object"),
        ("echo", '{"word": "a"', "malformed", "not a JSON object"),
        ("echo", "[1]", "malformed", "one JSON object"),
        ("echo", "null", "malformed", "one JSON object"),
        ("echo", "5", "malformed", "one JSON object"),
        ("echo", "NaN", "malformed", "not a JSON object"),
        ("echo", "[" * 5000, "malformed", "not a JSON object"),
        ("echo", '"\\ud800"', "malformed", "not a JSON object"),
        ("echo", "\ud800", "malformed", "not a JSON object"),
        ("echo", {"word": object()}, "malformed", "not a JSON object"),
        ("echo", {1: 2}, "invalid_arguments", "'word' is a required property"),
        (
            "echo",
            "{}",
            "invalid_arguments",
            "'word' is a required property (there are: word, times, kind, tags)",
        ),
        ("echo", '{"word": 5}', "invalid_arguments", "`word`: 5 is not of type 'string'"),
        ("echo", '{"word": null}', "invalid_arguments", "`word`: None is not of type 'string'"),
        ("echo", '{"word": ""}', "invalid_arguments", "`word`"),
        (
            "echo",
            '{"word": "' + "a" * 21 + '"}',
            "invalid_arguments",
            "`word` is longer than 20 characters",
        ),
        (
            "echo",
            '{"word": "a", "times": 9}',
            "invalid_arguments",
            "`times`: 9 is greater than the maximum of 5",
        ),
        (
            "echo",
            '{"word": "a", "times": "2"}',
            "invalid_arguments",
            "`times`: '2' is not of type 'integer'",
        ),
        (
            "echo",
            '{"word": "a", "times": true}',
            "invalid_arguments",
            "`times`: True is not of type 'integer'",
        ),
        (
            "echo",
            '{"word": "a", "kind": "shy"}',
            "invalid_arguments",
            "'shy' is not one of ['loud', 'plain']",
        ),
        ("echo", '{"word": "a", "tags": [1]}', "invalid_arguments", "`tags"),
        (
            "echo",
            '{"word": "a", "wrod": "b"}',
            "invalid_arguments",
            "'wrod' was unexpected) (there are: word",
        ),
        ("echo", '{"word": "' + "a" * 9000 + '"}', "invalid_arguments", "longer than 8192 bytes"),
    ],
)
async def test_invalid_call_is_rejected_with_a_text_that_names_the_fault(
    name: str, arguments: Any, reason: str, said: str
) -> None:
    toolbox = box()
    result = rejected(toolbox, name, arguments)
    assert result.reason == reason
    assert said in result.text
    assert len(result.text) < 1200
    assert (toolbox.calls, STAGE.calls) == (0, [])


async def test_rejection_names_all_faults_of_a_call() -> None:
    text = rejected(box(), "echo", '{"times": 9, "kind": "shy", "x": 1}').text
    for fault in ("'word'", "`times`", "'shy'", "'x'"):
        assert fault in text


async def test_tool_of_another_path_is_rejected() -> None:
    result = rejected(box(allowed=frozenset({"echo"})), "slow")
    assert result.reason == "not_allowed"
    assert "Available: echo." in result.text


async def test_repeated_invalid_call_gets_a_shorter_text() -> None:
    toolbox = box()
    first, second, other = [rejected(toolbox, "echo", arguments) for arguments in ("{", "{", "[")]
    assert ["Do not repeat" in each.text for each in (first, second, other)] == [False, True, False]
    assert len(second.text) < len(first.text)


# --- Repeated calls and caps ----------------------------------------------------------------------


async def test_repeated_call_is_made_once() -> None:
    toolbox = box()
    first = await called(toolbox, "echo", '{"word": "a"}')
    second = await called(toolbox, "echo", '{"times": 1, "word": "a"}')
    assert (first.repeated, second.repeated) == (False, True)
    assert second.text == first.text
    assert (STAGE.calls, toolbox.calls) == (["a"], 1)


async def test_concurrent_equal_calls_are_made_once() -> None:
    toolbox = box(max_calls=5)
    STAGE.gate.clear()
    calling = [asyncio.ensure_future(called(toolbox, "echo", '{"word": "a"}')) for _ in range(5)]
    await asyncio.sleep(0)
    STAGE.gate.set()
    results = await asyncio.gather(*calling)
    assert STAGE.calls == ["a"]
    assert [result.repeated for result in results].count(False) == 1


async def test_checked_call_counts_before_it_is_made() -> None:
    toolbox = box(max_calls=1)
    call = toolbox.check("echo", {"word": "a", "times": 1})
    assert isinstance(call, Call)
    assert (call.arguments, call.repeated, STAGE.calls) == ({"word": "a"}, False, [])
    assert isinstance(toolbox.check("echo", {"word": "b"}), Rejection)
    assert (await toolbox.make(call)).text == "a"
    again = toolbox.check("echo", {"word": "a"})
    assert isinstance(again, Call)
    assert again.repeated


async def test_call_is_made_again_after_a_temporary_failure_only() -> None:
    toolbox = box()
    for how in ("temporary", "temporary", "permanent", "permanent"):
        await called(toolbox, "failing", {"how": how})
    assert STAGE.calls == ["temporary", "temporary", "permanent"]


async def test_call_after_a_temporary_failure_counts_as_a_new_one() -> None:
    toolbox = box(max_calls=2)
    results = [await called(toolbox, "failing", {"how": "temporary"}) for _ in range(2)]
    assert [result.repeated for result in results] == [False, False]
    assert toolbox.calls == 2
    assert rejected(toolbox, "failing", {"how": "temporary"}).reason == "cap_reached"


async def test_calls_beyond_the_cap_are_rejected_unless_repeated() -> None:
    toolbox = box(max_calls=2)
    for word in "ab":
        await called(toolbox, "echo", {"word": word})
    result = rejected(toolbox, "echo", {"word": "c"})
    assert result.reason == "cap_reached"
    assert "Answer with what you have" in result.text
    assert (await called(toolbox, "echo", {"word": "a"})).repeated
    assert toolbox.calls == 2


@pytest.mark.parametrize("arguments", ['{"word": "a"}', "nonsense"])
async def test_repeated_calls_are_rejected_after_four_times_the_cap(arguments: str) -> None:
    toolbox = box(max_calls=3)
    checked = [toolbox.check("echo", arguments) for _ in range(50)]
    assert all(
        isinstance(each, Rejection) and each.reason == "cap_reached" for each in checked[12:]
    )


async def test_cap_of_zero_rejects_every_call() -> None:
    assert rejected(box(max_calls=0), "echo", {"word": "a"}).reason == "cap_reached"


# --- Failures and limits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "message", "advice"),
    [
        ("temporary", "temporary", "The moon is in the way.", "later"),
        ("permanent", "permanent", "There is no moon.", "Ask for the sun."),
        ("bug", "permanent", "failing failed.", "Do not repeat"),
    ],
)
async def test_failure_has_a_message_for_the_reader_and_advice_for_the_model(
    how: str, kind: str, message: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = await called(box(), "failing", {"how": how})
    assert (result.ok, result.failure, result.message) == (False, kind, message)
    assert message in result.text
    assert advice in result.text
    assert "secret detail" not in result.text
    assert ("secret detail" in caplog.text) is (how == "bug")


async def test_failure_names_the_tool_once() -> None:
    bug = await called(box(), "failing", {"how": "bug"})
    assert bug.text == "failing failed. Do not repeat this call."
    told = await called(box(), "failing", {"how": "permanent"})
    assert told.text.startswith("failing failed: There is no moon.")


async def test_tool_is_cancelled_after_its_timeout() -> None:
    result = await called(box(), "slow")
    assert result.failure == "temporary"
    assert "longer than 0.05 s" in result.message
    assert result.duration_ms < 10_000  # of the 60 s that it would take


async def test_tool_that_acts_is_not_called_again_after_its_timeout() -> None:
    tools = {"slow": replace(slow, acts=True)}
    toolbox = Toolbox(Services(), allowed=frozenset(tools), max_calls=5, tools=tools)
    result = await called(toolbox, "slow")
    assert result.failure == "permanent"
    assert "It may have been done. Do not repeat this call." in result.text
    assert (await called(toolbox, "slow")).repeated


async def test_long_output_is_cut_and_fenced() -> None:
    async with asyncio.timeout(20):
        result = await called(box(), "flood")
    assert len(result.text) < 400
    assert "[…]" in result.text
    assert len(result.sources) == 3


async def test_results_are_shorter_for_a_run_with_a_small_context() -> None:
    toolbox = Toolbox(Services(), allowed=frozenset(MINE), max_calls=5, max_chars=30, tools=MINE)
    assert len((await called(toolbox, "echo", {"word": "a" * 20, "times": 5})).text) <= 30


async def test_cancelled_call_cancels_the_tool() -> None:
    STAGE.gate.clear()
    call = asyncio.ensure_future(called(box(), "echo", {"word": "a"}))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await call
    assert STAGE.cancelled == 1


async def test_cancelled_call_leaves_an_equal_call_its_result() -> None:
    toolbox = box()
    STAGE.gate.clear()
    one, other = (asyncio.ensure_future(called(toolbox, "echo", {"word": "a"})) for _ in range(2))
    await asyncio.sleep(0.01)
    one.cancel()
    await asyncio.sleep(0.01)
    STAGE.gate.set()
    result = await other
    assert isinstance(result, ToolResult)
    assert result.text == "a"
    assert STAGE.cancelled == 0


async def test_runs_do_not_share_calls() -> None:
    boxes = [box() for _ in range(20)]
    await asyncio.gather(*(called(toolbox, "echo", {"word": "a"}) for toolbox in boxes))
    assert len(STAGE.calls) == 20
