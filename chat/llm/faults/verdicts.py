"""Decide what a model server's complaint means, and what readers, operators and the client get."""

import logging
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus

from chat.access.owners import everybody_is_operator
from chat.llm.errors import ModelError
from chat.llm.local_servers import start_again
from chat.llm.servers import as_in_file, name_at
from chat.protocol.errors import IN_A_MOMENT, IN_SECONDS, LATER, SERVER_SAYS, TRY_AGAIN, Code
from tooling.sentences import sentence
from tooling.untrusted import cut, one_line

from . import wordings
from .complaints import Complaint, complaint_of
from .redaction import without_keys, without_places

logger = logging.getLogger(__name__)

MAX_NAMED_WAIT = 9999  # Seconds. A page can't count down longer waits.
MAX_WORDS_CHARS = 300  # of the server's words, for a reader
MAX_ADVICE_CHARS = 600
MAX_LOG_CHARS = 2000
MAX_LOGGED_WORDS = 800
MAX_LOGGED_CAUSE = 300
STATUS = sentence("It answered with status %(status)s.")
CONNECTION_FAILED = sentence("The connection failed: %(reason)s")


class Kind(StrEnum):
    """The kinds of complaints. The table HANDLING has a row for each."""

    WRONG_KEY = "wrong key"
    FORBIDDEN = "forbidden"
    NO_CREDIT = "no credit"
    RATE_LIMITED = "rate limit"
    TOO_LONG = "too long"
    UNKNOWN_MODEL = "unknown model"
    WRONG_PATH = "wrong path"
    REFUSED_PART = "refused part"
    FILTERED = "filtered"
    OVERLOADED = "overloaded"
    LOADING = "loading"
    MAINTENANCE = "maintenance"
    NOT_A_MODEL = "not a model"
    TEMPORARY = "temporary"
    BAD_REQUEST = "bad request"
    REPORTED = "reported"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Handling:
    """What follows from a kind of complaint.

    `words` are for every reader. `advice` is for operators, with places for %(server)s and
    %(model)s. `again` says when the reader may try again, if the server doesn't.
    """

    code: Code
    words: str
    advice: str
    again: str = ""
    is_retried: bool = False  # by the client, while nothing of the answer was shown
    retryable: bool = False  # by the reader: the same question may succeed later

    @property
    def sentence(self) -> str:
        """What a reader sees if the server asks for no wait."""
        return f"{self.words} {TRY_AGAIN % {'when': self.again}}" if self.again else self.words


