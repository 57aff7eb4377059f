"""Refused parts of a request: what is changed, in which order, and how long it is remembered."""

import json
import logging
from typing import Any

import pytest

from chat.llm.faults.complaints import complaint_of
from chat.llm.refusals.changes import Change, changed
from chat.llm.refusals.memory import MAX_CHANGES, REFUSAL_TTL, Refusals

SCHEMA = {"type": "object", "properties": {"steps": {"type": "array"}}}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "calculator", "arguments": '{"expression": "6*7"}'},
}
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "What is 6*7?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "42", "tool_call_id": "call_1"}
TOOL = {"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}


def request(*parts: str, messages: Any = (SYSTEM, QUESTION), **fields: Any) -> dict[str, Any]:
    """Return a request with these parts beside those that every request has."""
    extras: dict[str, dict[str, Any]] = {
        "tools": {"tools": [TOOL]},
        "effort": {"reasoning_effort": "low"},
        "schema": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA},
            }
        },
    }
    chosen = {name: value for part in parts for name, value in extras[part].items()}
    return {
        "model": "some",
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4000,
        **chosen,
        **fields,
    }


EVERYTHING = ("tools", "effort", "schema")
TALK = (SYSTEM, QUESTION, CALLING, RESULT)


def openai(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **fields}}


def pydantic(*loc: str | int, msg: str, type_: str = "extra_forbidden") -> dict[str, Any]:
    return {"detail": [{"type": type_, "loc": ["body", *loc], "msg": msg}]}


def change_after(sent: dict[str, Any], body: Any, *, status: int | None = 400) -> Change | None:
    """Return what `sent` is changed to after an answer with this body, which may be its message."""
    body = openai(body) if isinstance(body, str) else body
    return Refusals().change_for(sent, complaint_of(body, status=status))


