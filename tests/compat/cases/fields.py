"""What stands in an event."""

from typing import Any

from ..case import Case, Outcome, answers, case
from ..wire import (
    ANSWER,
    DONE,
    USAGE,
    WORDS,
    Piece,
    chunk,
    completion,
    document,
    event,
    finish,
    paced,
    say,
    stream,
)

ABOUT_JSON = '{"error": {"message": "not really"}}'
ABOUT_WIRE = "A stream ends with\ndata: [DONE]\n\nand no more."
NOTHING: dict[str, Any] = {
    "role": "assistant",
    "function_call": None,
    "tool_calls": None,
    "refusal": None,
    "reasoning_content": None,
    "audio": None,
}


def choices(*found: object, **fields: Any) -> bytes:
    return event(chunk(**fields) | {"choices": list(found)})


def each_word(write: Any) -> list[Piece]:
    """Return an event for each word, whose value is what `write` makes of the word."""
    return paced(event(write(word)) for word in WORDS)


def bare(word: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": word}}]}


def so_far(word: str) -> str:
    return "".join(WORDS[: WORDS.index(word) + 1])


HANDED: tuple[Case, ...] = (
    answers(
        "azure-filters",
        stream(
            event(
                {
                    "choices": [],
                    "prompt_filter_results": [
                        {
                            "prompt_index": 0,
                            "content_filter_results": {
                                "hate": {"filtered": False, "severity": "safe"}
                            },
                        }
                    ],
                }
            ),
            say(),
            choices(
                {
                    "index": 0,
                    "content_filter_results": {"hate": {"filtered": False}},
                    "content_filter_offsets": {"start_offset": 0, "end_offset": 9},
                }
            ),
            finish(),
        ),
    ),
    answers(
        "choices-null",
        stream(
            say(),
            event(chunk({}, "stop")),
            event(chunk() | {"choices": None, "usage": USAGE}),
            DONE,
        ),
    ),
    answers(
        "all-null",
        stream(
            each_word(
                lambda word: chunk(
                    {**NOTHING, "content": word},
                    error=None,
                    usage=None,
                    system_fingerprint=None,
                    service_tier=None,
                )
            ),
            event(chunk({**NOTHING, "content": None}, "stop", error=None, usage=None)),
            event(chunk(error=None) | {"choices": [], "usage": USAGE}),
            DONE,
        ),
    ),
    answers(
        "content-parts",
        stream(
            each_word(lambda word: chunk({"content": [{"type": "text", "text": word}]})), finish()
        ),
    ),
    answers(
        "message-beside-delta",
        stream(
            each_word(
                lambda word: (
                    chunk()
                    | {
                        "choices": [
                            {
                                "index": 0,
                                "delta": {"content": word},
                                "finish_reason": None,
                                "message": {"role": "assistant", "content": so_far(word)},
                            }
                        ]
                    }
                )
            ),
            finish(),
        ),
    ),
    answers(
        "response-field",
        stream(
            each_word(lambda word: {"response": word}),
            event({"response": "", "usage": USAGE}),
            DONE,
        ),
    ),
    answers("plain-json", document(completion({"content": ANSWER}))),
    case(
        "text-is-json",
        stream(say(*(ABOUT_JSON[at : at + 6] for at in range(0, len(ABOUT_JSON), 6))), finish()),
        Outcome(ABOUT_JSON),
        may_be_late=True,
    ),
    case(
        "text-has-done",
        stream(say("A stream ", "ends with\n", "data: [DONE]", "\n\nand no more."), finish()),
        Outcome(ABOUT_WIRE),
    ),
)
FURTHER: tuple[Case, ...] = (
    answers(
        "bare",
        stream(
            each_word(bare), event({"choices": [{"finish_reason": "stop"}], "usage": USAGE}), DONE
        ),
    ),
    answers(
        "content-parts-in-document",
        document(completion({"content": [{"type": "text", "text": word} for word in WORDS]})),
    ),
    answers(
        "content-part-object",
        stream(
            each_word(lambda word: chunk({"content": {"type": "text", "text": word}})), finish()
        ),
    ),
    answers(
        "content-strings", stream(each_word(lambda word: chunk({"content": [word]})), finish())
    ),
    answers(
        "message-for-delta",
        stream(
            each_word(lambda word: {"choices": [{"index": 0, "message": {"content": word}}]}),
            finish(),
        ),
    ),
    answers(
        "whole-message-last",
        stream(
            say(),
            choices(
                {"index": 0, "delta": {}, "message": {"content": ANSWER}, "finish_reason": "stop"},
                usage=USAGE,
            ),
            DONE,
        ),
    ),
    answers(
        "text-field",
        stream(each_word(lambda word: {"choices": [{"index": 0, "text": word}]}), finish()),
    ),
    answers(
        "text-document",
        document({"choices": [{"text": ANSWER, "finish_reason": "stop"}], "usage": USAGE}),
    ),
    answers(
        "delta-null",
        stream(
            say(), choices({"index": 0, "delta": None, "finish_reason": "stop"}, usage=USAGE), DONE
        ),
    ),
    answers("choice-null", stream(choices(None), say(), finish())),
    answers("choices-missing", stream(event({"id": "c", "object": "ping"}), say(), finish())),
    answers("empty-objects", stream(event({}), say(), event({}), finish())),
    answers(
        "content-null-first",
        stream(event(chunk({"role": "assistant", "content": None})), say(), finish()),
    ),
    answers(
        "role-in-each",
        stream(each_word(lambda word: chunk({"role": "assistant", "content": word})), finish()),
    ),
    answers(
        "role-null",
        stream(each_word(lambda word: chunk({"role": None, "content": word})), finish()),
    ),
    answers(
        "index-text",
        stream(
            each_word(lambda word: {"choices": [{"index": "0", "delta": {"content": word}}]}),
            finish(),
        ),
    ),
    answers(
        "second-choice",
        stream(
            each_word(
                lambda word: (
                    chunk()
                    | {
                        "choices": [
                            {"index": 0, "delta": {"content": word}},
                            {"index": 1, "delta": {"content": "no "}},
                        ]
                    }
                )
            ),
            finish(),
        ),
    ),
    answers(
        "created-float",
        stream(
            each_word(lambda word: chunk({"content": word}) | {"created": 17.5, "id": 12}), finish()
        ),
    ),
    answers(
        "created-text",
        stream(
            each_word(lambda word: chunk({"content": word}) | {"created": "now", "model": None}),
            finish(),
        ),
    ),
    answers(
        "error-empty",
        stream(
            each_word(lambda word: chunk({"content": word}, error={}, code=0, message="")), finish()
        ),
    ),
    answers(
        "error-false",
        stream(
            each_word(lambda word: chunk({"content": word}, error=False, detail=None)), finish()
        ),
    ),
    answers(
        "logprobs",
        stream(
            each_word(
                lambda word: (
                    chunk()
                    | {
                        "choices": [
                            {
                                "index": 0,
                                "delta": {"content": word},
                                "finish_reason": None,
                                "logprobs": {
                                    "content": [
                                        {
                                            "token": word,
                                            "logprob": -0.1,
                                            "bytes": None,
                                            "top_logprobs": [],
                                        }
                                    ]
                                },
                            }
                        ]
                    }
                )
            ),
            finish(),
        ),
    ),
    answers(
        "ollama-native",
        stream(
            paced(
                event(
                    {"model": "x", "message": {"content": word}, "done": False}, field="", end="\n"
                )
                for word in WORDS
            ),
            event(
                {
                    "model": "x",
                    "message": {"role": "assistant", "content": ""},
                    "done": True,
                    "done_reason": "stop",
                    "prompt_eval_count": 11,
                    "eval_count": 7,
                },
                field="",
                end="\n",
            ),
        ),
    ),
    answers("output-text-document", document({"response": ANSWER, "usage": USAGE})),
    answers(
        "wrapped-result",
        document({"success": True, "errors": [], "result": {"response": ANSWER, "usage": USAGE}}),
    ),
    answers("plain-json-as-event", stream(event(completion({"content": ANSWER})), DONE)),
    answers(
        "plain-json-typed-as-stream",
        stream(event(completion({"content": ANSWER}), field="", end="")),
    ),
    answers(
        "plain-json-indented",
        stream(
            event(
                '{\n "choices": [\n  {"message": {"content": "' + ANSWER + '"}}\n ],\n'
                ' "usage": {"prompt_tokens": 11, "completion_tokens": 7}\n}\n',
                field="",
                end="",
            )
        ),
    ),
    answers(
        "citations",
        stream(
            each_word(lambda word: chunk({"content": word}, citations=["a"], search_results=[])),
            finish(),
        ),
    ),
    case(
        "text-is-markup",
        stream(say("<!doctype html>", "<title>", "Lantern", "</title>"), finish()),
        Outcome("<!doctype html><title>Lantern</title>"),
        may_be_late=True,
    ),
    case("text-is-a-number", stream(say("42"), finish()), Outcome("42")),
    case(
        "text-with-blanks",
        stream(say("  a", "  b\n", "\n  c"), finish()),
        Outcome("a  b\n\n  c"),
        Outcome("  a  b\n\n  c"),
    ),
)