HANDLING: dict[Kind, Handling] = {
    Kind.WRONG_KEY: Handling(
        "model_error",
        sentence("The model server refused the key."),
        sentence("Set OPENAI_API_KEY to a key of %(server)s."),
    ),
    Kind.FORBIDDEN: Handling(
        "model_error",
        sentence("The model server does not allow this request."),
        sentence(
            'Check that the key in OPENAI_API_KEY may use "%(model)s" at %(server)s, and from this'
            " place."
        ),
    ),
    Kind.NO_CREDIT: Handling(
        "model_error",
        sentence("The account at the model server has no credit left."),
        sentence("Add credit to the account of OPENAI_API_KEY at %(server)s."),
    ),
    Kind.RATE_LIMITED: Handling(
        "rate_limited",
        sentence("The model is busy."),
        sentence('The limits for "%(model)s" are set at %(server)s.'),
        again=IN_A_MOMENT,
        is_retried=True,
        retryable=True,
    ),
    Kind.TOO_LONG: Handling(
        "context_too_long",
        sentence(
            "This conversation is too long for the model. Start a new one, or ask something"
            " shorter."
        ),
        sentence('Set FLEET_CONTEXT_TOKENS to fewer tokens than "%(model)s" reads at %(server)s.'),
    ),
    Kind.UNKNOWN_MODEL: Handling(
        "model_error",
        sentence("The model server does not know the model."),
        sentence('It is "%(model)s" at %(server)s. Set FLEET_MODEL to a model that it has.'),
    ),
    Kind.WRONG_PATH: Handling(
        "model_error",
        sentence("The model server has nothing at the address that was asked."),
        sentence(
            "Check the path in OPENAI_BASE_URL: that of most servers, here %(server)s, ends with"
            " /v1."
        ),
    ),
    Kind.REFUSED_PART: Handling(
        "model_error",
        sentence("The model server does not support a part of the request."),
        sentence(
            '"%(model)s" at %(server)s cannot be asked without this part. Set FLEET_MODEL to'
            " another one."
        ),
    ),
    Kind.FILTERED: Handling(
        "model_error",
        sentence("The model server's content filter rejected the request."),
        sentence('The filter belongs to %(server)s or to "%(model)s" there.'),
    ),
    Kind.OVERLOADED: Handling(
        "model_unavailable",
        sentence("The model server is overloaded."),
        sentence("This came from %(server)s."),
        again=IN_A_MOMENT,
        is_retried=True,
        retryable=True,
    ),
    Kind.LOADING: Handling(
        "model_unavailable",
        sentence("The model is still loading."),
        sentence(
            'Set FLEET_FIRST_CHUNK_TIMEOUT higher if %(server)s takes long to load "%(model)s".'
        ),
        again=IN_A_MOMENT,
        is_retried=True,
        retryable=True,
    ),
    Kind.MAINTENANCE: Handling(
        "model_unavailable",
        sentence("The model server is under maintenance."),
        sentence("This came from %(server)s."),
        again=LATER,
        retryable=True,
    ),
    Kind.NOT_A_MODEL: Handling(
        "model_error",
        sentence("What the server sent is not an answer of a model."),
        sentence(
            "Check OPENAI_BASE_URL: is %(server)s a model server? The path of most ends with /v1."
            " A page that asks to sign in comes from a proxy or portal in between."
        ),
    ),
    Kind.TEMPORARY: Handling(
        "model_unavailable",
        sentence("The model server has a problem."),
        sentence("The log of %(server)s may say more."),
        again=IN_A_MOMENT,
        is_retried=True,
        retryable=True,
    ),
    Kind.BAD_REQUEST: Handling(
        "model_error",
        sentence("The model server did not take the request."),
        sentence('This came from %(server)s, which was asked for "%(model)s" (FLEET_MODEL).'),
    ),
    Kind.REPORTED: Handling(
        "model_error",
        sentence("The model server reported an error."),
        sentence('This came from %(server)s, which was asked for "%(model)s" (FLEET_MODEL).'),
        retryable=True,
    ),
    Kind.UNREACHABLE: Handling(
        "model_unavailable",
        sentence("The model server cannot be reached."),
        sentence("It is %(server)s. Set OPENAI_BASE_URL to a model server that runs."),
        is_retried=True,
        retryable=True,
    ),
}


class ServerError(ModelError):
    """The server sent a complaint instead of an answer, or of the rest of one."""

    def __init__(self, kind: Kind, complaint: Complaint, message: str, advice: str) -> None:
        handling = HANDLING[kind]
        super().__init__(handling.code, message, retryable=handling.retryable, advice=advice)
        self.kind = kind
        self.complaint = complaint
        self.wait = complaint.wait


# --- From a complaint to its kind

# Names of exceptions before the words, as gateways put them there.
CLASSES = re.compile(r"^(?:[\w.]*(?:Error|Exception)(?: -|:) )+(?=\S)")
ACCESS = frozenset({401, 402, 403, 407, 451})
CLIENT_FAULTS = frozenset({400, 404, 405, 406, 415, 422})
TEMPORARY_FAULTS = frozenset({408, 409, 424, 425})
TOO_LARGE = frozenset({413, 414, 431})
OVERLOADED = frozenset({498, 503, 529})
NOT_IMPLEMENTED = frozenset({501, 505})


def kind_of(complaint: Complaint) -> Kind:
    """Return the kind of a complaint, from its status, code, type and words."""
    named = (complaint.code, complaint.type, complaint.marks, complaint.words)
    said = "\n".join(named).lower()
    if complaint.is_markup:
        return kind_of_page(complaint.status, said)
    return (
        kind_of_limit(complaint, said)
        or kind_of_state(complaint.status, said)
        or kind_of_access(complaint.status, said)
        or kind_of_request(complaint, said)
        or kind_of_status(complaint.status, said)
    )


def kind_of_page(status: int | None, said: str) -> Kind:
    """Return the kind of a web page. Its words are those of a gateway, not of a model."""
    if status is None or status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED:
        return Kind.NOT_A_MODEL
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and wordings.MAINTENANCE.search(said):
        return Kind.MAINTENANCE
    return kind_of_status(status, said)