# What servers say, and what a request with all parts becomes then.
REFUSALS = {
    # --- The token limit, its name and its size
    "openai max_tokens": (
        "Unsupported parameter: 'max_tokens' is not supported with this model."
        " Use 'max_completion_tokens' instead.",
        "max_tokens → max_completion_tokens",
    ),
    "openai max_tokens by param": (
        openai("No.", param="max_tokens", code="unsupported_parameter"),
        "max_tokens → max_completion_tokens",
    ),
    "pydantic max_tokens": (
        pydantic("max_tokens", msg="Extra inputs are not permitted"),
        "max_tokens → max_completion_tokens",
    ),
    "gemini maxTokens": (
        'Invalid JSON payload received. Unknown name "maxTokens": Cannot find field.',
        "max_tokens → max_completion_tokens",
    ),
    "openai too large": (
        openai(
            "max_tokens is too large: 4000. This model supports at most 2048 completion tokens,"
            " whereas you provided 4000.",
            param="max_tokens",
            code="invalid_value",
        ),
        "answer tokens → 2048",
    ),
    "groq too large": (
        "`max_tokens` must be less than or equal to `1024`, the maximum value for `max_tokens` is"
        " less than the `context_window` for this model",
        "answer tokens → 1024",
    ),
    "deepseek range": (
        "Invalid max_tokens value, the valid range of max_tokens is [1, 2,048]",
        "answer tokens → 2048",
    ),
    "dashscope range": (
        "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 2000]",
        "answer tokens → 2000",
    ),
    "anthropic too large": (
        "max_tokens: 4000 > 2048, which is the maximum allowed number of output tokens for x-3-7",
        "answer tokens → 2048",
    ),
    "bedrock too large": (
        "The maximum tokens you requested exceeds the model limit of 2048. Try again with a maximum"
        " tokens value that is lower than 2048.",
        "answer tokens → 2047",
    ),
    "pydantic too large": (
        pydantic("max_tokens", msg="Input should be less than or equal to 2048", type_="le"),
        "answer tokens → 2048",
    ),
    "vllm room": (
        "'max_tokens' or 'max_completion_tokens' is too large: 4000. This model's maximum context"
        " length is 4096 tokens and your request has 1000 input tokens (4000 > 4096 - 1000).",
        "room → 3096",
    ),
    # Without the rest of a prompt that may be longer.
    "vllm room at least": (
        "This model's maximum context length is 4096 tokens. However, you requested 4000 output"
        " tokens and your prompt contains at least 97 input tokens, for a total of at least 4097"
        " tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=97)",
        "room → 2000",
    ),
    "openai room": (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"
        " (1000 in the messages, 4000 in the completion). Please reduce the length.",
        "room → 3096",
    ),
    "sglang room": (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You"
        " requested a total of 5000 tokens: 1000 tokens from the input messages and 4000 tokens"
        " for the completion.",
        "room → 3096",
    ),
    "tgi room": (
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1000 `inputs` tokens and 4000"
        " `max_new_tokens`",
        "room → 3096",
    ),
    "tgi too large": ("`max_new_tokens` must be <= 1024. Given: 4000", "answer tokens → 1024"),
    # --- Fields
    "pydantic stream_options": (
        pydantic("stream_options", "include_usage", msg="Extra inputs are not permitted"),
        "without stream_options",
    ),
    "vllm stream_options": (
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options", "include_usage"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
        },
        "without stream_options",
    ),
    "gemini stream_options": (
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Unknown name "stream_options": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "without stream_options",
    ),
    "camel case": ("Unrecognized key: streamOptions", "without stream_options"),
    "include_usage": ("include_usage is not supported", "without stream_options"),
    "openai temperature": (
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default"
        " (1) value is supported.",
        "without temperature",
    ),
    "anthropic temperature and top_p": (
        "`temperature` and `top_p` cannot both be specified for this model.",
        "without temperature",
    ),
    "user": ("property 'user' is unsupported", "without user"),
    "openai parallel_tool_calls": (
        "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
        "without parallel_tool_calls",
    ),
    # --- Reasoning
    "openai effort": (
        "Unrecognized request argument supplied: reasoning_effort",
        "without reasoning_effort",
    ),
    "litellm effort": (
        "litellm.UnsupportedParamsError: openai does not support parameters:"
        " ['reasoning_effort'], for model=x. To drop these, set `litellm.drop_params=True`",
        "without reasoning_effort",
    ),
    "litellm effort with its value": (
        {"error": {"message": "x does not support parameters: {'reasoning_effort': 'low'}"}},
        "without reasoning_effort",
    ),
    "ollama thinking": ('"some" does not support thinking', "without reasoning_effort"),
    "groq effort": (
        "`reasoning_effort` must be one of `none` or `default`",
        "reasoning_effort → none, default",
    ),
    "openai effort value": (
        "Unsupported value: 'reasoning_effort' does not support 'low' with this model. Supported"
        " values are: 'medium', 'high', and 'xhigh'.",
        "reasoning_effort → medium, high, xhigh",
    ),
    "pydantic effort": (
        pydantic("reasoning_effort", msg="Input should be 'none' or 'high'", type_="literal_error"),
        "reasoning_effort → none, high",
    ),
    # --- The form of the answer
    "json_schema": (
        "This model does not support response format `json_schema`.",
        "response_format → json_object",
    ),
    "deepseek format": (
        "This response_format type is unavailable now",
        "response_format → json_object",
    ),
    "siliconflow json mode": (
        {"code": 20037, "message": "json mode is not supported for this model.", "data": None},
        "response_format → json_object",
    ),
    "groq json mode beside tools": (
        "json mode cannot be combined with tool/function calling",
        "response_format → json_object",
    ),
    "gemini format beside tools": (
        "Function calling with a response mime type: 'application/json' is unsupported",
        "response_format → json_object",
    ),
    "guidance keys": (
        'Grammar error: Unimplemented keys: ["minItems"]',
        "response_format → json_object",
    ),
    "keys alone": ('Unimplemented keys: ["minItems"]', "response_format → json_object"),
    "openai schema": (
        openai(
            "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is"
            " required to be supplied and to be false.",
            param="response_format",
        ),
        "response_format → json_object",
    ),
    "llama.cpp grammar": ("Failed to parse grammar", "response_format → json_object"),
    # --- Tools
    "ollama tools": (
        "registry.ollama.ai/library/some:latest does not support tools",
        "without tools",
    ),
    "vllm tool choice": (
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and'
            " --tool-call-parser",
        },
        "without tools",
    ),
    "deepseek function calling": (
        "deepseek-reasoner does not support Function Calling",
        "without tools",
    ),
    "openai functions": ("tools is not supported in this model.", "without tools"),
    "siliconflow function call": (
        {"code": 20041, "message": "Function call is not supported for this model."},
        "without tools",
    ),
    "groq tool calling": (
        "`tool calling` is not supported with this model",
        "without tools",
    ),
    "litellm tools": (
        "litellm.UnsupportedParamsError: ollama does not support parameters: ['tools'], for x",
        "without tools",
    ),
    "gemini schema of a tool": (
        'Invalid JSON payload received. Unknown name "additionalProperties" at'
        " 'tools[0].function_declarations[0].parameters': Cannot find field.",
        "without tools",
    ),
    "cohere tools": (pydantic("tools", 0, msg="Extra inputs are not permitted"), "without tools"),
    "dashscope tools": ("该模型不支持工具调用", "without tools"),
    # --- Streaming
    "bedrock tools while streaming": (
        "This model doesn't support tool use in streaming mode.",
        "stream → whole answer beside tools",
    ),
    "fastapi streaming": ({"detail": "Streaming is disabled"}, "stream → whole answer"),
    "streaming": ("Streaming is not supported for this model", "stream → whole answer"),
    "openai verified": (
        openai(
            "Your organization must be verified to stream this model.",
            param="stream",
            code="unsupported_value",
        ),
        "stream → whole answer",
    ),
    # --- Roles
    "vllm system": (
        {"object": "error", "message": "System role not supported", "code": 400},
        "system → user",
    ),
    "openai system": (
        openai(
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            param="messages[0].role",
            code="unsupported_value",
        ),
        "system → developer",
    ),
    "google system": (
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        "system → developer",
    ),
    "user's or assistant's": ("roles must be user or assistant", "system → user"),
    "two roles": ("Only user and assistant roles are supported!", "system → user"),
    "pydantic role": (
        pydantic("messages", 0, "role", msg="Input should be 'user' or 'assistant'", type_="enum"),
        "system → user",
    ),
    "alternate": (
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "roles → alternating",
    ),
    "alternate after the system's": (
        "After the optional system message, conversation roles must alternate user/assistant/...",
        "roles → alternating",
    ),
    "first message": (
        'messages: first message must use the "user" role',
        "roles → alternating",
    ),
    "gemini alternate": (
        "Please ensure that multiturn requests alternate between user and model.",
        "roles → alternating",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_changes_the_part_that_it_names(name: str) -> None:
    body, change = REFUSALS[name]
    sent = request(*EVERYTHING, temperature=0.2, top_p=1, user="u", parallel_tool_calls=True)
    made = change_after(sent, body)
    assert made is not None
    assert made.name == change


def test_effort_is_the_nearest_of_those_offered_until_none_is_left() -> None:
    words = complaint_of(openai("`reasoning_effort` must be one of `none` or `default`"))
    refusals, made = Refusals(), []
    efforts = []
    while change := refusals.change_for(refusals.fit(request("effort"), made), words, made):
        made.append(change)
        efforts.append(refusals.fit(request("effort"), made).get("reasoning_effort"))
    assert efforts == ["default", "none", None]


@pytest.mark.parametrize(("wanted", "sent"), [("low", "medium"), ("high", "high"), ("max", "high")])
def test_effort_that_was_offered_is_still_asked_for(wanted: str, sent: str) -> None:
    change = Change("reasoning_effort", "medium, high")
    assert change.apply(request(reasoning_effort=wanted))["reasoning_effort"] == sent


# The same words, of requests with fewer parts or other messages.
OTHER_REQUESTS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "format without a schema": (
        request(response_format={"type": "json_object"}),
        "'response_format.type' must be 'json_schema' or 'text'",
        "without response_format",
    ),
    "named tool choice": (
        request("tools", tool_choice="auto"),
        '"auto" tool choice requires --enable-auto-tool-choice',
        "without tool_choice",
    ),
    "llama.cpp tools": (
        request("tools"),
        {"error": {"code": 500, "message": "tools param requires --jinja flag"}},
        "without tools",
    ),
    "llama.cpp tools while streaming": (
        request("tools"),
        {"error": {"code": 500, "message": "Cannot use tools with stream"}},
        "stream → whole answer beside tools",
    ),
    "openrouter tools": (
        request("tools"),
        {"error": {"message": "No endpoints found that support tool use.", "code": 404}},
        "without tools",
    ),
    "developer": (
        request(messages=[{"role": "developer", "content": "Be brief."}, QUESTION]),
        "unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
        "system → user",
    ),
    "tools wanted again": (
        request(messages=TALK),
        "Some does not support tool calling without tools= param specified.",
        "calls → text",
    ),
    "bedrock wants tools again": (
        request(messages=TALK),
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        "calls → text",
    ),
    "anthropic wants tools again": (
        request(messages=TALK),
        "Requests which include `tool_use` or `tool_result` blocks must define `tools`.",
        "calls → text",
    ),
    "pydantic null content": (
        request("tools", messages=TALK),
        pydantic("messages", 2, "content", msg="Input should be a valid string", type_="string"),
        "null content → empty text",
    ),
    "openai null content": (
        request("tools", messages=TALK),
        "Invalid value for 'content': expected a string, got null.",
        "null content → empty text",
    ),
    "cloudflare null content": (
        request("tools", messages=TALK),
        {"errors": [{"message": "Type mismatch of '/messages/2/content', 'string' not in 'null'"}]},
        "null content → empty text",
    ),
    "anthropic empty content": (
        request("tools", messages=[SYSTEM, QUESTION, {**CALLING, "content": ""}, RESULT]),
        "messages: text content blocks must be non-empty",
        "empty content → (empty)",
    ),
    "bedrock blank content": (
        request("tools", messages=[*TALK[:3], {**RESULT, "content": ""}]),
        "The text field in the ContentBlock object at messages.3.content.0 is blank.",
        "empty content → (empty)",
    ),
    "mistral order": (
        request("tools", messages=TALK, max_tokens=64),
        "Unexpected role 'user' after role 'system'",
        "roles → alternating",
    ),
}


