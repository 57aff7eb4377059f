"""Which error a failure of the SDK, its transport or the decoder becomes, and which are retried."""

from collections.abc import AsyncGenerator

import httpx2
import msgspec
import openai
import pytest

from chat.llm.errors import (
    BACKOFF,
    CutOff,
    ModelError,
    model_errors,
    refused_extra,
    seconds_before_retry,
)

REQUEST = httpx2.Request("POST", "http://model.test/v1/chat/completions")


def status(code: int, message: str = "no", **headers: str) -> openai.APIStatusError:
    """Return what the SDK raises for an answer with this HTTP status."""
    response = httpx2.Response(
        code,
        json={"error": {"message": message}},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        request=REQUEST,
    )
    client = openai.AsyncOpenAI(api_key="none")
    return client._make_status_error_from_response(response)


FAILURES = {
    "a wrong key": (status(401), "model_error", False, "OPENAI_API_KEY"),
    "a forbidden model": (status(403), "model_error", False, "OPENAI_API_KEY"),
    "an unknown model": (status(404), "model_error", False, '"m". Set FLEET_MODEL'),
    "too many requests": (status(429), "rate_limited", True, "in a moment"),
    "a rate limit": (status(429, retry_after="7"), "rate_limited", True, "in 7 s"),
    "a long prompt": (
        status(400, "This is beyond the maximum context"),
        "context_too_long",
        False,
        "too long",
    ),
    "a bad request": (status(400), "model_error", False, "status 400"),
    "a broken server": (status(503), "model_unavailable", True, "status 503"),
    "no connection": (
        openai.APIConnectionError(request=REQUEST),
        "model_unavailable",
        True,
        "model.test cannot be reached",
    ),
    "a lost connection": (httpx2.ReadError("gone"), "model_error", True, "cut off"),
    "garbage": (msgspec.DecodeError("no JSON"), "model_error", True, "model.test sent something"),
}


@pytest.mark.parametrize(
    ("failure", "code", "is_retryable", "message"), FAILURES.values(), ids=FAILURES
)
async def test_failure_in_a_stream_is_translated_and_kept_as_the_cause(
    failure: Exception, code: str, is_retryable: bool, message: str
) -> None:
    async def stream() -> AsyncGenerator[str]:
        with model_errors("model.test", "m"):
            yield "text"
            raise failure

    pieces = stream()
    assert await anext(pieces) == "text"
    with pytest.raises(ModelError, match=message) as caught:
        await anext(pieces)
    assert (caught.value.code, caught.value.retryable) == (code, is_retryable)
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("error", [CutOff(), RuntimeError("a bug"), TimeoutError()])
async def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, model_errors("model.test", "m"):
        raise error
    assert caught.value is error
    assert caught.value.__cause__ is None


async def test_stream_can_be_closed_before_its_end() -> None:
    async def stream() -> AsyncGenerator[str]:
        with model_errors("model.test", "m"):
            yield "text"

    pieces = stream()
    await anext(pieces)
    await pieces.aclose()
    assert await anext(pieces, None) is None


@pytest.mark.parametrize(
    ("failure", "extra"),
    [
        (status(400, "Unknown parameter: reasoning_effort"), "reasoning_effort"),
        (status(422, "response_format is not supported"), "response_format"),
        (status(400, "tools are not supported with reasoning_effort"), "reasoning_effort"),
        (status(400, "stream_options is not supported"), None),
        (status(400, "tools exceed the maximum context"), None),
        (status(500, "tools"), None),
    ],
)
def test_refused_extra_is_the_one_of_least_loss(
    failure: openai.APIStatusError, extra: str | None
) -> None:
    request = {"model": "m", "reasoning_effort": "low", "response_format": {}, "tools": []}
    assert refused_extra(failure, request) == extra
    assert refused_extra(failure, {"model": "m"}) is None


@pytest.mark.parametrize(
    ("failure", "attempt", "low", "high"),
    [
        (status(500), 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (status(500), 1, BACKOFF * 1.5, BACKOFF * 2.5),
        (openai.APIConnectionError(request=REQUEST), 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (status(429), 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (status(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), 0, 0, BACKOFF * 1.25),
        (status(429, retry_after="2.5"), 0, 2.5, 2.5),
    ],
)
def test_temporary_failure_is_retried_after_a_wait(
    failure: openai.APIError, attempt: int, low: float, high: float
) -> None:
    wait = seconds_before_retry(failure, attempt)
    assert wait is not None
    assert low <= wait <= high


@pytest.mark.parametrize("failure", [status(429, retry_after="30"), status(400), status(404)])
def test_other_failure_is_not_retried(failure: openai.APIError) -> None:
    assert seconds_before_retry(failure, 0) is None