def kind_of_limit(complaint: Complaint, said: str) -> Kind | None:
    """Return the kind if a limit was reached: of the context, the account or the answer."""
    if "context_length_exceeded" in said:
        return Kind.TOO_LONG
    says_rate = wordings.RATE_LIMITED.search(said) is not None
    if says_rate and (found := wordings.TOO_LARGE_FOR_RATE.search(said)):
        # A request above the limit itself does not fit after any wait.
        return Kind.TOO_LONG if int(found[2]) > int(found[1]) else Kind.RATE_LIMITED
    is_per_time = complaint.wait is not None or wordings.PER_TIME.search(said) is not None
    if complaint.status == HTTPStatus.PAYMENT_REQUIRED or "insufficient_quota" in said:
        return Kind.NO_CREDIT
    if wordings.NO_CREDIT.search(said) and not is_per_time:
        return Kind.NO_CREDIT
    if wordings.ANSWER_LIMIT.search(said) and not wordings.INPUT_LIMIT.search(said):
        return Kind.REFUSED_PART
    is_of_rate = says_rate or complaint.status == HTTPStatus.TOO_MANY_REQUESTS
    if is_of_rate or complaint.status in ACCESS or wordings.TOO_SLOW.search(said):
        return None
    return Kind.TOO_LONG if wordings.TOO_LONG.search(said) else None


def kind_of_state(status: int | None, said: str) -> Kind | None:
    """Return the kind if the server can't answer now, but may later."""
    if status in ACCESS or (status in CLIENT_FAULTS and status != HTTPStatus.BAD_REQUEST):
        return None
    if wordings.MAINTENANCE.search(said):
        return Kind.MAINTENANCE
    if wordings.LOADING.search(said) and not wordings.FAILED_TO_LOAD.search(said):
        return Kind.LOADING
    # Gateways send a 503 also for a model that no channel has.
    if wordings.OVERLOADED.search(said) and "model_not_found" not in said:
        return Kind.OVERLOADED
    if wordings.RATE_LIMITED.search(said):
        return Kind.RATE_LIMITED
    return None


def kind_of_access(status: int | None, said: str) -> Kind | None:
    """Return the kind if the key, its owner or a filter is the reason."""
    if wordings.FILTERED.search(said) and status != HTTPStatus.UNAUTHORIZED:
        return Kind.REFUSED_PART if wordings.REFUSED_CODES.search(said) else Kind.FILTERED
    if status == HTTPStatus.UNAUTHORIZED:
        is_of_model = wordings.MODEL_FORBIDDEN.search(said) is not None
        return Kind.FORBIDDEN if is_of_model else Kind.WRONG_KEY
    if wordings.WRONG_KEY.search(said):
        return Kind.WRONG_KEY
    if wordings.UNKNOWN_MODEL.search(said) or wordings.REFUSED_CODES.search(said):
        return None
    if wordings.FORBIDDEN.search(said) and status != HTTPStatus.TOO_MANY_REQUESTS:
        return Kind.FORBIDDEN
    return None


def kind_of_request(complaint: Complaint, said: str) -> Kind | None:
    """Return the kind if the model, the path or a part of the request is the reason."""
    status = complaint.status
    if status == HTTPStatus.TOO_MANY_REQUESTS or status in TEMPORARY_FAULTS | TOO_LARGE:
        return None
    if wordings.REFUSED_CODES.search(said):
        return Kind.REFUSED_PART
    if wordings.UNKNOWN_MODEL.search(said) or complaint.param == "model":
        return Kind.UNKNOWN_MODEL
    if wordings.WRONG_PATH.search(said):
        return Kind.WRONG_PATH
    if status in OVERLOADED or status in ACCESS:
        return None
    parts = {complaint.param, *complaint.paths} - {"", "model"}
    if wordings.REFUSED_PART.search(said) or any("messages" not in part for part in parts):
        return Kind.REFUSED_PART
    is_not_found = status == HTTPStatus.NOT_FOUND or "not_found" in said
    if is_not_found and wordings.MODEL.search(said):
        return Kind.UNKNOWN_MODEL
    return None


def kind_of_status(status: int | None, said: str) -> Kind:
    """Return the kind of a complaint whose words say nothing that is known."""
    match status:
        case None:
            return Kind.TEMPORARY if wordings.TEMPORARY.search(said) else Kind.REPORTED
        case 401:
            return Kind.WRONG_KEY
        case 404 | 405:
            return Kind.WRONG_PATH
        case 429:
            return Kind.RATE_LIMITED
    if status in ACCESS:
        return Kind.FORBIDDEN
    if status in TOO_LARGE:
        return Kind.TOO_LONG
    if status in OVERLOADED:
        return Kind.OVERLOADED
    is_ours = status < HTTPStatus.INTERNAL_SERVER_ERROR or status in NOT_IMPLEMENTED
    return Kind.BAD_REQUEST if is_ours and status not in TEMPORARY_FAULTS else Kind.TEMPORARY


