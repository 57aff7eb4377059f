"""Read a chunk from any JSON by rules, because servers differ in names, nesting and types."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .failures import error_in
from .natives import translated
from .normal import CallDelta, Chunk, TokenCount
from .usage import number, timed_count, token_count, usage_in, with_cached

# The fields of a piece of an answer. Only the first of each kind is read: if a server fills
# several, they say the same.
TEXT = frozenset(("content", "text", "output_text", "response", "completion", "token")) | {
    "generated_text",
    "parts",
    "value",
    "result",
    "output",
    "answer",
}
REASONING = frozenset(("reasoning_content", "reasoning", "thinking", "thoughts", "thought")) | {
    "reasoning_text",
    "thinking_content",
    "reasoning_details",
    "thinking_blocks",
}
THOUGHT_TEXT = ("text", "content", "thinking", "summary", "reasoning", "reasoning_text", "value")
CALLS = frozenset(["tool_calls", "function_call", "tool_call", "functionCall"])
CALL_TYPES = frozenset(["tool_use", "tool_call", "function_call", "function"])
CALL_IDS = ("call_id", "id", "tool_call_id")
ARGUMENTS = ("arguments", "parameters", "input", "args")
FINISH = frozenset(["stop_reason", "done_reason", "finishReason", "stop_type", "blockReason"])
FINISHED = frozenset(["done", "stop", "is_end", "is_finished", "finished"])  # If they are true.
FINISH_PLACES = frozenset(["delta", "details", "promptFeedback"])
CHOICES = ("choices", "candidates")
WRAPPERS = ("output", "result", "data", "response", "body")
EMPTY: tuple[object, ...] = (None, "", [], {})
NOTHING = Chunk()


@dataclass(slots=True)
class Seen:
    """What was seen of an answer so far, as far as it decides how the next chunk is read."""

    index: int | None = None  # The choice that is read: the first that came.
    has_deltas: bool = False  # A `delta` had text, so a `message` repeats it.
    is_partial: bool = False  # The latest document was a part of an answer.

    def keeps(self, index: int | None) -> bool:
        """Return True if the choice with this index is read. A choice without one always is."""
        if self.index is None:
            self.index = index
        return index is None or index == self.index


class Content:
    """The text, reasoning and tool calls that are found in a piece of an answer."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[CallDelta] = []
        self.is_refusal = False

    def __bool__(self) -> bool:
        return bool(self.texts or self.thoughts or self.calls)

    def add(self, content: object) -> None:
        """Add a text, an object with one, or a list of these."""
        if isinstance(content, str):
            if content:
                self.texts.append(content)
        elif isinstance(content, list):
            for item in content:
                self.add(item)
        elif isinstance(content, dict):
            self.add_object(content)
        elif isinstance(content, int | float) and not isinstance(content, bool):
            self.texts.append(str(content))

    def add_object(self, part: Mapping[str, Any]) -> None:
        """Add a delta, a message, or a part of its content."""
        kind = part.get("type")
        if isinstance(kind, str):
            if kind in CALL_TYPES:
                self.calls.append(call_delta(part))
                return
            if "think" in kind or "reason" in kind:
                self.add_thought(part)
                return
        if part.get("thought") is True:
            self.add_thought(part)
            return
        if part.get("special") is True:
            # A token of TGI that marks the end of the text.
            return
        if "token" in part:
            # The last token of TGI has all the text beside it.
            part = {**part, "generated_text": None}
        before = len(self.texts)
        thought = refusal = ""
        for name, value in part.items():
            if value is None or value == "":
                continue
            if name in TEXT:
                # Only `content` may be a number. Other fields may count something.
                is_count = name != "content" and isinstance(value, int | float)
                if len(self.texts) == before and not is_count:
                    self.add(value)
            elif name in REASONING:
                thought = thought or text_of(value, THOUGHT_TEXT)
            elif name in CALLS:
                if not self.calls:
                    self.add_calls(value)
            elif name == "refusal":
                refusal = text_of(value, THOUGHT_TEXT)
            elif name == "message" and isinstance(value, dict):
                self.add_object(value)
        if thought:
            # A part of the content may have the same reasoning.
            self.thoughts = [thought]
        if refusal and not self.texts:
            self.texts, self.is_refusal = [refusal], True

    def add_thought(self, part: Mapping[str, Any]) -> None:
        if thought := text_of(part, THOUGHT_TEXT):
            self.thoughts.append(thought)

    def add_calls(self, found: object) -> None:
        for item in found if isinstance(found, list) else [found]:
            if isinstance(item, dict):
                self.calls.append(call_delta(item))


def chunks_of(value: object, seen: Seen) -> list[Chunk]:
    """Return the chunks in decoded JSON, without those that have nothing in them."""
    if isinstance(value, list):
        documents = (item for item in value if isinstance(item, dict))
        return [chunk for document in documents for chunk in chunks_of(document, seen)]
    if not isinstance(value, dict):
        return []
    error = error_in(value)
    document = unwrapped(translated(value))
    # A message beside an error is the error's. Other text is shown before the error.
    chunk = chunk_of(document, seen) if error is None or has_choices(document) else NOTHING
    if error is None:
        return [chunk] if chunk != NOTHING else []
    return [chunk, Chunk(error=error)] if chunk != NOTHING else [Chunk(error=error)]


