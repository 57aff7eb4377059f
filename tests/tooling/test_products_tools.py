"""The tools that the product ships: the arguments found in questions, schemas, and answers."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tooling.calls import Call
from tooling.known import TOOLS, allowed_on, arguments_for
from tooling.person import PERSON
from tooling.services import Services
from tooling.toolbox import Toolbox


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_has_a_valid_schema_with_descriptions(name: str) -> None:
    schema = TOOLS[name].parameters.schema
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert all(parameter.get("description") for parameter in schema["properties"].values())
    assert TOOLS[name].description
    json.dumps(TOOLS[name].offer)


def test_both_paths_have_all_tools_but_only_the_team_asks_people() -> None:
    assert allowed_on("light", Services()) == {
        "calculator",
        "clock",
        "read_page",
        "web_search",
    }
    assert allowed_on("full", Services()) == allowed_on("light", Services()) | {PERSON}


@pytest.mark.parametrize(
    ("name", "question", "arguments"),
    [
        ("calculator", "What is 12 * 7?", {"expression": "12 * 7"}),
        ("clock", "What time is it in Tokyo?", {"place": "Tokyo"}),
        ("web_search", "who is the  pope?", {"query": "who is the pope?"}),
        (
            "web_search",
            "any news of the elections?",
            {"query": "any news of the elections?", "topic": "news"},
        ),
        ("web_search", "bitcoin price", {"query": "bitcoin price", "topic": "finance"}),
        (
            "web_search",
            "news about the nasdaq",
            {"query": "news about the nasdaq", "topic": "news"},
        ),
        ("web_search", "weather in Oslo", {"query": "weather in Oslo"}),
        ("web_search", "when was Fox News founded?", {"query": "when was Fox News founded?"}),
        ("calculator", "Who wrote Dune?", None),
        ("clock", "Who wrote Dune?", None),
        ("web_search", "   ", None),
        ("no_such_tool", "What is 12 * 7?", None),
    ],
)
async def test_arguments_for_an_obvious_tool_are_found_and_valid(
    name: str, question: str, arguments: dict[str, Any] | None
) -> None:
    assert arguments_for(name, question) == arguments
    if arguments is not None:
        TOOLS[name].parameters.check(arguments)


async def test_query_of_a_follow_up_begins_with_the_earlier_question() -> None:
    found = arguments_for(
        "web_search", "And tomorrow?", follows="What is the weather\nin Oslo today?"
    )
    assert found == {"query": "What is the weather in Oslo today? And tomorrow?"}
    long = arguments_for("web_search", "And tomorrow?", follows="why " * 5000)
    assert long is not None
    assert len(long["query"]) < 250
    assert long["query"].endswith(" And tomorrow?")


async def test_long_question_becomes_a_valid_query() -> None:
    arguments = arguments_for("web_search", "why " * 5000)
    assert arguments
    TOOLS["web_search"].parameters.check(arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("calculator", {"expression": "12 * 7"}, "12 * 7 = 84"),
        ("clock", {"place": "Tokyo"}, "In Tokyo it is"),
    ],
)
async def test_calculator_and_clock_answer(name: str, arguments: dict[str, Any], text: str) -> None:
    toolbox = Toolbox(Services(), allowed=frozenset(TOOLS), max_calls=5)
    call = toolbox.check(name, arguments)
    assert isinstance(call, Call)
    assert text in (await toolbox.make(call)).text
