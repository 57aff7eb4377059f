"""Every refusal and failure that a client can be told of, with its close code."""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from tooling.sentences import sentence

Code = Literal[
    "bad_request",
    "handshake_timeout",
    "forbidden",
    "conversation_busy",
    "too_many_runs",
    "too_many_requests",
    "quota_exceeded",
    "rate_limited",
    "context_too_long",
    "already_answered",
    "expired",
    "invalid_arguments",
    "model_unavailable",
    "model_error",
    "first_chunk_timeout",
    "idle_timeout",
    "max_runtime",
    "worker_lost",
    "shutting_down",
    "storage_unavailable",
    "internal",
]


class ErrorInfo(Struct, frozen=True):
    """What went wrong: `code` for programs, `message` for people.

    `retry_after_s`: seconds until it may be tried again; left out if that is not known.
    """

    code: Code
    message: str
    retryable: bool = False
    retry_after_s: float | UnsetType = UNSET


class ProtocolError(Exception):
    """A frame or request that is refused."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(error.message)
        self.error = error


# When a question may be asked again, as parts of messages. Pages count the seconds down.
IN_A_MOMENT = sentence("in a moment")
IN_SECONDS = sentence("in %(seconds)s s")
LATER = sentence("later")
TRY_AGAIN = sentence("Try again %(when)s.")
AGAIN = TRY_AGAIN % {"when": IN_A_MOMENT}
# What stands in a message before the words of a model server.
SERVER_SAYS = " The server says: "
sentence('The server says: "%(words)s"')

FORBIDDEN = ErrorInfo(
    "forbidden", sentence("This conversation does not exist, or it is not yours.")
)


WORKER_LOST = ErrorInfo(
    "worker_lost",
    sentence("The server restarted during this answer. What came so far is kept."),
    retryable=True,
)
CONVERSATION_BUSY = ErrorInfo(
    "conversation_busy", sentence("This conversation is still answering."), retryable=True
)
REUSED_MESSAGE_ID = ErrorInfo("bad_request", "This message_id was used for another text.")
REUSED_BY_REPLY = ErrorInfo("bad_request", "This message_id was used for another request.")
UNKNOWN_MESSAGE_ID = ErrorInfo(
    "bad_request", "after is for rejoining; this message_id is not known."
)
OTHER_TEXT = ErrorInfo("bad_request", "`message` must repeat the text of the run in `rerun_of`.")
NO_TEAM = ErrorInfo(
    "bad_request",
    sentence(
        "The full team needs a better model than the stand-in. Ask in the mode auto or light."
    ),
)
OTHER_VERSION = ErrorInfo(
    "internal",
    sentence(
        "Another version of this server wrote how this answer ended. What came of it is kept."
    ),
)
RESTARTING = sentence("The server is restarting.")
NO_NEW_RUNS = ErrorInfo("shutting_down", f"{RESTARTING} {AGAIN}", retryable=True)
SHUTTING_DOWN = ErrorInfo(
    "shutting_down",
    sentence("The server restarted during this answer. What came so far is kept."),
    retryable=True,
)
IDLE_TIMEOUT = ErrorInfo(
    "idle_timeout",
    sentence("The model did not answer in time. What came so far is kept."),
    retryable=True,
)
MAX_RUNTIME = ErrorInfo(
    "max_runtime", sentence("The answer took too long. What came so far is kept."), retryable=True
)
ALREADY_ANSWERED = ErrorInfo("already_answered", sentence("This was answered elsewhere."))
EXPIRED = ErrorInfo("expired", sentence("This has waited too long. Ask again."))
MISSING_REPLY = ErrorInfo("bad_request", "Each open ask of the run in `continues` needs a reply.")
UNKNOWN_ASK = ErrorInfo("bad_request", "An `ask_id` is not of the run in `continues`.")
NOT_PERMITTED = ErrorInfo(
    "forbidden", sentence("Only staff with the permission for this may decide it.")
)
INTERNAL = ErrorInfo(
    "internal", sentence("Something went wrong here. It is in the server's log."), retryable=True
)
ENDING_NOT_STORED = ErrorInfo(
    "storage_unavailable",
    sentence(
        "The answer could not be stored yet. It is kept here and stored as soon as it can be."
    ),
    retryable=True,
)
NO_DATABASE = sentence("The database does not answer.")
STORAGE_UNAVAILABLE = ErrorInfo("storage_unavailable", f"{NO_DATABASE} {AGAIN}", retryable=True)


# Characters of one frame: the longest message, every character escaped, fits.
MAX_REQUEST_CHARS = 512 * 1024
CLOSE_OF: dict[Code, int] = {
    "bad_request": 4400,
    "forbidden": 4403,
    "handshake_timeout": 4408,
    "already_answered": 4409,
    "expired": 4410,
    "invalid_arguments": 4400,
    "conversation_busy": 4429,
    "too_many_runs": 4429,
    "too_many_requests": 4429,
    "quota_exceeded": 4429,
}
MAX_NAMED = 20  # models that a refusal lists
TRY_AGAIN_LATER = 1013
UNAUTHENTICATED = 4401
INTERNAL_ERROR = 1011

FOREIGN_ORIGIN = ErrorInfo(
    "forbidden",
    sentence("The server does not know the address of this page as its own. Its log says more."),
)
UNKNOWN_HOST = ErrorInfo(
    "forbidden", sentence("The server does not answer to this name. Its log says more.")
)
NEEDS_UPGRADE = ErrorInfo(
    "bad_request",
    "A WebSocket is opened here, and this was a plain request. If a client tried to open one, a"
    " proxy on the way does not pass the headers Upgrade and Connection on.",
)
NO_SUCH_SOCKET = ErrorInfo("bad_request", "There is no socket at this path.")
NOT_SIGNED_IN = ErrorInfo("forbidden", sentence("Sign in first."))
OTHER_ACCOUNT = ErrorInfo(
    "forbidden", sentence("You are no longer signed in as the reader of this page. Reload it.")
)
SIGN_IN_ENDED = ErrorInfo("forbidden", sentence("This sign-in has ended. Reload the page."))
TOKEN_ENDED = ErrorInfo("forbidden", "This token counts no longer.")
NO_SESSION = ErrorInfo("forbidden", sentence("This browser's session has ended. Reload the page."))
# What only programs read.
API_IS_OFF = ErrorInfo("forbidden", "This server has no API for programs.")
TOKEN_NEEDED = ErrorInfo(
    "forbidden", "Programs need a token here: send the header Authorization: Bearer fleet_…"
)
UNKNOWN_TOKEN = ErrorInfo("forbidden", "This token is not known here. Check that it is complete.")
REVOKED_TOKEN = ErrorInfo("forbidden", "This token was revoked.")
EXPIRED_TOKEN = ErrorInfo("forbidden", "This token has expired. Make a new one.")
INACTIVE_TOKEN = ErrorInfo("forbidden", "The account of this token is not active.")
UNKNOWN_TICKET = ErrorInfo(
    "forbidden", "This ticket is not known here: each opens one socket, within 60 s."
)
OTHER_ORIGIN = ErrorInfo("forbidden", "This ticket was made for pages of another site.")
ONLY_ITS_OWN_RUN = ErrorInfo(
    "forbidden",
    "A program without a token reaches only the run of its own message_id. To go on with a"
    " conversation, send the header Authorization: Bearer with a token of this server, or with a"
    " key of your own making that has at least 32 characters and is the same each time.",
)
# Refusals of sockets that don't say, or say no longer, who asks.
UNKNOWN_ASKER = frozenset(
    {
        NOT_SIGNED_IN,
        NO_SESSION,
        OTHER_ACCOUNT,
        SIGN_IN_ENDED,
        TOKEN_ENDED,
        TOKEN_NEEDED,
        UNKNOWN_TOKEN,
        REVOKED_TOKEN,
        EXPIRED_TOKEN,
        INACTIVE_TOKEN,
        UNKNOWN_TICKET,
    }
)
TOO_LARGE = ErrorInfo("bad_request", f"A frame has at most {MAX_REQUEST_CHARS:,} characters.")
HANDSHAKE_TIMEOUT = ErrorInfo(
    "handshake_timeout", sentence("No request came in time."), retryable=True
)


NOT_OFFERED = sentence(
    'The model "%(model)s" isn\'t offered; null chooses by itself. Offered: %(others)s.'
)
UNFIT_ARGUMENTS = sentence("These arguments do not fit: %(faults)s.")


def close_code_of(error: ErrorInfo) -> int:
    """Return the code with which a socket closes after a refusal."""
    if error in UNKNOWN_ASKER:
        return UNAUTHENTICATED
    return CLOSE_OF.get(error.code, TRY_AGAIN_LATER)


def not_offered(model: str, offered: Sequence[str]) -> ErrorInfo:
    """Refuse a model, and name those that can be chosen."""
    return ErrorInfo(
        "bad_request",
        NOT_OFFERED % {"model": model, "others": named(offered)},
    )


def not_allowed(model: str, allowed: Sequence[str]) -> ErrorInfo:
    """Refuse a model that a token may not use, and name those that it may."""
    return ErrorInfo(
        "forbidden", f'This token may not use the model "{model}". It may use: {named(allowed)}.'
    )


def named(models: Sequence[str]) -> str:
    rest = len(models) - MAX_NAMED
    listed = ", ".join(models[:MAX_NAMED])
    return f"{listed} and {rest:,} more" if rest > 0 else listed


def token_lacks(scope: str) -> ErrorInfo:
    return ErrorInfo("forbidden", f'This token has no scope "{scope}".')


def unfit_reply(reason: str) -> ErrorInfo:
    return ErrorInfo("bad_request", f"This reply does not fit: {reason}.")


def invalid_arguments(faults: Iterable[str]) -> ErrorInfo:
    return ErrorInfo("invalid_arguments", UNFIT_ARGUMENTS % {"faults": "; ".join(faults)})