@pytest.mark.parametrize("name", OTHER_REQUESTS)
def test_refusal_is_read_with_the_request(name: str) -> None:
    sent, body, change = OTHER_REQUESTS[name]
    made = change_after(sent, body)
    assert made is not None
    assert made.name == change


@pytest.mark.parametrize("status", [None, 400, 404, 405, 415, 422, 500, 501])
def test_refusal_may_have_many_statuses(status: int | None) -> None:
    assert change_after(request("tools"), "Tool use is not supported.", status=status) == Change(
        "tools"
    )


@pytest.mark.parametrize("status", [401, 402, 403, 413, 429, 503, 529])
def test_other_statuses_refuse_no_part(status: int) -> None:
    assert change_after(request("tools"), "Tool use is not supported.", status=status) is None


NO_REFUSALS = {
    "too long": "This model's maximum context length is 8192 tokens.",
    "too long with its limit": (
        "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens"
        " (5000 in the messages, 4000 in the completion)."
    ),
    "too long with little room": (
        "'max_tokens' is too large: 4000. This model's maximum context length is 4096 tokens and"
        " your request has 4000 input tokens (4000 > 4096 - 4000)."
    ),
    "litellm too long": (
        "litellm.BadRequestError: litellm.ContextWindowExceededError: SomeException - prompt is too"
        " long: 9000 tokens > 8192 maximum"
    ),
    "gemini too long": (
        "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."
    ),
    "bedrock too long": "ValidationException: Input is too long for requested model.",
    "llama.cpp too long": "Context size has been exceeded.",
    "unknown model": 'model "tools" not found, try pulling it first',
    "invalid model": "Invalid model name passed in model=x. Call /v1/models with your key.",
    "openai unknown model": openai("The model `x` does not exist.", code="model_not_found"),
    "wrong key": "Invalid API key: 'tools' is not allowed",
    "no credit": "Insufficient Balance",
    "filter": "The response was filtered: the prompt must not violate our content policy on tools.",
    "asleep": "This deployment sleeps until Monday.",
    "other field": "Unrecognized request argument supplied: logit_bias",
    "other word": "Heron wants one text a message.",
    "end of stream": "unexpected end of stream",
    "upstream": "upstream connect error or disconnect/reset before headers",
    "key error": "Internal error: KeyError 'tools'",
    "template": "Error rendering the prompt: list index out of range",
    "thinking aloud": "Still thinking about your invalid request.",
    "empty": "",
}


