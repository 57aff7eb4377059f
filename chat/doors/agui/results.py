"""What came of tool calls and runs, as AG-UI has it: without null."""

from typing import Any

import msgspec

from chat.protocol.payloads import ToolResultData
from chat.protocol.terms import Summary

UNMADE = {"ok": False, "message": "The run ended before this call did."}


def result_id(tool_call_id: str) -> str:
    """Return the id of the message with the result of a call."""
    return f"{tool_call_id}-result"


def content_of(data: ToolResultData) -> dict[str, Any]:
    """Return what readers may know of a result. The result itself is for models."""
    content: dict[str, Any] = {"ok": data.ok}
    if data.message:
        content["message"] = data.message
    if data.cached:
        content["cached"] = True
    if data.age_s is not None:
        content["age_s"] = data.age_s
    if data.sources:
        content["sources"] = [
            {key: each for key, each in msgspec.to_builtins(source).items() if each is not None}
            for source in data.sources
        ]
    return content


def usage_of(summary: Summary) -> list[dict[str, Any]] | None:
    """Return the tokens of a run; None if no model was called."""
    used = summary.usage
    if not used.model_calls:
        return None
    counts: dict[str, Any] = {
        "inputTokens": used.input_tokens,
        "outputTokens": used.output_tokens,
        "totalTokens": used.input_tokens + used.output_tokens,
    }
    if used.reasoning_tokens:
        counts["reasoningTokens"] = used.reasoning_tokens
    if used.cached_tokens:
        counts["cachedInputTokens"] = used.cached_tokens
    if len(summary.models) == 1:
        counts["model"] = summary.models[0]
    return [counts]
