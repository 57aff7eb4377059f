"""Refusals and failures as programs get them over HTTP: OpenAI's error object, at every door."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import msgspec
from msgspec import UNSET

from chat.access.tokens import SCOPES
from chat.protocol.errors import (
    FORBIDDEN,
    UNKNOWN_ASKER,
    Code,
    ErrorInfo,
    ProtocolError,
    token_lacks,
)

MISSING_SCOPES = frozenset(token_lacks(scope) for scope in SCOPES)


class ErrorObject(msgspec.Struct, frozen=True):
    """What went wrong, in the words of OpenAI's API. `param` is the field that is wrong."""

    message: str
    type: str
    code: str
    param: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    error: ErrorObject


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of error is told over HTTP.

    `code` is set if the wire has another one. `retry`: SDKs may ask again by themselves; None
    leaves it to the error.
    """

    status: int
    type: str
    code: str = ""
    retry: bool | None = False


INVALID, LIMITED, FAILED = "invalid_request_error", "rate_limit_error", "api_error"
UNAUTHENTICATED = Kind(401, "authentication_error", "invalid_api_key")
LACKS_SCOPE = Kind(403, "permission_error", "insufficient_scope")
NOT_FOUND = Kind(404, INVALID, "not_found")
KINDS: dict[Code, Kind] = {
    "bad_request": Kind(400, INVALID),
    "handshake_timeout": Kind(408, INVALID),
    "forbidden": Kind(403, "permission_error"),
    "conversation_busy": Kind(409, "conflict_error", retry=True),
    "too_many_runs": Kind(429, LIMITED, "rate_limit_exceeded", retry=True),
    "too_many_requests": Kind(429, LIMITED, "rate_limit_exceeded", retry=True),
    "quota_exceeded": Kind(429, "insufficient_quota", "insufficient_quota"),
    "rate_limited": Kind(429, LIMITED, retry=None),
    "context_too_long": Kind(400, INVALID, "context_length_exceeded"),
    "already_answered": Kind(409, "conflict_error"),
    "expired": Kind(409, "conflict_error"),
    "invalid_arguments": Kind(400, INVALID),
    "model_unavailable": Kind(502, FAILED),
    "model_error": Kind(502, FAILED),
    "first_chunk_timeout": Kind(504, FAILED),
    "idle_timeout": Kind(504, FAILED),
    "max_runtime": Kind(504, FAILED),
    "worker_lost": Kind(503, FAILED),
    "shutting_down": Kind(503, FAILED, retry=True),
    "storage_unavailable": Kind(503, FAILED, retry=True),
    "internal": Kind(500, FAILED),
}
# Seconds until SDKs ask again, if the error doesn't say it.
WAITS: dict[Code, float] = {
    "conversation_busy": 1,
    "shutting_down": 2,
    "storage_unavailable": 2,
}


class Refusal(Exception):
    """An answer that is an error: its status and object, and headers that say what to do."""

    def __init__(
        self, status: int, error: ErrorObject, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(ErrorBody(self.error))

    @classmethod
    def of(cls, exc: "Refusal | ProtocolError") -> "Refusal":
        return exc if isinstance(exc, Refusal) else refusal_of(exc.error)


def kind_of(error: ErrorInfo) -> Kind:
    if error in UNKNOWN_ASKER:
        return UNAUTHENTICATED
    if error in MISSING_SCOPES:
        return LACKS_SCOPE
    if error == FORBIDDEN:
        return NOT_FOUND
    return KINDS[error.code]


def object_of(error: ErrorInfo, *, param: str | None = None) -> ErrorObject:
    """Return the error as a program reads it, also in mid-stream."""
    kind = kind_of(error)
    return ErrorObject(error.message, kind.type, kind.code or error.code, param)


def refusal_of(
    error: ErrorInfo, *, param: str | None = None, may_retry: bool | None = None
) -> Refusal:
    """Return the error as a whole response.

    `may_retry` is what SDKs may do if the kind leaves it open: not after a run that has cost
    something.
    """
    kind = kind_of(error)
    retry = kind.retry if kind.retry is not None else may_retry
    headers = {} if retry is None else {"x-should-retry": str(retry).lower()}
    wait = error.retry_after_s if error.retry_after_s is not UNSET else WAITS.get(error.code)
    if wait is not None:
        headers["retry-after"] = str(ceil(wait))
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Refusal(kind.status, object_of(error, param=param), headers)


def bad(message: str, param: str | None) -> Refusal:
    """Return the refusal of a request of which this field can't be read."""
    return refusal_of(ErrorInfo("bad_request", message), param=param)


def refused(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Return the refusal of a request that is wrong in a way that only HTTP knows."""
    return Refusal(status, ErrorObject(message, INVALID, code, param), headers)