@pytest.mark.parametrize("name", NO_REFUSALS)
def test_other_troubles_are_no_refusals(name: str) -> None:
    assert change_after(request(*EVERYTHING), NO_REFUSALS[name]) is None


def test_refusal_of_a_part_that_was_not_sent_changes_nothing() -> None:
    assert change_after(request(), "This model does not support tools or thinking.") is None


def test_least_loss_comes_first() -> None:
    sent, names = request(*EVERYTHING), []
    refusals, made = Refusals(), list[Change]()
    words = "Not supported: tools, response_format, `stream`, system role, reasoning_effort,"
    words += " max_tokens, stream_options"
    while change := refusals.change_for(sent, complaint_of(openai(words)), made):
        made.append(change)
        names.append(change.name)
        sent = refusals.fit(request(*EVERYTHING), made)
    assert names == [
        "without stream_options",
        "max_tokens → max_completion_tokens",
        "without reasoning_effort",
        "system → user",
        "response_format → json_object",
        "without response_format",
        "stream → whole answer beside tools",
        "without tools",
    ]
    assert len(names) == MAX_CHANGES


def after(*words: str, base: dict[str, Any]) -> dict[str, Any]:
    """Return the request that is sent after these refusals, one after the other."""
    refusals, made, sent = Refusals(), list[Change](), base
    for each in words:
        change = refusals.change_for(sent, complaint_of(openai(each)), made)
        assert change is not None
        made.append(change)
        sent = refusals.fit(base, made)
    return sent


