"""Rewrite events of other APIs as chunks of the chat completions API.

Gateways pass some of them through. What Ollama and Gemini send needs no rewriting: the rules of
`lenient` find it.
"""

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]

RESPONSE_ENDINGS = ("response.completed", "response.incomplete", "response.done")


def translated(document: Document) -> Document:
    """Return the document in the form of a chat completion."""
    kind = document.get("type")
    if isinstance(kind, str):
        if kind.startswith("response."):
            return response_event(kind, document)
        if kind.startswith("content_block"):
            return block_event(document)
    output = document.get("output")
    if document.get("object") == "response" and isinstance(output, list):
        return whole_response(document)
    return document


def response_event(kind: str, event: Document) -> Document:
    """Translate an event of the Responses API, but for those that repeat what came before."""
    index = event.get("output_index")
    if kind.endswith(".delta"):
        piece = event.get("delta")
        if "reasoning" in kind:
            return delta({"reasoning": piece})
        if "refusal" in kind:
            return delta({"refusal": piece})
        if "arguments" in kind or "input" in kind:
            return delta({"tool_calls": {"index": index, "arguments": piece}})
        return delta({"content": piece}) if "text" in kind else {}
    if kind == "response.output_item.added":
        item = event.get("item")
        if isinstance(item, dict) and item.get("type") == "function_call":
            return delta({"tool_calls": {**item, "index": index}})
    response = event.get("response")
    if kind in RESPONSE_ENDINGS and isinstance(response, dict):
        return whole_response(response)
    return {}


def whole_response(response: Document) -> Document:
    """Translate an answer of the Responses API that has ended."""
    items = [item for item in response.get("output") or () if isinstance(item, dict)]
    message = {
        "content": [item.get("content") for item in items if item.get("type") == "message"],
        "reasoning": [item for item in items if item.get("type") == "reasoning"],
        "tool_calls": [
            {**item, "index": index}
            for index, item in enumerate(items)
            if item.get("type") == "function_call"
        ],
    }
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    choice = {"message": message, "finish_reason": reason or "stop"}
    return {"choices": [choice], "usage": response.get("usage"), "error": response.get("error")}


def block_event(event: Document) -> Document:
    """Translate an event about a block of an answer in Anthropic's API."""
    piece = event.get("content_block") or event.get("delta")
    if not isinstance(piece, dict):
        return {}
    index = event.get("index")
    if piece.get("type") == "input_json_delta":
        call = {"index": index, "arguments": piece.get("partial_json")}
        return delta({"tool_calls": call})
    if piece.get("type") == "tool_use":
        return delta({"tool_calls": {**piece, "index": index}})
    return delta({"content": [piece]})


def delta(fields: Document) -> Document:
    return {"choices": [{"delta": fields}]}
