"""Parts of a request that a server refuses: it is asked again without them."""

from collections.abc import Callable, Sequence
from typing import Any

from ..case import Case, Outcome, Play, answers, case
from ..server import Exchange
from ..wire import ANSWER, Reply, completion, document, error, usual
from .tools import CALCULATOR, Body, answer_from, call, calls, results_in

Refused = Callable[[Body], bool]


def has(*names: str) -> Refused:
    return lambda body: any(name in body for name in names)


def has_role(role: str) -> Refused:
    return lambda body: any(message["role"] == role for message in body["messages"])


def does_not_begin_with_user(body: Body) -> bool:
    return bool(body["messages"][0]["role"] != "user")


def has_schema(body: Body) -> bool:
    return bool(body.get("response_format", {}).get("type") == "json_schema")


def streams(body: Body) -> bool:
    return bool(body.get("stream"))


def refusing(is_refused: Refused, refusal: Reply, then: Play = lambda _: usual()) -> Play:
    return lambda exchange: refusal if is_refused(exchange.body) else then(exchange)


def refuses(name: str, is_refused: Refused, refusal: Reply, **options: Any) -> Case:
    """Return a case that refuses some requests and answers the others."""
    if options.get("mode") == "full":
        options["usage"] = None
    return answers(name, refusing(is_refused, refusal), refuses=is_refused, **options)


def forbids(*location: object) -> Reply:
    """Return the refusal of a server that allows no fields but its own."""
    fault = {
        "type": "extra_forbidden",
        "loc": list(location),
        "msg": "Extra inputs are not permitted",
    }
    return document({"object": "error", "message": {"detail": [fault]}}, 422)


def asked_once_last(exchanges: Sequence[Exchange]) -> str:
    """Check that the second question took one request, and without tools."""
    last = exchanges[-1]
    return "tools came again" if "tools" in last.body or len(exchanges) > 3 else ""


def wants_tools(body: Body) -> bool:
    return bool(not body.get("tools") and any(m.get("tool_calls") for m in body["messages"]))


def calls_then_wants_tools(exchange: Exchange) -> Reply:
    if wants_tools(exchange.body):
        return error("Some does not support tool calling without tools= param specified.")
    results = results_in(exchange.body)
    return answer_from(results) if results else calls(call())


def unsupported(name: str, instead: str = "") -> Reply:
    hint = f" Use {instead} instead." if instead else ""
    return error(f"Unsupported parameter: {name}.{hint}", param=name, code="unsupported_parameter")


def in_order(*refusals: tuple[Refused, Reply]) -> tuple[Refused, Play]:
    """Return a play of several refusals; the first one that fits a request counts."""

    def play(exchange: Exchange) -> Reply:
        for is_refused, refusal in refusals:
            if is_refused(exchange.body):
                return refusal
        return usual()

    return lambda body: any(is_refused(body) for is_refused, _ in refusals), play


NO_TOOLS = document(
    {
        "object": "error",
        "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser',
    },
    400,
)
ALTERNATE = error("Conversation roles must alternate user/assistant/user/assistant/...")
FULL: dict[str, Any] = {"mode": "full"}

HANDED: tuple[Case, ...] = (
    refuses("no-max-tokens", has("max_tokens"), unsupported("max_tokens", "max_completion_tokens")),
    refuses(
        "no-stream-options",
        has("stream_options"),
        forbids("body", "stream_options", "include_usage"),
    ),
    refuses(
        "no-effort",
        has("reasoning_effort"),
        error("Unrecognized request argument supplied: reasoning_effort"),
        fields={"reasoning_effort": "medium"},
    ),
    refuses(
        "no-system-role",
        has_role("system"),
        document(
            {
                "object": "error",
                "message": "System role not supported",
                "type": "BadRequestError",
                "code": 400,
            },
            400,
        ),
    ),
    refuses(
        "no-schema",
        has("response_format"),
        error("This model does not support response format `json_schema`."),
        **FULL,
    ),
    refuses("no-tools-vllm", has("tools"), NO_TOOLS),
    refuses("no-tools-remembered", has("tools"), NO_TOOLS, times=2, requests=asked_once_last),
    case(
        "tools-wanted-again",
        calls_then_wants_tools,
        Outcome("It is 42.", tools=[CALCULATOR]),
        has_own_model=True,
    ),
    case(
        "roles-alternate",
        refusing(does_not_begin_with_user, ALTERNATE),
        Outcome(ANSWER),
        Outcome(code="any", says=["roles must alternate"]),
        mode="full",
        has_own_model=True,
    ),
    refuses(
        "no-tools-404",
        has("tools"),
        error("No endpoints found that support tool use.", 404, code=404),
        **FULL,
    ),
)