def test_limit_is_left_out_if_both_names_are_refused() -> None:
    sent = after(
        "Unknown field: max_tokens", "Unknown field: max_completion_tokens", base=request()
    )
    assert "max_tokens" not in sent
    assert "max_completion_tokens" not in sent


def test_refused_second_name_goes_back_to_the_first_of_another_server() -> None:
    base = request(max_completion_tokens=4000)
    del base["max_tokens"]
    assert after("Unknown field: max_completion_tokens", base=base)["max_tokens"] == 4000


def test_lowered_limit_keeps_its_new_name() -> None:
    sent = after(
        "Unsupported parameter: max_tokens",
        "max_completion_tokens is too large: 4000. At most 2048 are supported.",
        base=request(),
    )
    assert sent["max_completion_tokens"] == 2048


def test_schema_that_cannot_be_enforced_stands_in_the_instructions() -> None:
    words = "response_format is not supported"
    schema = '{"type":"object","properties":{"steps":{"type":"array"}}}'
    for sent in (after(words, base=request("schema")), after(words, words, base=request("schema"))):
        assert sent["messages"][0]["content"].startswith("Be brief.\n\n")
        assert sent["messages"][0]["content"].count(schema) == 1
    assert "response_format" not in sent


def test_schema_stands_in_the_question_if_the_system_role_is_refused() -> None:
    words = ("System role not supported", "response_format is not supported")
    for order in (words, words[::-1]):
        (message,) = after(*order, base=request("schema"))["messages"]
        assert message["role"] == "user"
        assert message["content"].startswith("Be brief.\n\nReply with one JSON object")
        assert message["content"].endswith("}\n\nWhat is 6*7?")


