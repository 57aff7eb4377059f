"""The request is too long for the model, in the words of many servers."""

from ..case import Case, fails
from ..wire import Reply, document, error, event, stream

GEMINI = "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."
TOO_LONG_IN_LITELLM = (
    "litellm.BadRequestError: litellm.ContextWindowExceededError: SomeException - "
    "prompt is too long: 9000 tokens > 8192 maximum"
)


def too_long(name: str, reply: Reply) -> Case:
    return fails(name, reply, code="context_too_long")


HANDED: tuple[Case, ...] = (
    too_long(
        "stream-context",
        stream(
            event(
                {
                    "error": {
                        "message": TOO_LONG_IN_LITELLM,
                        "type": "None",
                        "param": "None",
                        "code": "400",
                    }
                }
            )
        ),
    ),
    too_long(
        "context-openai",
        error(
            "This model's maximum context length is 8192 tokens.",
            type="invalid_request_error",
            param=None,
            code="context_length_exceeded",
        ),
    ),
    too_long("context-litellm", error(TOO_LONG_IN_LITELLM, type=None, param=None, code="400")),
    too_long(
        "context-gemini",
        document(
            [
                {
                    "error": {
                        "code": 400,
                        "status": "INVALID_ARGUMENT",
                        "message": GEMINI,
                    }
                }
            ],
            400,
        ),
    ),
    too_long(
        "context-bedrock",
        error(
            "ValidationException: Input is too long for requested model.",
            type="invalid_request_error",
            param=None,
            code=None,
        ),
    ),
    too_long(
        "context-llama-500",
        error("Context size has been exceeded.", 500, type="server_error", param=None, code=500),
    ),
)
FURTHER: tuple[Case, ...] = tuple(
    too_long(f"context-{name}", error(message, status))
    for name, status, message in (
        (
            "vllm",
            400,
            "This model's maximum context length is 8192 tokens. However, you requested 9000 "
            "tokens (8000 in the messages, 1000 in the completion).",
        ),
        (
            "vllm-newer",
            400,
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        ),
        (
            "sglang",
            400,
            "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        ),
        (
            "llama",
            400,
            "the request exceeds the available context size. try increasing the context "
            "size or enable context shift",
        ),
        (
            "tgi",
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. "
            "Given: 9000 `inputs` tokens and 1000 `max_new_tokens`",
        ),
        (
            "lmstudio",
            400,
            "Trying to keep the first 9000 tokens when context the overflows. However, "
            "the model is loaded with context length of only 4096 tokens",
        ),
        ("groq", 400, "Please reduce the length of the messages or completion."),
        (
            "anthropic",
            400,
            "input length and `max_tokens` exceed context limit: 9000 + 1000 > 8192",
        ),
        (
            "mistral",
            400,
            "Prompt contains 9000 tokens and 0 draft tokens, too large for model with "
            "8192 maximum context length",
        ),
        (
            "xai",
            400,
            "This model's maximum prompt length is 8192 but the request contains 9000 tokens.",
        ),
        ("dashscope", 400, "Range of input length should be [1, 8192]"),
        ("moonshot", 400, "Invalid request: Your request exceeded model token limit: 8192"),
        (
            "cerebras",
            400,
            "Current length is 9000 while limit is 8192. Please reduce the length of the messages.",
        ),
        ("413", 413, "Prompt is too long"),
    )
)
