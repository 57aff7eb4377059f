"""What is said of a tool that raised: to its reader, to the model, and to the operator."""

import logging
import traceback
from collections.abc import Iterator

from .awaiting import Escaped
from .outputs import UnusableResult
from .registry import Tool
from .results import ToolFailure
from .sentences import sentence
from .untrusted import cut, one_line

logger = logging.getLogger(__name__)

MAX_LINKS = 20  # of a chain of exceptions
MAX_LOGGED = 400  # characters of what a tool says
UNREACHABLE = sentence("%(tool)s cannot reach the service that it needs.")
FAILED = sentence("%(tool)s failed.")
FAULT = sentence("%(tool)s failed by a fault of this server.")
TOOK_TOO_LONG = sentence("%(tool)s took longer than %(seconds)s s.")
MAY_BE_DONE = "It may have been done. Do not repeat this call."
# Errors of the operating system that come from files and processes, not from a service.
LOCAL = (
    *(FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError),
    *(ChildProcessError, ProcessLookupError, BlockingIOError),
)
OWN_PACKAGE = __package__ or ""


def failure_of(tool: Tool, exc: Exception) -> ToolFailure:
    """Return the failure of a tool that raised, and log it in one line."""
    if known := told_in(exc):
        return known
    if is_ours(tool):
        logger.exception("tool=%s failed", tool.name)
        return ToolFailure(FAULT % {"tool": tool.name})
    if is_unreachable(exc):
        log(tool, "can't reach its service", exc)
        return ToolFailure(
            UNREACHABLE % {"tool": tool.name},
            advice=MAY_BE_DONE if tool.acts else "",
            temporary=not tool.acts,
        )
    log(tool, "failed", exc)
    return ToolFailure(FAILED % {"tool": tool.name}, advice=MAY_BE_DONE if tool.acts else "")


def told_in(exc: BaseException) -> ToolFailure | None:
    """Return the failure that the tool raised, perhaps in a group, as task groups do."""
    if isinstance(exc, ToolFailure):
        return exc
    within = exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()
    return next((found for each in within if (found := told_in(each))), None)


def too_late(tool: Tool) -> ToolFailure:
    """Return the failure of a call that has reached its time limit, and log it."""
    thread = ", and its thread goes on" if tool.lane and tool.lane.left else ""
    logger.warning(
        "tool=%s took longer than its limit of %g s%s (%s)",
        *(tool.name, tool.timeout, thread, tool.place or "no place"),
    )
    # One that acts may have done it. A temporary failure would invite another try.
    return ToolFailure(
        TOOK_TOO_LONG % {"tool": tool.name, "seconds": f"{tool.timeout:g}"},
        advice=MAY_BE_DONE if tool.acts else "",
        temporary=not tool.acts,
    )


def log(tool: Tool, what: str, exc: Exception) -> None:
    place = place_of(tool, exc)
    logger.error("tool=%s %s: %s (%s)", tool.name, what, in_words(exc), place)
    logger.debug("tool=%s raised this", tool.name, exc_info=exc)


def in_words(exc: BaseException) -> str:
    """Return an exception in one line."""
    if isinstance(exc, UnusableResult | Escaped):
        return cut(one_line(str(exc)), MAX_LOGGED)
    try:
        said = one_line(str(exc)[: 4 * MAX_LOGGED])
    except Exception:  # noqa: BLE001 - the exception is of others, and so is its text
        said = ""
    return cut(f"{type(exc).__name__}: {said}" if said else type(exc).__name__, MAX_LOGGED)


def place_of(tool: Tool, exc: BaseException) -> str:
    """Return the line of the tool's own file in which it was raised; else where the tool is."""
    file = tool.place.rpartition(", line ")[0]
    for each in chain_of(exc):
        for frame in reversed(traceback.extract_tb(each.__traceback__)):
            if frame.filename == file:
                return f"{file}, line {frame.lineno}"
    return tool.place or "no place"


def is_ours(tool: Tool) -> bool:
    """Return True for a tool of the product, or one that it makes of an MCP server's."""
    return getattr(tool.function, "__module__", "").partition(".")[0] == OWN_PACKAGE


def is_unreachable(exc: BaseException) -> bool:
    """Return True if a service is down, as the exception or one behind it says."""
    chain = list(chain_of(exc))
    statuses = [status for each in chain if (status := status_of(each))]
    if statuses:
        return any(status >= 500 or status == 429 for status in statuses)
    return any(isinstance(each, OSError) and not isinstance(each, LOCAL) for each in chain)


def status_of(exc: BaseException) -> int:
    """Return the status that a server answered with; 0 if the exception has none."""
    for holder in (getattr(exc, "response", None), exc):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return 0


def chain_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exception, those in its groups, and those that it was raised for."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [exc]
    while waiting and len(found) < MAX_LINKS:
        each = waiting.pop(0)
        if each is None or any(each is one for one in found):
            continue
        found.append(each)
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        waiting.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))
