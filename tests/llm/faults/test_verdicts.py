"""What a complaint means: its kind, what readers and operators get, and when a call is retried."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from chat.llm.errors import CutOff
from chat.llm.faults.complaints import complaint_of
from chat.llm.faults.retries import BACKOFF, MAX_JITTER, is_retried, wait_before_retry
from chat.llm.faults.verdicts import (
    HANDLING,
    MAX_LOG_CHARS,
    Kind,
    error_of,
    kind_of,
    log_fault,
    not_an_answer,
    unreachable,
)

ROOT = Path(__file__).resolve().parents[3]
MAX_READER_CHARS = 1200


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def page(title: str) -> str:
    return f"<!doctype html><html><title>{title}</title><h1>{title}</h1></html>"


# By kind: the status of HTTP and the body.
COMPLAINTS: dict[Kind, list[tuple[int, Any]]] = {
    Kind.WRONG_KEY: [
        (401, ""),
        (401, error("Hoot?", code="invalid_api_key")),
        (400, [{"error": {"message": "Pass a valid API key.", "status": "INVALID_ARGUMENT"}}]),
        (403, error("This API key is not valid here")),
        (403, {"message": "Missing Authentication Token"}),
        (500, error("proxy.AuthenticationError: the given key failed")),
        (400, error("No connected db.", type="no_db_connection", code="400")),
    ],
    Kind.FORBIDDEN: [
        (403, ""),
        (451, ""),
        (407, "proxy wants a password"),
        (403, page("Just a moment")),
        (401, error("The team may not", type="team_model_access_denied")),
        (403, error("Your country is not supported", code="unsupported_country_region_territory")),
        (400, error("Your location is not supported for this API")),
        (403, error("Your team may not; no access to the owl model")),
    ],
    Kind.NO_CREDIT: [
        (402, ""),
        (402, error("Insufficient Balance")),
        (429, error("You exceeded your current quota, see the plan", code="insufficient_quota")),
        (400, error("Your credit balance is too low")),
        (400, error("Budget has been exceeded: 1.2 of 1.0", code="400")),
        (403, error("No credits were bought yet")),
        (403, error("The free tier of the owl has been exhausted")),
        (429, error("You have reached your usage limit for the owl")),
        (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    ],
    Kind.RATE_LIMITED: [
        (429, ""),
        (429, page("Hold on")),
        (429, {"message": "Too many tokens, please wait before trying again."}),
        (200, error("Hold on", code=429)),
        (429, error("You exceeded your current quota, see billing. Please retry in 17.3s.")),
        (429, error("Limit of free calls per day; add 10 credits for more")),
        (400, {"__type": "ThrottlingException", "message": "Slow down"}),
        (413, error("Too large a burst on tokens per minute", code="rate_limit_exceeded")),
        (429, error("Tokens per min: too large? Limit 9000, Used 8000, Requested 2000")),
    ],
    Kind.TOO_LONG: [
        (400, error("Hoot", code="context_length_exceeded")),
        (400, error("At most 8192 tokens fit: the maximum context length")),
        (200, error("proxy.ContextWindowExceededError: prompt is too long", code="400")),
        (
            400,
            [{"error": {"message": "The input token count exceeds the number of tokens allowed"}}],
        ),
        (400, error("Input is too long for this model.")),
        (500, error("Context size has been exceeded.", code=500)),
        (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096"}),
        (400, error("Range of input length should be [1, 30720]")),
        (400, error("The prompt (9000 tokens) is longer than the model can read")),
        (400, error("Please reduce the length of the messages")),
        (413, error("Request too large, tokens per minute: Limit 6000, Requested 8211")),
        (413, page("413 Request Entity Too Large")),
        (400, error("max_tokens must be at least 1, got -200")),
    ],
    Kind.UNKNOWN_MODEL: [
        (404, error('model "owl" not found, try pulling it first')),
        (400, error("Invalid model name passed in model=owl")),
        (404, error("The model `owl` does not exist or you do not have access to it.")),
        (404, error("The deployment for this owl does not exist.", code="DeploymentNotFound")),
        (400, error("owl is not a valid model ID")),
        (404, error("No endpoints found for owl/owl.")),
        (400, error("The model `owl` has been decommissioned.")),
        (503, error("No available channel for owl", code="model_not_found")),
        (200, error("model: owl", type="not_found_error")),
        (400, {"error": '"owl" does not support chat'}),
        (400, error("Hoot", param="model")),
    ],
    Kind.WRONG_PATH: [
        (404, ""),
        (405, ""),
        (404, "404 page not found"),
        (404, {"detail": "Not Found"}),
        (404, page("Not Found")),
        (404, error("Invalid URL (POST /v1/v1/chat/completions)")),
        (404, {"message": "no Route matched with those values"}),
        (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
    ],
    Kind.REFUSED_PART: [
        (400, error("Hoot", code="unsupported_parameter", param="max_tokens")),
        (400, error("Hoot", param="temperature")),
        (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Hoot"}]}),
        (400, error("max_tokens is too large: 9000. At most 4096 completion tokens.")),
        (400, error("max_tokens is too large; the maximum context length is 4096 tokens")),
        (400, error("Unrecognized request argument supplied: hoot")),
        (400, error("System role not supported")),
        (400, error('"auto" needs a parser: tool choice requires --enable-it')),
        (400, error("Roles must alternate")),
        (404, error("No endpoints found that support tool use.")),
        (500, error("tools: requires --jinja")),
        (400, error("Unknown parameter: safety_identifier", code="unknown_parameter")),
    ],
    Kind.FILTERED: [
        (400, error("Hoot", code="content_filter")),
        (400, error("Hoot", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (403, error("Your input was flagged by moderation")),
        (400, error("Hoot", code="data_inspection_failed")),
        (400, error("This seems to violate our usage policy")),
        (200, error("Blocked for safety")),
    ],
    Kind.OVERLOADED: [
        (503, ""),
        (529, ""),
        (498, error("Flex capacity is used up")),
        (503, "no healthy upstream"),
        (200, {"type": "error", "error": {"type": "overloaded_error", "message": "Hoot"}}),
        (429, error("The engine is overloaded")),
        (500, error("no available server")),
        (500, error("The queue is full")),
    ],
    Kind.LOADING: [
        (503, error("Loading model", type="unavailable_error", code=503)),
        (503, {"error": "Model owl is currently loading", "estimated_time": 20.0}),
        (500, error("The model is warming up")),
        (503, error("The server is starting up")),
    ],
    Kind.MAINTENANCE: [
        (503, "Down for maintenance until noon"),
        (503, page("Maintenance")),
        (200, error("Scheduled maintenance")),
    ],
    Kind.NOT_A_MODEL: [(200, page("Sign in")), (511, page("Welcome to the inn"))],
    Kind.TEMPORARY: [
        *((status, "") for status in (408, 409, 425, 500, 502, 504, 520, 524, 530)),
        (502, page("502 Bad Gateway")),
        (504, error("The request took too long")),
        (200, error("The owl broke", code=500)),
        (200, error("The owl broke", type="server_error")),
        (500, error("failed to load the model")),
    ],
    Kind.BAD_REQUEST: [
        *((status, "") for status in (400, 415, 418, 422, 501)),
        (400, error("This owl sleeps until Monday.", type="invalid_request_error")),
        (400, page("400 The plain HTTP request was sent to an HTTPS port")),
    ],
    Kind.REPORTED: [(200, error("No channel for this group.", code="no_channel")), (200, {})],
}


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [(kind, status, body) for kind, cases in COMPLAINTS.items() for status, body in cases],
)
def test_kind_is_told_by_status_code_type_and_words(kind: Kind, status: int, body: Any) -> None:
    complaint = complaint_of(body, status=status)
    assert kind_of(complaint) == kind
    fault = error_of(complaint, server="models.example", model="owl")
    assert (fault.kind, fault.code, fault.retryable) == (
        kind,
        HANDLING[kind].code,
        HANDLING[kind].retryable,
    )
    assert str(fault).startswith(HANDLING[kind].sentence.removesuffix(" in a moment."))
    assert len(f"{fault} {fault.advice}") <= MAX_READER_CHARS


def test_every_kind_has_a_complaint() -> None:
    # A server that can't be reached complains of nothing.
    assert {*COMPLAINTS, Kind.UNREACHABLE} == {*HANDLING} == {*Kind}


def test_reader_gets_the_words_without_places_and_operators_the_advice() -> None:
    body = error("The owl at http://models.example/v1 (owlbox) is <b>ill</b>. Key hoot-hoot. " * 50)
    complaint = complaint_of(body, status=500)
    fault = error_of(complaint, server="owlbox:8000", model="owl", secrets=["hoot-hoot"])
    message = str(fault)
    assert '. The server says: "The owl at … (…) is ill . Key ….' in message
    assert len(message) < 400
    assert not re.search(r"models\.example|owlbox|hoot|<b>|OPENAI|FLEET", message)
    assert "owlbox:8000" in fault.advice


def test_status_stands_for_missing_words() -> None:
    fault = error_of(complaint_of("", status=502), server="s", model="m")
    assert str(fault).endswith("It answered with status 502.")


@pytest.mark.parametrize(
    ("wait", "when"),
    [("20", "in 20 s"), ("6.2", "in 7 s"), ("90000", "later"), ("", "in a moment")],
)
def test_wait_of_a_rate_limit_is_named(wait: str, when: str) -> None:
    complaint = complaint_of("Hoot", status=429, headers={"retry-after": wait})
    assert f"Try again {when}." in str(error_of(complaint, server="s", model="m"))


def test_server_that_is_not_reached_is_named_to_operators_with_its_proxy() -> None:
    fault = unreachable("owlbox:8000", proxy="proxy.corp:3128", reason="refused")
    assert str(fault) == HANDLING[Kind.UNREACHABLE].sentence
    for part in ("owlbox:8000", "proxy.corp:3128", "refused", "OPENAI_BASE_URL"):
        assert part in fault.advice


@pytest.mark.parametrize("beginning", [page("Sign in"), "Owl server 3.1 runs", '{"owl": 1}', ""])
def test_body_that_is_no_answer_points_at_the_setting(beginning: str) -> None:
    fault = not_an_answer(beginning, "owlbox:8000")
    assert "not an answer" in str(fault)
    assert "<" not in str(fault)
    assert "OPENAI_BASE_URL" in fault.advice


# --- Retries


@pytest.mark.parametrize("kind", [kind for kind in COMPLAINTS if not is_retried(kind)])
def test_other_kinds_are_not_retried(kind: Kind) -> None:
    for status, body in COMPLAINTS[kind]:
        error = error_of(complaint_of(body, status=status), server="s", model="m")
        assert wait_before_retry(error, 0) is None


@pytest.mark.parametrize(
    ("status", "body", "wait", "attempt", "low", "high"),
    [
        (500, "", "", 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (500, "", "", 1, BACKOFF * 1.5, BACKOFF * 2.5),
        (429, "", "", 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (429, "", "0", 0, BACKOFF * 0.75, BACKOFF * 1.25),
        (429, "", "2.5", 1, 2.5, 2.5 + MAX_JITTER),
        (503, "Loading model", "", 5, 1, 2),
        (503, {"error": "The model is loading", "estimated_time": 20}, "", 0, 1, 2),
    ],
)
def test_retry_waits_as_asked_or_ever_longer(
    status: int, body: Any, wait: str, attempt: int, low: float, high: float
) -> None:
    complaint = complaint_of(body, status=status, headers={"retry-after": wait})
    seconds = wait_before_retry(error_of(complaint, server="s", model="m"), attempt)
    assert seconds is not None
    assert low <= seconds <= high


def test_long_wait_is_not_waited() -> None:
    complaint = complaint_of("", status=429, headers={"retry-after": "20"})
    assert wait_before_retry(error_of(complaint, server="s", model="m"), 0) is None


# --- The log and the documents


def test_log_gets_one_line_with_all_but_keys(caplog: pytest.LogCaptureFixture) -> None:
    body = error("The owl at http://owlbox/v1\nis ill. Key hoot-hoot. " * 200, hint="look there")
    fault = error_of(complaint_of(body, status=500), server="owlbox:80", model="owl")
    with caplog.at_level(logging.WARNING):
        log_fault(fault, "owlbox:80", "owl", secrets=["hoot-hoot"])
        log_fault(CutOff(), "owlbox:80", "owl")
    line, cut_off = caplog.messages
    for part in ("owlbox:80", "model=owl", "temporary", "status=500", "http://owlbox/v1", "body="):
        assert part in line
    assert fault.advice in line
    assert "hoot-hoot" not in line
    assert "\n" not in line
    assert len(line) <= MAX_LOG_CHARS
    assert "CutOff" in cut_off
    assert str(CutOff()) in cut_off


def test_agents_has_the_table_of_kinds() -> None:
    section = (ROOT / "AGENTS.md").read_text().split("\n## Errors of model servers\n")[1]
    lines = re.findall(r"^\| (.+) \|$", section.split("\n## ")[0], re.MULTILINE)[1:]
    rows = [line.split(" | ") for line in lines]
    assert [(row[0], *row[2:]) for row in rows] == [
        (
            str(kind),
            handling.sentence,
            f"`{handling.code}`",
            "yes" if handling.is_retried else "no",
            handling.advice % {"server": "{server}", "model": "{model}"},
        )
        for kind, handling in HANDLING.items()
    ]


def test_readers_get_no_names_of_exceptions_before_the_words() -> None:
    words = "litellm.BadRequestError: OpenAIException - This deployment sleeps."
    complaint = complaint_of({"error": {"message": words}}, status=400)
    error = error_of(complaint, server="host", model="m")
    assert str(error).endswith('The server says: "This deployment sleeps."')
    assert error.complaint.words == words