# --- From a complaint to an error


def error_of(
    complaint: Complaint, *, server: str, model: str, secrets: Collection[str] = ()
) -> ServerError:
    """Return the error that a complaint of `server` means. `secrets` are never shown or logged."""
    return described(kind_of(complaint), complaint, server=server, model=model, secrets=secrets)


def not_an_answer(
    beginning: str, server: str, *, model: str = "", secrets: Collection[str] = ()
) -> ServerError:
    """Return the error for a body that begins like no answer of a model."""
    complaint = complaint_of(beginning)
    return described(Kind.NOT_A_MODEL, complaint, server=server, model=model, secrets=secrets)


def unreachable(server: str, *, proxy: str, reason: str, model: str = "") -> ServerError:
    """Return the error for a server, or a proxy in front of it, that can't be reached."""
    kind = Kind.UNREACHABLE
    through = f", asked through the proxy {proxy}" if proxy else ""
    why = CONNECTION_FAILED % {"reason": reason}
    # One that was found on this machine has no settings, and its own way to be started, which
    # people on a network can't do.
    again = "" if name_at(server, model) else start_again()
    told = again if everybody_is_operator() else ""
    advice = advice_of(kind, server, model, through=through)
    advice = why if told else f"{again or advice} {why}"
    return ServerError(
        kind,
        Complaint(body=reason),
        f"{HANDLING[kind].sentence} {told}".strip(),
        cut(one_line(advice), MAX_ADVICE_CHARS),
    )


def still_starting(server: str) -> ServerError:
    """Return the error for a server that can't be reached because it hasn't started yet."""
    return described(Kind.LOADING, Complaint(), server=server, model="", secrets=())


def described(
    kind: Kind, complaint: Complaint, *, server: str, model: str, secrets: Collection[str]
) -> ServerError:
    """Return the error of this kind, with the server's words as far as readers may see them."""
    message = sentence_of(kind, complaint.wait)
    words = CLASSES.sub("", complaint.words)
    words = without_places(without_keys(words, secrets), (server, *server.split(":")[:1]))
    if words := cut(words, MAX_WORDS_CHARS):
        message += f'{SERVER_SAYS}"{words}"'
    elif complaint.status:
        message += f" {STATUS % {'status': complaint.status}}"
    return ServerError(kind, complaint, message, advice_of(kind, server, model))


def sentence_of(kind: Kind, wait: float | None) -> str:
    """Return our own sentence. It names the wait that the server asks for."""
    handling = HANDLING[kind]
    if wait and handling.again:
        # Rounded up: a retry after exactly that long must not be too early.
        when = IN_SECONDS % {"seconds": math.ceil(wait)} if wait <= MAX_NAMED_WAIT else LATER
        handling = replace(handling, again=when)
    return handling.sentence


def advice_of(kind: Kind, server: str, model: str, *, through: str = "") -> str:
    places = {"server": server + through, "model": cut(one_line(model), 100)}
    advice = as_in_file(HANDLING[kind].advice, name_at(server, model))
    return cut(advice % places, MAX_ADVICE_CHARS)


def advice_on(message: str, *, server: str, model: str) -> str:
    """Return the advice that belongs to an error's message; empty if no server complained.

    A row keeps the message only, and readers who don't run the fleet got no advice in theirs.
    """
    for kind, handling in HANDLING.items():
        if message.startswith(handling.words):
            advice = advice_of(kind, server, model)
            return "" if advice in message else advice
    return ""


def log_fault(error: ModelError, server: str, model: str, *, secrets: Collection[str] = ()) -> None:
    """Log a failed call once, with all that is known. Readers get less."""
    parts = [f"model={model} server={server} {type(error).__name__} ({error.code}): {error}"]
    if isinstance(error, ServerError):
        said = error.complaint
        parts[0] = f"model={model} server={server} {error.kind} ({error.code})"
        parts += [
            f"status={said.status}" if said.status else "",
            f"words={cut(said.words, MAX_LOGGED_WORDS)}" if said.words else "",
            f"body={said.body}" if said.body not in said.words + error.advice else "",
        ]
    if error.__cause__:
        parts.append(f"cause={cut(repr(error.__cause__), MAX_LOGGED_CAUSE)}")
    # The advice is worth more than the end of a long body, so it comes before.
    parts.insert(1, f"advice={error.advice}" if error.advice else "")
    line = " ".join(part for part in parts if part)
    logger.warning("%s", cut(without_keys(one_line(line), secrets), MAX_LOG_CHARS))