def test_calls_and_results_become_text_without_tools() -> None:
    again = {"role": "user", "content": "And 3*5?"}
    base = request("tools", messages=[*TALK, again], tool_choice="auto", parallel_tool_calls=True)
    sent = after("does not support tools", base=base)
    assert sent.keys() == request().keys()
    assert sent["messages"] == [
        SYSTEM,
        {
            "role": "user",
            "content": "What is 6*7?\n\n"
            'The result of calculator with {"expression": "6*7"}:\n42\n\nAnd 3*5?',
        },
    ]


def test_text_beside_calls_is_kept() -> None:
    base = request(messages=[SYSTEM, QUESTION, {**CALLING, "content": "I calculate."}, RESULT])
    sent = after("must define `tools` for tool_use blocks", base=base)
    assert sent["messages"][2] == {"role": "assistant", "content": "I calculate."}
    assert sent["messages"][3]["content"].endswith("\n42")


def test_system_becomes_developer_then_a_part_of_the_question() -> None:
    words = "'messages[0].role' does not support 'system' with this model"
    assert after(words, base=request())["messages"] == [{**SYSTEM, "role": "developer"}, QUESTION]
    assert after(words, "Unexpected role 'developer'", base=request())["messages"] == [
        {"role": "user", "content": "Be brief.\n\nWhat is 6*7?"}
    ]


def test_roles_alternate_from_the_user_on() -> None:
    said = {"role": "assistant", "content": "42"}
    twice = {"role": "user", "content": "Sure?"}
    base = request(messages=[SYSTEM, said, said, twice, twice])
    assert after("roles must alternate", base=base)["messages"] == [
        {"role": "user", "content": "Be brief."},
        {"role": "assistant", "content": "42\n\n42"},
        {"role": "user", "content": "Sure?\n\nSure?"},
    ]


def test_conversation_of_an_assistant_gets_an_opening() -> None:
    base = request(messages=[{"role": "assistant", "content": "42"}, QUESTION])
    sent = after("roles must alternate", base=base)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]


def test_results_of_tools_that_break_the_order_become_text() -> None:
    words = "roles must alternate"
    sent = after(words, words, base=request("tools", messages=TALK))
    assert [message["role"] for message in sent["messages"]] == ["user"]
    assert "tools" not in sent


def test_null_content_becomes_empty_and_empty_content_a_word() -> None:
    base = request("tools", messages=TALK)
    assert after("content must be a string", base=base)["messages"][2]["content"] == ""
    words = ("content must be a string", "content must not be empty")
    assert after(*words, base=base)["messages"][2]["content"] == "(empty)"


def test_whole_answer_is_asked_without_stream_options() -> None:
    sent = after("Streaming is not supported", base=request())
    assert sent["stream"] is False
    assert "stream_options" not in sent


def test_changes_leave_the_request_as_it_was() -> None:
    base = request(*EVERYTHING, messages=TALK)
    before = json.dumps(base)
    for change in EVERY_CHANGE:
        changed(base, [change])
    changed(base, EVERY_CHANGE)
    assert json.dumps(base) == before


EVERY_CHANGE = (
    Change("response_format"),
    Change("tools"),
    Change("system", "user"),
    Change("roles", "alternating"),
    Change("null content", "empty text"),
    Change("empty content", "(empty)"),
    Change("max_tokens", "max_completion_tokens"),
    Change("answer tokens", "100"),
    Change("stream", "whole answer"),
    Change("reasoning_effort"),
)


def test_order_of_changes_makes_no_difference() -> None:
    base = request(*EVERYTHING, messages=TALK)
    assert changed(base, EVERY_CHANGE) == changed(base, EVERY_CHANGE[::-1])


