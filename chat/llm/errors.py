"""How a model call fails: one error with a readable message, translated from the SDK and its transport."""

import logging
import random
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec
import openai

from chat.protocol.errors import Code

logger = logging.getLogger(__name__)
BACKOFF = 0.25  # seconds before the first retry; doubles
MAX_RETRY_AFTER = 5.0  # seconds; a server that asks for more gets an error in words
# Parts of a request that a server may not know, each with what its refusal names; it is asked without them then. The least loss first.
EXTRAS = {
    "reasoning_effort": ("reasoning_effort", "think"),
    "response_format": ("response_format",),
    "tools": ("tools",),
}
ALL_THINKING = (
    "The model spent all its tokens on thinking and said nothing."
    " Ask for less reasoning effort, or set FLEET_THINKING_TOKENS higher."
)


class ModelError(Exception):
    """A model call that failed; the message tells a person what to do."""

    def __init__(self, code: Code, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retryable = retryable


class EmptyAnswer(ModelError):
    """The model ended without a word."""

    def __init__(self, message: str = "The model gave an empty answer.") -> None:
        super().__init__("model_error", message)


class ErrorsInWords:
    """Turns what the SDK, its transport and the decoder raise into ModelError."""

    def __init__(self, place: str, model: str) -> None:
        self._place = place
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object
    ) -> None:
        match exc:
            case openai.APIStatusError():
                raise self._of_status(exc) from exc
            case openai.APIConnectionError() | httpx2.ConnectError():
                raise ModelError(
                    "model_unavailable", f"The model at {self._place} cannot be reached."
                ) from exc
            case httpx2.HTTPError() | httpx2.StreamError():
                raise ModelError(
                    "model_error", "The model's answer was cut off. What came so far is kept."
                ) from exc
            case msgspec.DecodeError():
                raise ModelError(
                    "model_error",
                    f"The model server at {self._place} sent something that is not an answer.",
                ) from exc

    def _of_status(self, exc: openai.APIStatusError) -> ModelError:
        status = exc.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ModelError(
                "model_error",
                f"The model server at {self._place} refused the key. Set OPENAI_API_KEY.",
                retryable=False,
            )
        if status == HTTPStatus.NOT_FOUND:
            message = (
                f'The model server at {self._place} does not know "{self._model}". Set FLEET_MODEL.'
            )
            return ModelError("model_error", message, retryable=False)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = retry_after(exc)
            again = f" Try again in {seconds:.0f} s." if seconds else " Try again in a moment."
            return ModelError("rate_limited", "The model is busy." + again)
        if is_too_long(exc):
            message = "This conversation is too long for the model. Start a new one, or ask something shorter."
            return ModelError("context_too_long", message, retryable=False)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ModelError(
                "model_unavailable",
                f"The model server at {self._place} has a problem (status {status}).",
            )
        return ModelError(
            "model_error",
            f"The model server at {self._place} did not take the request (status {status}).",
            retryable=False,
        )


def refused_extra(exc: openai.APIError, request: dict[str, Any]) -> str | None:
    """The part of a request that the server says it cannot take, if the request makes sense without it."""
    if not isinstance(exc, openai.BadRequestError | openai.UnprocessableEntityError) or is_too_long(
        exc
    ):
        return None
    return next(
        (
            extra
            for extra, names in EXTRAS.items()
            if extra in request and any(name in exc.message for name in names)
        ),
        None,
    )


def seconds_before_retry(exc: openai.APIError, attempt: int) -> float | None:
    """How long to wait before another try, or None where none would help."""
    wait: float = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    if isinstance(exc, openai.APIConnectionError):
        return wait
    if isinstance(exc, openai.RateLimitError):
        asked = retry_after(exc)
        return (asked or wait) if (asked or 0) <= MAX_RETRY_AFTER else None
    if isinstance(exc, openai.InternalServerError):
        return wait
    return None


def retry_after(exc: openai.APIStatusError) -> float | None:
    value: str = exc.response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdecimal() else None


def is_too_long(exc: openai.APIStatusError) -> bool:
    words = f"{exc.code or ''} {exc.type or ''} {exc.message}".lower()
    return exc.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) and (
        "context_length" in words
        or "exceed_context" in words
        or "context size" in words
        or "maximum context" in words
    )
