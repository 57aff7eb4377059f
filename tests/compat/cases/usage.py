"""What a server counts, and where it says so."""

from ..case import Case, answers
from ..wire import (
    DONE,
    USAGE,
    WORDS,
    Reply,
    chunk,
    event,
    finish,
    say,
    stream,
    usage_chunk,
)
from .fields import choices


def with_usage(usage: object) -> Reply:
    return stream(say(), finish(usage=usage))


HANDED: tuple[Case, ...] = (
    answers("usage-strings", with_usage({"prompt_tokens": "11", "completion_tokens": "7"})),
    answers(
        "usage-null-fields",
        with_usage({"prompt_tokens": None, "completion_tokens": None}),
        is_estimated=True,
    ),
    answers(
        "usage-x-groq",
        stream(say(), event(chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})), DONE),
    ),
    answers("usage-missing", stream(say(), event(chunk({}, "stop")), DONE), is_estimated=True),
)
FURTHER: tuple[Case, ...] = (
    answers(
        "usage-in-each",
        stream(
            [
                event(chunk({"content": word}, usage={"prompt_tokens": 11, "completion_tokens": n}))
                for n, word in enumerate(WORDS)
            ],
            event(chunk({}, "stop", usage=USAGE)),
            DONE,
        ),
    ),
    answers(
        "usage-in-choice",
        stream(
            say(), choices({"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}), DONE
        ),
    ),
    answers(
        "usage-in-delta-chunk",
        stream(say(), event(chunk({"content": ""}, "stop", usage=USAGE)), DONE),
    ),
    answers(
        "usage-after-finish-and-null",
        stream(say(), event(chunk({}, "stop", usage=None)), event(usage_chunk()), DONE),
    ),
    answers("usage-floats", with_usage({"prompt_tokens": 11.0, "completion_tokens": 7.0})),
    answers("usage-other-names", with_usage({"input_tokens": 11, "output_tokens": 7})),
    answers(
        "usage-zeros-first",
        stream(
            event(
                chunk(
                    {"content": ""},
                    usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
                )
            ),
            say(),
            finish(),
        ),
    ),
    answers(
        "usage-empty-object",
        stream(say(), event(chunk({}, "stop", usage={})), DONE),
        is_estimated=True,
    ),
    answers(
        "usage-details",
        with_usage(
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3},
            }
        ),
        more_usage={"cached_tokens": 5, "reasoning_tokens": 3},
    ),
    answers(
        "usage-details-null",
        with_usage(
            {
                **USAGE,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": None},
            }
        ),
    ),
    answers(
        "usage-deepseek-cache",
        with_usage({**USAGE, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 7}),
        more_usage={"cached_tokens": 4},
    ),
    answers(
        "usage-vllm-cache",
        with_usage(
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 8, "created_cache_tokens": 0},
            }
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-moonshot-cache",
        with_usage({**USAGE, "cached_tokens": 4}),
        more_usage={"cached_tokens": 4},
    ),
    answers(
        "usage-anthropic-cache",
        with_usage(
            {
                "input_tokens": 2,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 8,
                "output_tokens": 7,
            }
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-anthropic-cache-by-a-gateway",
        with_usage(
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 8},
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 8,
            }
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-ollama-cache",
        stream(
            say(),
            event(
                chunk({}, "stop", prompt_eval_count=11, prompt_eval_cached_count=8, eval_count=7)
            ),
            DONE,
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-gemini-cache",
        stream(
            say(),
            event(
                chunk(
                    {},
                    "stop",
                    usageMetadata={
                        "promptTokenCount": 11,
                        "cachedContentTokenCount": 8,
                        "candidatesTokenCount": 7,
                        "totalTokenCount": 18,
                    },
                )
            ),
            DONE,
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-llama-cpp-cache-in-timings",
        stream(
            say(),
            event(chunk({}, "stop")),
            event(
                {
                    **usage_chunk(),
                    "timings": {"cache_n": 8, "prompt_n": 3, "predicted_n": 7},
                }
            ),
            DONE,
        ),
        more_usage={"cached_tokens": 8},
    ),
    answers(
        "usage-more-cached-than-read",
        with_usage({**USAGE, "prompt_tokens_details": {"cached_tokens": 4000}}),
        more_usage={"cached_tokens": 11},
    ),
    answers(
        "usage-with-floats-beside",
        with_usage(
            {**USAGE, "cost": 0.0012, "queue_time": 0.1, "cost_details": {"upstream": None}}
        ),
    ),
    answers(
        "usage-timings",
        stream(
            say(),
            event(
                chunk(
                    {},
                    "stop",
                    usage=USAGE,
                    timings={"prompt_n": 11, "predicted_n": 7, "predicted_per_second": 33.1},
                )
            ),
            DONE,
        ),
    ),
)