# --- Memory


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_change_is_remembered_for_an_hour_for_its_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    refusals = Refusals("models.example", clock=clock)
    with caplog.at_level(logging.WARNING):
        refusals.remember("some", [Change("tools")])
        refusals.remember("some", [Change("tools")])
    assert "tools" not in refusals.fit(request("tools"))
    assert "tools" in refusals.fit(request("tools", model="other"))
    clock.now = REFUSAL_TTL - 1
    assert "tools" not in refusals.fit(request("tools"))
    clock.now = REFUSAL_TTL
    assert "tools" in refusals.fit(request("tools"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("server=models.example model=some refused")
    assert "without tools" in line


def test_nothing_is_remembered_before_it_worked() -> None:
    refusals = Refusals()
    assert refusals.change_for(request("tools"), complaint_of(openai("tools not supported")))
    assert refusals.fit(request("tools")) == request("tools")


def test_room_for_one_answer_is_not_remembered() -> None:
    refusals = Refusals()
    refusals.remember("some", [Change("room", "300"), Change("answer tokens", "2048")])
    assert refusals.fit(request())["max_tokens"] == 2048


def test_next_form_replaces_the_remembered_one() -> None:
    refusals = Refusals()
    refusals.remember("some", [Change("response_format", "json_object")])
    sent = refusals.fit(request("schema"))
    change = refusals.change_for(sent, complaint_of(openai("json_object is not supported")))
    assert change == Change("response_format")
    assert "response_format" not in refusals.fit(request("schema"), [change])
    refusals.remember("some", [change])
    assert "response_format" not in refusals.fit(request("schema"))


def test_refused_second_name_of_the_limit_is_left_out_later_too() -> None:
    refusals = Refusals()
    refusals.remember("some", [Change("max_tokens", "max_completion_tokens")])
    sent = refusals.fit(request())
    complaint = complaint_of(openai("Unknown field: max_completion_tokens"))
    assert refusals.change_for(sent, complaint) == Change("max_tokens")


def test_call_at_the_same_time_goes_its_own_way() -> None:
    refusals, sent = Refusals(), request("tools")
    complaint = complaint_of(openai("Unknown field: max_tokens"))
    first = refusals.change_for(sent, complaint)
    refusals.remember("some", [Change("max_tokens", "max_completion_tokens"), Change("tools")])
    assert refusals.change_for(sent, complaint) == first
    assert "tools" not in refusals.fit(sent, [Change("stream_options")])


# --- Other workers


def test_workers_share_what_they_remember() -> None:
    clock = Clock()
    one, other = Refusals("a", clock=clock), Refusals("a", clock=clock)
    one.remember("some", [Change("tools")])
    own = one.unshared()
    one.share(own, own)
    other.share([], own)
    assert one.unshared() == []
    assert "tools" not in other.fit(request("tools"))
    clock.now = REFUSAL_TTL + 1
    assert "tools" in other.fit(request("tools"))


def test_what_was_learned_while_sharing_is_kept() -> None:
    refusals = Refusals("a")
    refusals.remember("some", [Change("tools")])
    own = refusals.unshared()
    refusals.remember("some", [Change("stream_options")])
    refusals.share(own, own)
    assert refusals.fit(request("tools")).keys() == {"model", "messages", "stream", "max_tokens"}
    assert [refusal.change.part for refusal in refusals.unshared()] == ["stream_options"]


def test_what_operators_forgot_is_tried_again() -> None:
    refusals = Refusals("a")
    refusals.remember("some", [Change("tools")])
    refusals.share(refusals.unshared(), [])
    assert "tools" in refusals.fit(request("tools"))


def test_refusals_of_another_server_are_left_out() -> None:
    one, other = Refusals("a"), Refusals("b")
    one.remember("some", [Change("tools")])
    other.share([], one.unshared())
    assert "tools" in other.fit(request("tools"))
