"""Tool calls: how servers write them, and what they get back."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..case import Case, Outcome, Play, case
from ..server import Exchange
from ..wire import (
    ANSWER,
    DONE,
    THOUGHT,
    USAGE,
    Piece,
    Reply,
    chunk,
    completion,
    document,
    error,
    event,
    finish,
    say,
    stream,
    usage_chunk,
    usual,
)

EXPRESSION = '{"expression": "6*7"}'
SECOND = '{"expression": "3*5"}'
CALCULATOR, CLOCK = "calculator", "clock"
Body = dict[str, Any]


# --- What the server checks and answers -----------------------------------------------------------


def disorder(body: Body) -> str:
    """Return what is wrong with a conversation that holds tool calls, or an empty string."""
    messages, known, is_open = body["messages"], set[str](), list[str]()
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in is_open:
                return f"the result of an unknown call: {message}"
            is_open.remove(message["tool_call_id"])
            continue
        if is_open:
            return f"no result of the calls {is_open}"
        if message.get("content") == "" and message.get("tool_calls"):
            return "an empty text beside calls"
        for call in message.get("tool_calls") or ():
            if not isinstance(call["id"], str) or not call["id"] or call["id"] in known:
                return f"the id {call['id']!r} is empty or used twice"
            known.add(call["id"])
            is_open.append(call["id"])
            if call["type"] != "function" or not call["function"]["name"]:
                return f"no function: {call}"
            if not isinstance(call["function"]["arguments"], str):
                return f"the arguments are no text: {call}"
            try:
                is_object = isinstance(json.loads(call["function"]["arguments"]), dict)
            except ValueError:
                is_object = False
            if not is_object:
                return f"the arguments are no JSON object: {call}"
    if known and not body.get("tools"):
        return "there are calls, but no tools are declared"
    return ""


def results_in(body: Body) -> list[str]:
    return [str(each["content"]) for each in body["messages"] if each["role"] == "tool"]


def answer_from(results: Sequence[str]) -> Reply:
    """Return the answer of a model that read these results."""
    numbers = [found[1] for result in results if (found := re.search(r"= (\d+)", result))]
    words = f"It is {' and '.join(numbers)}." if numbers else "It is late."
    return stream(say(words), finish())


def calling(first: Reply, then: Callable[[Sequence[str]], Reply] = answer_from) -> Play:
    """Return a play of these calls, then of an answer from their results."""

    def play(exchange: Exchange) -> Reply:
        results = results_in(exchange.body)
        if not results:
            return first
        if found := disorder(exchange.body):
            return error(found)
        return then(results)

    return play


# --- How calls are written ------------------------------------------------------------------------


def call(
    arguments: object = EXPRESSION,
    name: object = CALCULATOR,
    call_id: object = "call_1",
    **fields: Any,
) -> dict[str, Any]:
    """Return a whole call. A field that is `...` is left out."""
    function = {"name": name, "arguments": arguments}
    found = {"index": 0, "id": call_id, "type": "function", **fields, "function": function}
    return {key: value for key, value in found.items() if value is not ...}


def part(arguments: object, **fields: Any) -> dict[str, Any]:
    """Return a later part of a call."""
    return {"index": 0, "function": {"arguments": arguments}, **fields}


def calls(*deltas: dict[str, Any], finish_reason: str | None = "tool_calls") -> Reply:
    """Return a stream with each of these in a chunk of its own."""
    pieces: list[Piece] = [event(chunk({"tool_calls": [delta]})) for delta in deltas]
    return stream(
        event(chunk({"role": "assistant", "content": None})), pieces, finish(finish_reason)
    )


def at_once(*deltas: dict[str, Any]) -> Reply:
    """Return a stream with all of these in one chunk."""
    return stream(
        event(chunk({"role": "assistant", "tool_calls": list(deltas)})), finish("tool_calls")
    )


def in_words(words: str, cut: int = 7) -> Reply:
    """Return a stream with this text in small pieces."""
    pieces: list[Piece] = [
        event(chunk({"content": words[at : at + cut]})) for at in range(0, len(words), cut)
    ]
    return stream(pieces, finish())


def uses(name: str, first: Reply, text: str, *tools: str, thought: str | None = None) -> Case:
    """Return a case of calls and their answer. The usage is that of both model calls."""
    return case(name, calling(first), Outcome(text, tools=tools, usage=(22, 14), thought=thought))


def one(name: str, first: Reply, **wants: Any) -> Case:
    return uses(name, first, "It is 42.", CALCULATOR, **wants)


def two(name: str, first: Reply, **wants: Any) -> Case:
    return uses(name, first, "It is 42 and 15.", CALCULATOR, CALCULATOR, **wants)


def late(name: str, first: Reply) -> Case:
    return uses(name, first, "It is late.", CLOCK)


def legacy(arguments: str, name: str | None = None) -> bytes:
    beside = {} if name is None else {"name": name}
    return event(chunk({"function_call": {**beside, "arguments": arguments}}))


IN_PIECES = (part('{"expr'), part('ession": "6*'), part('7"}'))
NO_INDEX: dict[str, Any] = {"index": ...}
TAGGED = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "6*7"}}\n</tool_call>'

HANDED: tuple[Case, ...] = (
    one("tool-plain", calls(call(""), *IN_PIECES)),
    two("tool-all-zero", calls(call(), call(SECOND, call_id="call_2"))),
    two("tool-no-index", at_once(call(**NO_INDEX), call(SECOND, call_id="call_2", **NO_INDEX))),
    one("tool-index-null", calls(call("", index=None), *(p | {"index": None} for p in IN_PIECES))),
    one(
        "tool-id-empty",
        calls(
            call(""),
            *({**p, "id": "", "function": {**p["function"], "name": ""}} for p in IN_PIECES),
        ),
    ),
    one(
        "tool-name-later",
        calls(call("", name=""), {"index": 0, "function": {"name": CALCULATOR}}, *IN_PIECES),
    ),
    one("tool-arguments-object", calls(call({"expression": "6*7"}))),
    late("tool-arguments-empty", calls(call("", name=CLOCK))),
    one("tool-finish-stop", calls(call(""), *IN_PIECES, finish_reason="stop")),
    one(
        "tool-legacy",
        stream(
            legacy("", CALCULATOR),
            legacy('{"expression": '),
            legacy('"6*7"}'),
            finish("function_call"),
        ),
    ),
    one("tool-as-text", in_words(TAGGED)),
)


def again_and_again(exchange: Exchange) -> Reply:
    """Call a tool in each of two rounds, with the same id, if tools are offered."""
    if found := disorder(exchange.body):
        return error(found)
    rounds = len(results_in(exchange.body))
    if rounds < 2 and exchange.body.get("tools"):
        return calls(call((EXPRESSION, SECOND)[rounds], call_id="call_0"))
    return usual()


FENCED = '```json\n{"name": "calculator", "arguments": {"expression": "6*7"}}\n```'
XML_LIKE = (
    "<tool_call>\n<function=calculator>\n<parameter=expression>\n6*7\n</parameter>\n</function>\n"
    "</tool_call>"
)
FURTHER: tuple[Case, ...] = (
    one("tool-whole", at_once(call())),
    one("tool-id-number", calls(call(call_id=7))),
    one("tool-id-null", calls(call(call_id=None))),
    one("tool-id-missing", calls(call(call_id=...))),
    two("tool-ids-empty-two", at_once(call(call_id=""), call(SECOND, call_id="", index=1))),
    two("tool-ids-same-two", at_once(call(), call(SECOND, index=1))),
    two(
        "tool-ids-missing-two",
        at_once(call(call_id=..., **NO_INDEX), call(SECOND, call_id=..., **NO_INDEX)),
    ),
    two(
        "tool-two",
        calls(
            call(""),
            *IN_PIECES,
            call("", call_id="call_2", index=1),
            part('{"expression": ', index=1),
            part('"3*5"}', index=1),
        ),
    ),
    two(
        "tool-interleaved",
        calls(
            call(""),
            call("", call_id="call_2", index=1),
            part('{"expression": '),
            part('{"expression": ', index=1),
            part('"6*7"}'),
            part('"3*5"}', index=1),
        ),
    ),
    two("tool-index-from-one", calls(call(index=1), call(SECOND, call_id="call_2", index=2))),
    two("tool-index-text", calls(call(index="0"), call(SECOND, call_id="call_2", index="1"))),
    two(
        "tool-all-zero-in-pieces",
        calls(
            call('{"expression": '),
            part('"6*7"}'),
            call('{"expression": ', call_id="call_2"),
            part('"3*5"}'),
        ),
    ),
    one("tool-type-missing", calls(call(type=...))),
    one("tool-type-null", calls(call(type=None))),
    one("tool-type-empty", calls(call(type=""))),
    one(
        "tool-name-null-later",
        calls(
            call(""),
            *(
                {**p, "id": None, "type": None, "function": {**p["function"], "name": None}}
                for p in IN_PIECES
            ),
        ),
    ),
    one(
        "tool-name-repeated",
        calls(
            call(""),
            *(
                {**p, "id": "call_1", "function": {**p["function"], "name": CALCULATOR}}
                for p in IN_PIECES
            ),
        ),
    ),
    one("tool-name-with-blanks", calls(call(name=" calculator\n"))),
    one("tool-arguments-null-first", calls(call(None), *IN_PIECES)),
    one("tool-arguments-string-in-string", calls(call(json.dumps(EXPRESSION)))),
    one("tool-arguments-with-blanks", calls(call(f"\n {EXPRESSION}\n"))),
    late("tool-arguments-null", calls(call(None, name=CLOCK))),
    late("tool-arguments-null-text", calls(call("null", name=CLOCK))),
    late("tool-arguments-missing", calls({"index": 0, "id": "c", "function": {"name": CLOCK}})),
    late("tool-arguments-blank", calls(call(" ", name=CLOCK))),
    late("tool-arguments-empty-object", calls(call({}, name=CLOCK))),
    one(
        "tool-finish-missing",
        stream(event(chunk({"tool_calls": [call()]})), event(usage_chunk()), DONE),
    ),
    one("tool-finish-null", calls(call(), finish_reason=None)),
    one("tool-finish-function-call", calls(call(), finish_reason="function_call")),
    one("tool-finish-upper", calls(call(), finish_reason="TOOL_CALLS")),
    one("tool-finish-tool-use", calls(call(), finish_reason="tool_use")),
    one(
        "tool-with-empty-content",
        stream(event(chunk({"content": "", "tool_calls": [call()]})), finish("tool_calls")),
    ),
    one(
        "tool-behind-blanks",
        stream(
            event(chunk({"content": "\n\n"})),
            event(chunk({"tool_calls": [call()]})),
            finish("tool_calls"),
        ),
    ),
    one(
        "tool-behind-reasoning",
        stream(
            event(chunk({"reasoning_content": THOUGHT})),
            event(chunk({"tool_calls": [call()]})),
            finish("tool_calls"),
        ),
        thought=THOUGHT,
    ),
    one(
        "tool-behind-tags",
        stream(
            event(chunk({"content": f"<think>{THOUGHT}</think>\n"})),
            event(chunk({"tool_calls": [call()]})),
            finish("tool_calls"),
        ),
        thought=THOUGHT,
    ),
    case(
        "tool-behind-text",
        calling(
            stream(
                say("I calculate."), event(chunk({"tool_calls": [call()]})), finish("tool_calls")
            )
        ),
        Outcome("I calculate.\n\nIt is 42.", tools=[CALCULATOR]),
    ),
    one(
        "tool-in-message",
        stream(
            event(
                chunk()
                | {
                    "choices": [
                        {
                            "index": 0,
                            "message": {"tool_calls": [call()]},
                            "finish_reason": "tool_calls",
                        }
                    ],
                    "usage": USAGE,
                }
            ),
            DONE,
        ),
    ),
    one(
        "tool-in-document",
        document(completion({"content": None, "tool_calls": [call(**NO_INDEX)]}, "tool_calls")),
    ),
    one(
        "tool-in-document-object",
        document(
            completion({"content": "", "tool_calls": [call({"expression": "6*7"}, **NO_INDEX)]})
        ),
    ),
    one(
        "tool-legacy-document",
        document(
            completion(
                {"content": None, "function_call": {"name": CALCULATOR, "arguments": EXPRESSION}},
                "function_call",
            )
        ),
    ),
    one("tool-as-text-at-once", in_words(TAGGED, 1000)),
    one("tool-as-text-in-bytes", in_words(TAGGED, 1)),
    one("tool-as-text-parameters", in_words(TAGGED.replace('"arguments"', '"parameters"'))),
    one("tool-as-text-unclosed", in_words(TAGGED.removesuffix("\n</tool_call>"))),
    one(
        "tool-as-text-behind-think",
        in_words(f"<think>{THOUGHT}</think>\n\n{TAGGED}"),
        thought=THOUGHT,
    ),
    two("tool-as-text-two", in_words(f"{TAGGED}\n{TAGGED.replace('6*7', '3*5')}")),
    one("tool-as-fence", in_words(FENCED)),
    one("tool-as-xml", in_words(XML_LIKE)),
    one(
        "tool-as-text-mistral",
        in_words('[TOOL_CALLS][{"name": "calculator", "arguments": {"expression": "6*7"}}]'),
    ),
    one(
        "tool-as-bare-json", in_words('{"name": "calculator", "arguments": {"expression": "6*7"}}')
    ),
    case(
        "no-tool-but-json",
        calling(in_words('```json\n{"name": "lantern", "light": 7}\n```')),
        Outcome('```json\n{"name": "lantern", "light": 7}\n```'),
        may_be_late=True,
    ),
    case("tool-ids-same-in-rounds", again_and_again, Outcome(ANSWER), mode="full"),
)
