"""Errors within a response with status 200."""

import json

from ..case import Case, Outcome, always, case, fails
from ..wire import (
    DONE,
    HALF,
    LOGIN_PAGE,
    chunk,
    document,
    event,
    finish,
    page,
    say,
    stream,
    text,
)

NO_MARKUP = ["<!doctype", "<title", "<html", "<h1", "<body"]
NOT_AN_ANSWER = ("not an answer", "html", "web page", "sign in", "login", "OPENAI_BASE_URL")
FAULT = {"message": "The grove lost a shard.", "type": "server_error", "code": 502}


def told(message: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "server_error", "code": 500}}


OAK = "The oak has fallen"
RAW = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": f"{OAK}."}})
ONE = {"message": f"{OAK}."}


HANDED: tuple[Case, ...] = (
    fails(
        "stream-error-first",
        stream(event(told("The grove ran out of memory.")), DONE),
        "grove ran out of memory",
    ),
    fails(
        "stream-error-mid",
        stream(say(*HALF), event({"error": FAULT}), DONE),
        "grove lost a shard",
        begins="Lantern light",
    ),
    fails(
        "stream-error-event",
        stream(
            b"event: error\n",
            event({"error": {"message": "The reed lost its queue.", "status_code": 500}}),
        ),
        "reed lost its queue",
    ),
    fails(
        "stream-error-field",
        stream(
            event(
                {"code": 500, "message": "slot 3 broke down", "type": "server_error"},
                field="error: ",
            ),
            DONE,
        ),
        "slot 3 broke down",
    ),
    fails(
        "json-error-in-200",
        document({"error": {"message": "No channel for this group.", "code": "no_channel"}}),
        "No channel for this group",
    ),
    fails("html-in-200", page(LOGIN_PAGE), *NOT_AN_ANSWER, without=NO_MARKUP),
)
FURTHER: tuple[Case, ...] = (
    fails("array-in-200", document([told(f"{OAK}.")]), OAK),
    fails("detail-in-200", document({"detail": f"{OAK}."}), OAK),
    fails(
        "message-in-200", document({"object": "error", "message": f"{OAK}.", "code": 40001}), OAK
    ),
    fails("string-in-200", document({"error": f"{OAK}."}), OAK),
    fails(
        "errors-in-200",
        document(
            {"success": False, "errors": [{"code": 7003, "message": f"{OAK}."}], "result": None}
        ),
        OAK,
    ),
    fails("msg-in-200", document({"status": 439, "msg": f"{OAK}.", "data": None}), OAK),
    fails("text-in-200", text(f"{OAK}."), OAK),
    fails("empty-in-200", text("")),
    fails("null-in-200", document(None)),
    fails("object-in-200", document({})),
    fails("array-empty-in-200", document([])),
    fails("page-as-stream", stream(LOGIN_PAGE.encode()), *NOT_AN_ANSWER, without=NO_MARKUP),
    fails(
        "page-behind-blanks",
        page(f"\n\n  <HTML><BODY>{OAK}</BODY></HTML>"),
        *NOT_AN_ANSWER,
        without=NO_MARKUP,
    ),
    fails(
        "xml-in-200",
        text(
            f"<?xml version='1.0'?><Error><Message>{OAK}</Message></Error>", kind="application/xml"
        ),
        without=["<?xml", "<error"],
    ),
    fails("event-error-text", stream(f"event: error\ndata: {OAK}\n\n".encode()), OAK),
    fails("event-error-behind-data", stream(f"data: {OAK}\nevent: error\n\n".encode()), OAK),
    fails(
        "event-error-mid",
        stream(say(*HALF), f'event: error\ndata: "{OAK}."\n\n'.encode()),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-field-text",
        stream(say(*HALF), f"error: {OAK}\n\n".encode()),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-string-mid",
        stream(say(*HALF), event({"error": f"{OAK}."})),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-beside-choices",
        stream(
            say(*HALF),
            event(
                chunk(
                    {"content": ""},
                    "error",
                    error={"code": 502, "message": f"{OAK}.", "metadata": {"provider_name": "Oak"}},
                )
            ),
            DONE,
        ),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-in-choice",
        stream(
            say(*HALF),
            event(
                chunk()
                | {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {},
                            "finish_reason": "error",
                            "error": {"code": 502, "message": f"{OAK}."},
                        }
                    ]
                }
            ),
            DONE,
        ),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-object", stream(event({"object": "error", "message": f"{OAK}.", "code": 400})), OAK
    ),
    fails("error-type", stream(event(RAW)), OAK),
    fails(
        "error-detail-mid",
        stream(say(*HALF), event({"detail": f"{OAK}."})),
        OAK,
        begins="Lantern light",
    ),
    fails("error-array", stream(event([told(f"{OAK}.")])), OAK),
    fails(
        "error-unfinished-line",
        stream(say(*HALF), event(told(f"{OAK}."), end="")),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "error-as-json-line",
        stream(say(*HALF), event(told(f"{OAK}."), field="", end="\n")),
        OAK,
        begins="Lantern light",
    ),
    fails(
        "quota-in-200",
        stream(event({"error": {"message": "You have run out of credits.", "code": 402}})),
        "credit",
    ),
    fails(
        "rate-limit-in-200",
        stream(
            event({"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}})
        ),
        "rate limit",
        code="rate_limited",
    ),
    fails(
        "error-in-utf8-page",
        page("<html><p>Zugang verweigert – bitte anmelden</p></html>"),
        without=["<html", "<p>"],
    ),
    case(
        "error-behind-done",
        always(stream(say(), finish(), event(told(f"{OAK}.")))),
        Outcome(text="Lantern light: café, naïve, 東京, 😀 and done.", usage=(11, 7)),
    ),
)
