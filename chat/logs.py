"""What log records carry and must not carry, and how a record is shown as a line."""

import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from chat.models import Run

type IdName = Literal["request_id", "conversation_id", "run_id", "trace_id"]

# The addresses of a shared chat and of a new password are keys, which a log must not have.
SECRET_PATH = re.compile("(?<=^/s/)[^/]+|(?<=^/password/reset/)[^/]+/[^/]+")

# Replaced, never changed: a task that starts another one passes on what it has at that moment.
_ids: ContextVar[dict[IdName, str]] = ContextVar("ids")


def bind(name: IdName, value: object) -> None:
    """Put an id on all records that this task and the tasks it starts log from now on."""
    _ids.set({**_ids.get({}), name: str(value)})


def bind_run(run: "Run") -> None:
    """Put the ids of a run on all records, as `bind` does."""
    bind("run_id", run.pk)
    bind("conversation_id", run.conversation_id)
    if run.trace_id:
        bind("trace_id", run.trace_id)


class Ids(logging.Filter):
    """Adds the ids of the current task to each record, as attributes."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _ids.get({}).items():
            # A record that names an id itself knows better.
            record.__dict__.setdefault(name, value)
        return True


def without_key(path: str) -> str:
    return SECRET_PATH.sub("-", path)


class WithoutKeys(logging.Filter):
    """Removes the keys of shared chats from what Django logs of requests that it refuses."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.") and isinstance(record.args, tuple):
            record.args = tuple(
                without_key(value) if isinstance(value, str) else value for value in record.args
            )
            # Its text has the path, too.
            record.__dict__.pop("request", None)
        return True


class WithoutRefusedTracebacks(logging.Filter):
    """Takes the traceback from what Django logs of requests that it refuses: that is no fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class LineFormatter(logging.Formatter):
    """One readable line: time, level, logger, message, and the ids that the message lacks."""

    # People follow a run or a request. The other ids serve programs.
    SHOWN: tuple[IdName, ...] = ("run_id", "request_id")

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        for name in self.SHOWN:
            value = record.__dict__.get(name)
            if value and value not in record.message:
                line += f" {name.removesuffix('_id')}={value}"
        return line


class Once:
    """Tells what was not logged before. Whoever makes more than `most` of them is scanning."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[object] = set()

    def is_first(self, key: object) -> bool:
        if key in self._seen or len(self._seen) >= self._most:
            return False
        self._seen.add(key)
        return True


def logging_of(*, level: str, layout: str) -> dict[str, Any]:
    """Return Django's LOGGING: one line or JSON object a record, on stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "ids": {"()": "chat.logs.Ids"},
            "keys": {"()": "chat.logs.WithoutKeys"},
            "refused": {"()": "chat.logs.WithoutRefusedTracebacks"},
        },
        "formatters": {
            "text": {"()": "chat.logs.LineFormatter"},
            "json": {
                "()": "pythonjsonlogger.msgspec.MsgspecFormatter",
                "fmt": ("levelname", "name", "message"),
                "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "exception"},
                "timestamp": True,
            },
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": layout,
                "filters": ["ids", "keys", "refused"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "agenticfleet": {"level": level},
            # The access log has a line for each request, also for those that are refused.
            "django.request": {"level": "ERROR"},
            "chat": {"level": level},
            "tooling": {"level": level},
        },
    }
