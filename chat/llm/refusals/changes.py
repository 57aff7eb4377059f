"""The forms that a request takes for a server that refuses a part of it.

Every change fits the request as it was built first, so that what is remembered can be applied to
any later request. A change never touches the request that it gets, because several calls may share
its messages.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

type Request = dict[str, Any]
type Messages = list[dict[str, Any]]

LIMITS = ("max_tokens", "max_completion_tokens")  # the names of the token limit
WHOLE, WHOLE_BESIDE_TOOLS = "whole answer", "whole answer beside tools"
INSTRUCTING = ("system", "developer")  # the roles whose messages hold instructions
JSON_WANTED = (
    "Reply with one JSON object and nothing else, without a code fence."
    " It must match this JSON Schema:"
)
# What servers call an effort to think, the lowest first.
EFFORTS = ("none", "minimal", "low", "default", "medium", "high", "xhigh", "max")
EMPTY = "(empty)"
OPENING = "(The conversation begins with your message.)"


@dataclass(frozen=True, slots=True)
class Change:
    """Another form of one part of a request. An empty form leaves the part out."""

    part: str  # a field of the request, or one of APPLIED
    form: str = ""

    @property
    def name(self) -> str:
        return f"{self.part} → {self.form}" if self.form else f"without {self.part}"

    def apply(self, request: Request) -> Request:
        """Return the request in the form that the server takes."""
        if apply := APPLIED.get(self.part):
            return apply(request, self.form)
        if self.part not in request:
            return request
        return {**request, self.part: self.form} if self.form else without(request, self.part)


def changed(request: Request, changes: Iterable[Change]) -> Request:
    """Return the request with these changes. Of several changes of a part, the last one counts."""
    latest = {change.part: change for change in changes}
    # In the order of APPLIED: results of tools become messages before messages are merged.
    for part in (*APPLIED, *(latest.keys() - APPLIED)):
        if change := latest.get(part):
            request = change.apply(request)
    return request


def without(request: Request, *fields: str) -> Request:
    return {name: value for name, value in request.items() if name not in fields}


# --- Fields ---------------------------------------------------------------------------------------


def rename_limit(request: Request, name: str) -> Request:
    limit = next((request[limit] for limit in LIMITS if limit in request), None)
    rest = without(request, *LIMITS)
    return {**rest, name: limit} if name and limit is not None else rest


def lower_limit(request: Request, limit: str) -> Request:
    lowered = {name: min(request[name], int(limit)) for name in LIMITS if name in request}
    return {**request, **lowered}


def offer_efforts(request: Request, form: str) -> Request:
    """Ask for the effort of those in `form` that is nearest to the one in the request."""
    effort = request.get("reasoning_effort")
    if effort is None or effort in form.split(", "):
        return request
    if not form or effort not in EFFORTS:
        return without(request, "reasoning_effort")
    place = EFFORTS.index(effort)
    nearest = min(form.split(", "), key=lambda each: abs(EFFORTS.index(each) - place))
    return {**request, "reasoning_effort": nearest}


def stop_streaming(request: Request, form: str) -> Request:
    if form == WHOLE_BESIDE_TOOLS and "tools" not in request:
        return request
    # `stream_options` is refused without a stream.
    return {**without(request, "stream_options"), "stream": False}


def relax_format(request: Request, form: str) -> Request:
    """Ask for any JSON or any text. A schema that no field tells any longer goes into a message."""
    wanted = request.get("response_format")
    if wanted is None:
        return request
    request = {**request, "response_format": {"type": form}}
    if wanted["type"] == "json_schema":
        schema = msgspec.json.encode(wanted["json_schema"]["schema"]).decode()
        request["messages"] = instructed(request["messages"], f"{JSON_WANTED}\n{schema}")
    return request if form else without(request, "response_format")


def drop_tools(request: Request, _form: str) -> Request:
    request = without(request, "tools", "tool_choice", "parallel_tool_calls", "functions")
    return call_in_text(request, "")


# --- Messages -------------------------------------------------------------------------------------


def call_in_text(request: Request, _form: str) -> Request:
    """Write tool calls and their results as text, for requests that declare no tools."""
    if "tools" in request or not has_calls(request):
        return request
    calls: dict[str, str] = {}
    messages: Messages = []
    for message in request["messages"]:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            calls[call["id"]] = f"{function['name']} with {function['arguments']}"
        if message["role"] == "tool":
            # A call without its result would be an example of how to call tools as text. So the
            # call stands here alone, in a message that the model hasn't written.
            about = calls.get(message["tool_call_id"], "a tool")
            text = f"The result of {about}:\n{message['content']}"
            messages.append({"role": "user", "content": text})
        elif "tool_calls" not in message or message["content"]:
            messages.append(without(message, "tool_calls"))
    return {**request, "messages": merged(messages, ("user",))}


def move_instructions(request: Request, form: str) -> Request:
    """Put the system's messages under another role, or at the head of the user's first message."""
    messages: Messages = request["messages"]
    if form != "user":
        return {
            **request,
            "messages": [
                {**message, "role": form} if message["role"] in INSTRUCTING else message
                for message in messages
            ],
        }
    texts = [message["content"] for message in messages if message["role"] in INSTRUCTING]
    rest = [message for message in messages if message["role"] not in INSTRUCTING]
    if not texts:
        return request
    head = {"role": "user", "content": "\n\n".join(texts)}
    return {**request, "messages": merged([head, *rest[:1]], ("user",)) + rest[1:]}


def alternate(request: Request, _form: str) -> Request:
    """Let the user begin, and let no role have two messages in a row."""
    messages: Messages = move_instructions(request, "user")["messages"]
    if messages[0]["role"] != "user":
        messages = [{"role": "user", "content": OPENING}, *messages]
    return {**request, "messages": merged(messages, ("user", "assistant"))}


def fill_null(request: Request, _form: str) -> Request:
    return with_content(request, lambda content: "" if content is None else content)


def fill_empty(request: Request, form: str) -> Request:
    return with_content(request, lambda content: content or form)


def with_content(request: Request, content_of: Callable[[str | None], str]) -> Request:
    messages = [
        {**message, "content": content_of(message["content"])} for message in request["messages"]
    ]
    return {**request, "messages": messages}


def instructed(messages: Messages, line: str) -> Messages:
    """Return the messages with one more line of instructions."""
    for place, message in enumerate(messages):
        if message["role"] in INSTRUCTING:
            longer = {**message, "content": f"{message['content']}\n\n{line}"}
            return [*messages[:place], longer, *messages[place + 1 :]]
    # The system's messages were refused before, so the user's first message holds them.
    head = {"role": "user", "content": line}
    return merged([head, *messages[:1]], ("user",)) + messages[1:]


def merged(messages: Sequence[dict[str, Any]], roles: Sequence[str]) -> Messages:
    """Return the messages with neighbours of one of these roles joined."""
    joined: Messages = []
    for message in messages:
        before = joined[-1] if joined else None
        if before is None or message["role"] not in roles or before["role"] != message["role"]:
            joined.append(message)
            continue
        texts = [text for text in (before["content"], message["content"]) if text]
        joined[-1] = {**before, **message, "content": "\n\n".join(texts) or None}
    return joined


def has_calls(request: Request) -> bool:
    """Return True if the messages hold tool calls or their results."""
    return any("tool_calls" in each or each["role"] == "tool" for each in request["messages"])


# In the order in which they are applied.
APPLIED: dict[str, Callable[[Request, str], Request]] = {
    "response_format": relax_format,
    "tools": drop_tools,
    "calls": call_in_text,
    "system": move_instructions,
    "roles": alternate,
    "null content": fill_null,
    "empty content": fill_empty,
    "reasoning_effort": offer_efforts,
    "max_tokens": rename_limit,
    "answer tokens": lower_limit,
    "room": lower_limit,
    "stream": stop_streaming,
}