TOKENS, TOKENS_PLAY = in_order(
    (has("max_tokens"), unsupported("max_tokens", "max_completion_tokens")),
    (has("max_completion_tokens"), unsupported("max_completion_tokens")),
)
MANY, MANY_PLAY = in_order(
    (has("max_tokens"), unsupported("max_tokens", "max_completion_tokens")),
    (has("stream_options"), unsupported("stream_options")),
    (
        has_role("system"),
        error(
            "Unsupported value: 'messages[0].role' does not support 'system'.",
            param="messages[0].role",
            code="unsupported_value",
        ),
    ),
    (has_role("developer"), error("role developer is not supported")),
    (has("tools"), error("tools is not supported in this model.", param="tools")),
)
FORMAT, FORMAT_PLAY = in_order(
    (
        has_schema,
        error("'response_format.type' must be 'json_object' or 'text'", param="response_format"),
    ),
    (
        has("response_format"),
        error("response_format is not supported by this model", param="response_format"),
    ),
)
FURTHER: tuple[Case, ...] = (
    refuses(
        "max-tokens-azure",
        has("max_tokens"),
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
            type="invalid_request_error",
        ),
    ),
    refuses(
        "max-tokens-forbidden",
        has("max_tokens"),
        document(
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "max_tokens"],
                        "msg": "Extra inputs are not permitted",
                        "input": 4096,
                    }
                ]
            },
            422,
        ),
    ),
    answers("max-tokens-in-no-form", TOKENS_PLAY, refuses=TOKENS),
    answers("many-refusals", MANY_PLAY, refuses=MANY),
    refuses(
        "stream-options-400",
        has("stream_options"),
        error("Unrecognized request argument supplied: stream_options"),
    ),
    refuses(
        "stream-options-unknown-field",
        has("stream_options"),
        document({"message": "Unknown field: stream_options", "request_id": "7"}, 400),
    ),
    refuses(
        "effort-value",
        has("reasoning_effort"),
        error(
            "Unsupported value: 'reasoning_effort' does not support 'medium' with this model.",
            param="reasoning_effort",
            code="unsupported_value",
        ),
        fields={"reasoning_effort": "medium"},
    ),
    refuses(
        "effort-detail",
        has("reasoning_effort"),
        document({"detail": "reasoning_effort: Extra inputs are not permitted"}, 400),
        fields={"reasoning_effort": "maximal"},
    ),
    refuses(
        "effort-in-200",
        has("reasoning_effort"),
        document({"error": {"message": "property 'reasoning_effort' is unsupported", "code": 400}}),
        fields={"reasoning_effort": "medium"},
    ),
    refuses(
        "developer-then-user",
        has_role("system"),
        error(
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
            param="messages[0].role",
        ),
    ),
    refuses(
        "system-gemma",
        has_role("system"),
        document(
            {
                "error": {
                    "code": 500,
                    "message": "System role not supported",
                    "type": "server_error",
                }
            },
            500,
        ),
    ),
    refuses(
        "system-instruction",
        has_role("system"),
        error("Developer instruction is not enabled for models/gemma", status="INVALID_ARGUMENT"),
    ),
    answers("schema-then-object", FORMAT_PLAY, refuses=FORMAT, usage=None, **FULL),
    refuses(
        "schema-alone",
        has_schema,
        error("Invalid schema for response_format 'answer'", param="response_format"),
        usage=None,
        **FULL,
    ),
    refuses(
        "schema-unavailable",
        has("response_format"),
        error("This response_format type is unavailable now"),
        **FULL,
    ),
    refuses(
        "tools-ollama", has("tools"), error("registry/x does not support tools", type="api_error")
    ),
    refuses(
        "tools-unsupported", has("tools"), error("tools is not supported in this model", code=400)
    ),
    refuses(
        "tools-grammar-500", has("tools"), error("tools param requires --jinja flag", 500, code=500)
    ),
    refuses("tools-forbidden", has("tools"), forbids("body", "tools")),
    refuses("tools-named", has("tools"), error("`tool calling` is not supported with this model")),
    refuses(
        "tools-of-team", has("tools"), error("this model does not support function calling"), **FULL
    ),
    answers(
        "stream-refused",
        refusing(
            streams,
            error(
                "Streaming is not supported for this model.",
                param="stream",
                code="unsupported_value",
            ),
            lambda _: document(completion({"content": ANSWER})),
        ),
        refuses=streams,
    ),
)
