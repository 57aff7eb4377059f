"""Read a server's count of tokens, whatever it calls its numbers and wherever it puts them."""

from collections.abc import Mapping
from math import isfinite

from msgspec import structs

from .normal import TokenCount

MAX_COUNTED_TOKENS = 10_000_000  # Tokens of one call: a column stores the sum of many calls.
MAX_DIGITS = 20  # Digits of a number that is written as a string.


def spelled(*names: str) -> dict[str, str]:
    """Return the names with underscores and in camel case, each with the first of them."""
    camel = (first + "".join(map(str.title, rest)) for first, *rest in map(split_name, names))
    return dict.fromkeys([*names, *camel], names[0])


def split_name(name: str) -> list[str]:
    return name.split("_")


# What servers call their numbers, and what they mean.
INPUT, OUTPUT, TOTAL = "prompt_tokens", "completion_tokens", "total_tokens"
CACHED, CREATED, REASONING = "cached_tokens", "cache_creation_input_tokens", "reasoning_tokens"
ANTHROPIC_CACHED, GEMINI_REASONING = "cache_read_input_tokens", "thoughts_token_count"
NAMES = (
    spelled(
        INPUT,
        "input_tokens",
        "prompt_eval_count",
        "prompt_token_count",
        "input_token_count",
        "tokens_evaluated",
    )
    | spelled(
        OUTPUT,
        "output_tokens",
        "eval_count",
        "candidates_token_count",
        "output_token_count",
        "completion_token_count",
        "generated_tokens",
        "tokens_predicted",
    )
    | spelled(TOTAL, "total_token_count")
    | spelled(
        CACHED,
        "prompt_cache_hit_tokens",
        "cached_content_token_count",
        "prompt_eval_cached_count",
        "cached_input_tokens",
        "num_cached_tokens",
    )
    | spelled(ANTHROPIC_CACHED)
    | spelled(CREATED)
    | spelled(REASONING, "thinking_tokens")
    | spelled(GEMINI_REASONING)
)
DETAILS = {
    name
    for details in ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
    for name in spelled(f"{details}_details")
}


def usage_in(document: Mapping[str, object]) -> TokenCount | None:
    """Return the tokens that a chunk counts at an unusual place. Return None if it counts none.

    Ollama counts in the chunk itself. Others use a name of their own, such as `x_groq`, for an
    object that counts or that has a `usage`.
    """
    if count := token_count(document):
        return count
    for place in document.values():
        if isinstance(place, dict):
            usage = place.get("usage")
            if isinstance(usage, dict) and (count := token_count(usage)):
                return count
            if count := token_count(place):
                return count
    return None


def token_count(usage: Mapping[str, object]) -> TokenCount | None:
    """Return the tokens in an object that counts them; None if it doesn't, or counts none."""
    counts = numbers_in(usage)
    if not counts:
        return None
    read, written = counts.get(INPUT), counts.get(OUTPUT)
    cached = counts.get(CACHED) or counts.get(ANTHROPIC_CACHED, 0)
    reasoning = counts.get(REASONING, 0)
    if ANTHROPIC_CACHED in counts and "prompt_tokens" not in usage:
        # Anthropic counts cached tokens apart from the others.
        read = (read or 0) + counts[ANTHROPIC_CACHED] + counts.get(CREATED, 0)
    if GEMINI_REASONING in counts:
        # Gemini counts thoughts apart from the answer.
        reasoning = counts[GEMINI_REASONING]
        written = (written or 0) + reasoning
    if total := counts.get(TOTAL):
        if read is None:
            read = max(0, total - (written or 0))
        elif written is None:
            written = max(0, total - read)
        elif reasoning and read + written + reasoning == total:
            # xAI counts reasoning apart from the answer.
            written += reasoning
    if not read and not written:
        return None
    return TokenCount(
        storable(read or 0),
        storable(written or 0),
        # Costs and shares rely on it: what was cached is a part of what was read.
        storable(min(cached, read or 0)),
        storable(reasoning),
    )


def numbers_in(usage: Mapping[str, object]) -> dict[str, int]:
    """Return the numbers of an object that counts tokens, by their first names in NAMES."""
    counts: dict[str, int] = {}
    for name, value in usage.items():
        if value is None:
            continue
        if name in NAMES:
            count = number(value)
            # Gateways fill several names, some of them with 0.
            if count is not None and not counts.get(NAMES[name]):
                counts[NAMES[name]] = count
        elif name in DETAILS and isinstance(value, dict):
            counts = numbers_in(value) | counts
    return counts


def timed_count(timings: object) -> TokenCount | None:
    """Return the tokens that llama.cpp counts beside the time it took."""
    if not isinstance(timings, dict):
        return None
    new, cached, written = (
        storable(number(timings.get(name)) or 0) for name in ("prompt_n", "cache_n", "predicted_n")
    )
    if not new and not cached and not written:
        return None
    return TokenCount(storable(new + cached), written, cached)


def with_cached(count: TokenCount, timings: object) -> TokenCount:
    """Return the count with the cached tokens that llama.cpp counts beside its usage alone."""
    timed = timed_count(timings)
    if timed is None or count.cached:
        return count
    return structs.replace(count, cached=min(timed.cached, count.input))


def merged(old: TokenCount | None, new: TokenCount) -> TokenCount:
    """Return the newer count, with what it lacks from the older one.

    Anthropic counts the input at the beginning of an answer and the output at its end.
    """
    if old is None:
        return new
    read = new.input or old.input
    if old.cached and not new.cached:
        # The newer input may lack what was cached, too.
        read = max(new.input, old.input)
    return TokenCount(
        read,
        new.output or old.output,
        new.cached or old.cached,
        new.reasoning or old.reasoning,
    )


def number(value: object) -> int | None:
    """Return a number that may be a float or written as a string; None if it is none."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value)


def storable(tokens: int) -> int:
    """Return a count of tokens, limited to what a column can hold."""
    return min(max(0, tokens), MAX_COUNTED_TOKENS)