def chunk_of(document: Mapping[str, Any], seen: Seen) -> Chunk:
    """Return what a document has of the answer."""
    choice = kept_choice(document, seen)
    if choice is None:
        return Chunk(usage=count_of(document, {}, is_last=True))
    speech, is_total = speech_of(choice, seen)
    finish_reason = finish_reason_of(choice)
    if not finish_reason and "finish_reason" not in choice:
        finish_reason = finish_reason_of(document)
    seen.is_partial = "delta" in choice or document.get("done") is False
    return Chunk(
        "".join(speech.texts),
        "".join(speech.thoughts),
        speech.calls or (),
        finish_reason,
        count_of(document, choice, is_last=bool(finish_reason or not speech)),
        is_refusal=speech.is_refusal,
        is_total=is_total,
    )


def kept_choice(document: Mapping[str, Any], seen: Seen) -> Mapping[str, Any] | None:
    """Return the choice that is read; the document itself if it has no choices."""
    for name in CHOICES:
        if choices := document.get(name):
            for choice in choices if isinstance(choices, list) else [choices]:
                if isinstance(choice, dict) and seen.keeps(number(choice.get("index"))):
                    return choice
            return None
    return document


def has_choices(document: Mapping[str, Any]) -> bool:
    return bool(document.get("choices") or document.get("candidates"))


def unwrapped(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a document whose answer is in an object of its own together with that object."""
    if has_choices(document) or "delta" in document or isinstance(document.get("message"), dict):
        return document
    for name in WRAPPERS:
        if isinstance(inner := document.get(name), dict) and inner:
            return {**{key: document[key] for key in document if key != name}, **inner}
    return document


def speech_of(choice: Mapping[str, Any], seen: Seen) -> tuple[Content, bool]:
    """Return what a choice has, and whether that repeats all that came before."""
    speech = Content()
    delta = choice.get("delta")
    speech.add(delta)
    if speech:
        seen.has_deltas = True
        return speech, False
    message = choice.get("message")
    if isinstance(message, dict):
        if isinstance(delta, dict) and seen.has_deltas:
            # Beside a delta, a message has all the text so far. Its calls may be nowhere else.
            speech.add_object(message)
            speech.texts, speech.thoughts = [], []
            return speech, bool(speech)
        speech.add_object(message)
        if speech:
            # Only Ollama sends the pieces as messages, which have `done` beside them.
            return speech, "done" not in choice
    speech.add_object(choice)
    seen.has_deltas = seen.has_deltas or bool(speech)
    return speech, False


def finish_reason_of(choice: Mapping[str, Any]) -> str:
    """Return the reason to finish as the server wrote it; an empty string if there is none."""
    if reason := reason_of(choice.get("finish_reason")):
        return reason
    has_finished = False
    for name, value in choice.items():
        if not value:
            continue
        if name in FINISH and (reason := reason_of(value)):
            return reason
        if name in FINISH_PLACES and isinstance(value, dict):
            if reason := finish_reason_of(value):
                return reason
        elif name in FINISHED and value is True:
            has_finished = True
    return "stop" if has_finished else ""


def reason_of(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("type")
    # DashScope sends the text "null" before the end, and llama.cpp "none".
    return value if isinstance(value, str) and value not in ("null", "none", "None") else ""


def count_of(
    document: Mapping[str, Any], choice: Mapping[str, Any], *, is_last: bool
) -> TokenCount | None:
    """Return the tokens that a chunk counts. Search unusual places only in the last chunks."""
    for usage in (document.get("usage"), choice.get("usage")):
        if isinstance(usage, dict) and (count := token_count(usage)):
            return with_cached(count, document.get("timings"))
    if not is_last:
        return None
    return usage_in(document) or timed_count(document.get("timings"))


def call_delta(call: Mapping[str, Any]) -> CallDelta:
    """Return a tool call, which may be nested in `function` or flat."""
    function = call.get("function") or call.get("custom")
    if not isinstance(function, dict):
        function = {"name": function, **call} if isinstance(function, str) else call
    name = function.get("name")
    return CallDelta(
        number(call.get("index")),
        first_id(call),
        name if isinstance(name, str) else "",
        arguments_of(function) or arguments_of(call),
    )


def first_id(call: Mapping[str, Any]) -> str:
    for name in CALL_IDS:
        if (value := call.get(name)) and isinstance(value, str | int) and value is not True:
            return str(value)
    return ""


def arguments_of(function: Mapping[str, Any]) -> str:
    """Return the arguments as text. An empty object may precede the arguments: ignore it."""
    for name in ARGUMENTS:
        value = function.get(name)
        if value in EMPTY:
            continue
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""


def text_of(value: object, names: tuple[str, ...]) -> str:
    """Return the text in a value: a text, an object with one of `names`, or a list of these."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join([text_of(item, names) for item in value])
    if isinstance(value, dict):
        for name in names:
            if (inner := value.get(name)) and (text := text_of(inner, names)):
                return text
    return ""
