"""Find errors that servers send instead of chunks, with a status of 200."""

from collections.abc import Mapping
from typing import Any

ANSWERS = ("candidates", "delta", "content", "output", "response", "result", "usage")
MESSAGES = ("message", "msg", "error_msg", "errorMessage", "error_message", "Message", "reason")
CODES = ("code", "status", "status_code", "statusCode", "error_code", "errorCode", "errcode")
# Codes and statuses of success, and those that only announce an answer.
FINE = ("", "0", "200", "ok", "success", "succeeded", "none", "null")
WAITING = ("pending", "queued", "loading", "starting", "running", "processing", "in_progress")


def error_in(document: Mapping[str, Any]) -> object:
    """Return the error that a document is, or has beside an answer. Return None if it has none."""
    if (error := document.get("error")) and is_error(error):
        return document
    kind = document.get("type")
    if isinstance(kind, str) and kind.endswith(("failed", ".error")):
        # The Responses API has the error in the response that failed.
        response = document.get("response")
        error = response.get("error") if isinstance(response, dict) else None
        return error if is_error(error) else document
    if kind == "error" or document.get("object") == "error":
        return document
    # MiniMax puts this beside an answer without choices.
    status = document.get("base_resp")
    if isinstance(status, dict) and is_bad(status.get("status_code")):
        return status
    if choices := document.get("choices"):
        return error_of_choice(choices)
    if any(document.get(name) for name in ANSWERS):
        return None
    return document if is_complaint(document) else None


def error_of_choice(choices: object) -> object:
    """Return the error in a choice, where OpenRouter puts it. Return None if there is none."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (error := choice.get("error")) and is_error(error):
            return error
    return None


def is_error(error: object) -> bool:
    """Return True if the value of an `error` field is an error: many servers always send one."""
    if isinstance(error, dict):
        return any(str(value).lower() not in FINE for value in error.values() if value)
    return bool(error)


def is_complaint(document: Mapping[str, Any]) -> bool:
    """Return True if a document that has no answer has a message like those of an error."""
    if document.get("detail") or document.get("errors") or document.get("success") is False:
        return True
    if not any(document.get(name) and isinstance(document[name], str) for name in MESSAGES):
        return False
    # Gateways send {"message": "Forbidden"} and nothing else. Signs of life have other fields.
    return len(document) == 1 or any(is_bad(document.get(name)) for name in CODES)


def is_bad(code: object) -> bool:
    """Return True if a code or a status isn't one of success."""
    return code is not None and code is not False and str(code).lower() not in (*FINE, *WAITING)
