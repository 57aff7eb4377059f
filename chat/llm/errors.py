"""How a model call fails. Errors of the SDK and its transport are translated here.

ModelError
  EmptyAnswer
  CutOff
  FirstChunkTimeout
  ChunkTimeout
  ErrorChunk
  ServerError (in verdicts.py): the server's own complaint, or it can't be reached
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec
import openai

from chat.protocol.errors import Code
from chat.protocol.terms import Usage

BACKOFF = 0.25  # Seconds before the first retry. Each further retry waits twice as long.
MAX_RETRY_AFTER = 5.0  # Seconds. If a server asks for a longer wait, the call fails.
ALL_THINKING = (
    "The model spent all its tokens on thinking and said nothing. Ask for less reasoning effort."
)
MORE_THINKING = "Or set FLEET_THINKING_TOKENS higher."
# The parts of a request that it makes sense without, each with the names that a refusal may use.
# The least loss comes first, because one refusal may name several parts.
EXTRAS = {
    "reasoning_effort": ("reasoning_effort", "think"),
    "response_format": ("response_format",),
    "tools": ("tools",),
}
TOO_LONG = ("context_length", "exceed_context", "context size", "maximum context")


class ModelError(Exception):
    """A model call failed.

    The message is for every reader. `advice` is for those who run the fleet: it may name hosts and
    settings.
    """

    def __init__(
        self, code: Code, message: str, *, retryable: bool = True, advice: str = ""
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retryable = retryable
        self.advice = advice


class EmptyAnswer(ModelError):
    """The model finished without text and without tool calls. `usage` is the server's count."""

    def __init__(
        self,
        message: str = "The model gave an empty answer.",
        usage: Usage | None = None,
        *,
        retryable: bool = True,
        advice: str = "",
    ) -> None:
        super().__init__("model_error", message, retryable=retryable, advice=advice)
        self.usage = usage


class CutOff(ModelError):
    """The connection or the stream ended before the answer did."""

    def __init__(self) -> None:
        super().__init__("model_error", "The model's answer was cut off. What came so far is kept.")


class FirstChunkTimeout(ModelError):
    """The answer did not begin in time."""

    def __init__(self) -> None:
        super().__init__("first_chunk_timeout", "The model did not answer in time.")


class ChunkTimeout(ModelError):
    """The answer began, but then the server sent nothing for too long."""

    def __init__(self) -> None:
        super().__init__(
            "idle_timeout", "The model stopped in mid-answer. What came so far is kept."
        )


class ErrorChunk(ModelError):
    """The server sent an error instead of the rest of the answer."""

    def __init__(self, server: str) -> None:
        super().__init__(
            "model_error", f"The model server at {server} reported an error in mid-answer."
        )


@contextmanager
def model_errors(server: str, model: str) -> Iterator[None]:
    """Translate what the SDK, its transport and the decoder raise into ModelError."""
    try:
        yield
    except openai.APIStatusError as exc:
        raise error_of_status(exc, server, model) from exc
    except (openai.APIConnectionError, httpx2.ConnectError) as exc:
        message = f"The model at {server} cannot be reached."
        raise ModelError("model_unavailable", message) from exc
    except (httpx2.HTTPError, httpx2.StreamError) as exc:
        raise CutOff from exc
    except msgspec.DecodeError as exc:
        message = f"The model server at {server} sent something that is not an answer."
        raise ModelError("model_error", message) from exc


def error_of_status(exc: openai.APIStatusError, server: str, model: str) -> ModelError:
    """Return the error that an HTTP status of the model server means to a reader."""
    status = exc.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        message = f"The model server at {server} refused the key. Set OPENAI_API_KEY."
        return ModelError("model_error", message, retryable=False)
    if status == HTTPStatus.NOT_FOUND:
        message = f'The model server at {server} does not know "{model}". Set FLEET_MODEL.'
        return ModelError("model_error", message, retryable=False)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        seconds = retry_after(exc)
        when = f"in {seconds:.0f} s" if seconds else "in a moment"
        return ModelError("rate_limited", f"The model is busy. Try again {when}.")
    if is_too_long(exc):
        message = (
            "This conversation is too long for the model."
            " Start a new one, or ask something shorter."
        )
        return ModelError("context_too_long", message, retryable=False)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"The model server at {server} has a problem (status {status})."
        return ModelError("model_unavailable", message)
    message = f"The model server at {server} did not take the request (status {status})."
    return ModelError("model_error", message, retryable=False)


def refused_extra(exc: openai.APIError, request: dict[str, Any]) -> str | None:
    """Return the extra of `request` that the server refuses, or None if that isn't the problem."""
    if not isinstance(exc, openai.BadRequestError | openai.UnprocessableEntityError):
        return None
    if is_too_long(exc):
        return None
    for extra, names in EXTRAS.items():
        if extra in request and any(name in exc.message for name in names):
            return extra
    return None


def seconds_before_retry(exc: openai.APIError, attempt: int) -> float | None:
    """Return how long to wait before the next attempt, or None if a retry wouldn't help."""
    wait: float = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    if isinstance(exc, openai.RateLimitError):
        asked = retry_after(exc) or 0
        return (asked or wait) if asked <= MAX_RETRY_AFTER else None
    if isinstance(exc, openai.APIConnectionError | openai.InternalServerError):
        return wait
    return None


def retry_after(exc: openai.APIStatusError) -> float | None:
    """Return the seconds of the Retry-After header; None if it is missing or holds a date."""
    value: str = exc.response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdecimal() else None


def is_too_long(exc: openai.APIStatusError) -> bool:
    """Return True if the request exceeds the model's context. Servers word this differently."""
    if exc.status_code not in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        return False
    said = f"{exc.code or ''} {exc.type or ''} {exc.message}".lower()
    return any(phrase in said for phrase in TOO_LONG)
