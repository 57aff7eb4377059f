"""A server's own words are found in any body, and no body breaks the search."""

import json
import time
from typing import Any

import pytest

from chat.llm.faults.complaints import MAX_WORDS_CHARS, complaint_of
from chat.llm.faults.verdicts import error_of

WORDS = "The owl is out hunting."


def inside(text: str) -> str:
    return json.dumps({"error": {"message": text}})


BODIES: dict[str, Any] = {
    "error as an object": {"error": {"message": WORDS}},
    "error as a text": {"error": WORDS},
    "error with a text as its code": {"code": "The client sent something", "error": WORDS},
    "error beside true": {"error": True, "message": WORDS},
    "msg": {"code": 1, "msg": WORDS},
    "message as an object": {"object": "error", "message": {"detail": WORDS}},
    "message in a list": {"statusCode": 400, "message": [WORDS], "error": "Bad Request"},
    "detail": {"detail": WORDS},
    "reason and description": {"error": {"reason": "owl_out", "description": WORDS}},
    "list of errors": {"success": False, "errors": [{"code": 7, "message": WORDS}], "result": None},
    "OAuth": {"error": "owl_out", "error_description": WORDS},
    "gateway's fault": {"fault": {"faultstring": WORDS, "detail": {"errorcode": "owl.Out"}}},
    "capital letters": {"__type": "cloud#OwlException", "Message": WORDS},
    "list of documents": [{"error": {"code": 400, "message": WORDS, "status": "OWL_OUT"}}],
    "raw JSON of a provider": {
        "error": {"message": "Provider returned error", "metadata": {"raw": inside(WORDS)}}
    },
    "raw text of a provider": {
        "error": {"message": "Provider returned error", "metadata": {"raw": WORDS}}
    },
    "status object of a vendor": {"base_resp": {"status_code": 1008, "status_msg": WORDS}},
    "unknown names": {"outcome": {"ok": False, "told": WORDS}},
    "JSON in a text of JSON": json.dumps(inside(WORDS)),
    "JSON in JSON in JSON": inside(inside(inside(WORDS))),
    "a text of JSON": json.dumps(WORDS),
    "plain text": WORDS,
    "byte order mark": b"\xef\xbb\xbf" + inside(WORDS).encode(),
    "event": f"event: error\ndata: {inside(WORDS)}\n\n",
    "error line": f"error: {inside(WORDS)}\n\ndata: [DONE]\n\n",
    "Python's own notation": str({"error": {"message": WORDS, "code": None}}),
    "raw line break in JSON": '{"error": {"message": "The owl is\nout hunting."}}',
    "no number in JSON": '{"error": {"message": "The owl is out hunting.", "code": NaN}}',
    "cut JSON": inside(WORDS)[:-3],
    "page": f"<!doctype html><html><title>{WORDS}</title><body>much more</body></html>",
    "page in JSON": inside(f"<html><h1>{WORDS}</h1></html>"),
    "XML": f"<?xml version='1.0'?><Error><Code>Owl</Code><Message>{WORDS}</Message></Error>",
    "tags in words": {"error": "The <b>owl</b> is out hunting."},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_words_are_found(body: Any) -> None:
    assert complaint_of(body).words == WORDS
    if isinstance(body, dict | list):
        assert complaint_of(json.dumps(body).encode()).words == WORDS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"title": "No owl", "detail": WORDS, "status": 400}, f"No owl: {WORDS}"),
        ({"error": 'Choose one of ["owl", "lark"] here'}, 'Choose one of ["owl", "lark"] here'),
        (
            {"error": {"message": f"proxy.Error: 400 - {inside(WORDS)}"}},
            f"proxy.Error: 400: {WORDS}",
        ),
        (
            {"detail": [{"loc": ["body", "temperature"], "msg": "too warm", "type": "value"}]},
            "temperature: too warm",
        ),
        ({"errors": [{"message": "One."}, {"message": "Two."}]}, "One.; Two."),
        ({"error": {"message": "", "code": "no_owl"}}, "no_owl"),
        ({"error": "Bad Request"}, "Bad Request"),
        ({}, ""),
        (b"", ""),
        (b"null", ""),
        (b"[]", ""),
        (None, ""),
        (7, ""),
        (True, ""),
        ({"error": {"message": None, "code": None}}, ""),
    ],
)
def test_words_are_joined_and_generic_ones_left_out(body: Any, words: str) -> None:
    assert complaint_of(body).words == words


def test_codes_are_kept_as_the_server_wrote_them() -> None:
    body = {"error": {"message": WORDS, "type": "owl_error", "param": "hoot", "code": "no_owl"}}
    found = complaint_of(body, status=400)
    assert (found.code, found.type, found.param) == ("no_owl", "owl_error", "hoot")
    inner = {"error": {"code": 400, "message": WORDS, "innererror": {"code": "OwlPolicy"}}}
    assert complaint_of(inner).code == "OwlPolicy"
    gemini = [{"error": {"code": 400, "details": [{"@type": "x", "reason": "OWL_INVALID"}]}}]
    assert "OWL_INVALID" in complaint_of(gemini).marks


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"error": {"message": WORDS, "code": 500}}, 200, 500),
        ({"error": {"message": WORDS, "status": 429}}, None, 429),
        ({"error": {"message": WORDS, "status_code": 503}}, None, 503),
        ({"error": {"message": WORDS, "code": "400"}}, 200, 400),
        ({"error": {"message": WORDS, "code": 10000}}, 200, None),
        ({"error": {"message": WORDS}}, 200, None),
        ({"error": {"message": WORDS, "code": 500}}, 404, 404),
        ({"error": {"message": WORDS, "code": 429}}, 500, 429),  # a gateway around the error
        (WORDS, 418, 418),
    ],
)
def test_status_is_that_of_http_or_else_of_the_body(
    body: Any, status: int | None, expected: int | None
) -> None:
    assert complaint_of(body, status=status).status == expected


EXTRA = "Extra inputs are not permitted"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "stream_options", "x"], "msg": EXTRA}]},
        {"message": {"detail": [{"loc": ["body", "Chat[x]", "stream_options"], "msg": EXTRA}]}},
        {"error": {"message": str([{"loc": ("body", "stream_options"), "msg": EXTRA}])}},
        {"errors": [{"instance_path": "/stream_options/x", "message": EXTRA}]},
        f"1 validation error for Request\nstream_options.x\n  {EXTRA} [type=extra_forbidden]",
    ],
)
def test_parts_that_a_validator_names_are_found(body: Any) -> None:
    assert complaint_of(body, status=422).paths == ("stream_options",)
    assert EXTRA in complaint_of(body).words


@pytest.mark.parametrize(
    ("headers", "body", "low", "high"),
    [
        ({"Retry-After": "7"}, WORDS, 7, 7),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, WORDS, 1e9, 1e10),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, WORDS, 0, 0),
        ({"retry-after-ms": "2500", "retry-after": "3"}, WORDS, 2.5, 2.5),
        ({"x-ratelimit-reset-requests": "120ms"}, WORDS, 0.12, 0.12),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
            },
            WORDS,
            360,
            360,
        ),
        ({}, {"error": "The owl tires. Please try again in 2.6s."}, 2.6, 2.6),
        ({}, "Please retry after 30 seconds.", 30, 30),
        ({}, "try again in 1m30s", 90, 90),
        ({}, "wait for 120ms", 0.12, 0.12),
        ({}, "Owls rest; retry-after: 5", 5, 5),
        ({}, {"error": {"message": WORDS, "details": [{"retryDelay": "17s"}]}}, 17, 17),
        ({}, {"error": {"message": WORDS, "retry_after": 4}}, 4, 4),
        ({}, {"error": {"message": WORDS, "metadata": {"retry_after_ms": 900}}}, 0.9, 0.9),
        ({}, {"error": WORDS, "estimated_time": 20.5}, 20.5, 20.5),
    ],
)
def test_wait_is_found_in_headers_fields_and_words(
    headers: dict[str, str], body: Any, low: float, high: float
) -> None:
    wait = complaint_of(body, status=429, headers=headers).wait
    assert wait is not None
    assert low <= wait <= high


@pytest.mark.parametrize("value", ["", "²", "nan", "-3", "inf", "soon", "1e999", "9" * 5000])
def test_wait_that_is_none_is_ignored(value: str) -> None:
    assert complaint_of(WORDS, status=429, headers={"Retry-After": value}).wait is None
    assert complaint_of({"error": WORDS, "retry_after": value}, status=429).wait is None


def test_resets_of_limits_count_only_if_one_was_reached() -> None:
    headers = {"x-ratelimit-reset-requests": "8s"}
    assert complaint_of(WORDS, status=400, headers=headers).wait is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 200_000,
        b"[" * 200_000,
        b'{"error":' * 200_000,
        inside("[" * 100_000).encode(),
        bytes(range(256)) * 1000,
        b"\xff\xfe" * 100_000,
        b"x" * 50_000_000,
        b'"message":"' * 100_000,
        b"a." * 100_000,
        b"<a " * 100_000,
        b"retry in 1" * 100_000,
        b"\\" * 100_000,
        b'"' + b"\\ud83d" * 1000 + b'"',
    ],
)
def test_hostile_body_is_read_in_time_and_with_bounds(body: bytes) -> None:
    started = time.perf_counter()
    found = complaint_of(body, status=500)
    assert time.perf_counter() - started < 1
    assert len(found.words) <= MAX_WORDS_CHARS
    (found.words + found.body).encode()  # no halves of characters
    assert "\n" not in found.words + found.body


@pytest.mark.parametrize("part", ["model ", "a model `x ", "max_tokens ", "try again 1 ", "<h1>"])
def test_long_words_do_not_block_the_event_loop(part: str) -> None:
    begin = time.thread_time()
    found = complaint_of((part * 25_000).encode(), status=400)
    error_of(found, server="h", model="m")
    assert time.thread_time() - begin < 0.05


def test_beginning_and_end_of_long_words_are_kept() -> None:
    found = complaint_of(f"Quota rule seven. {'x ' * 2000}Ask the owl.")
    assert found.words.startswith("Quota rule seven.")
    assert found.words.endswith("Ask the owl.")


def test_decoded_body_of_any_depth_is_read() -> None:
    body: Any = WORDS
    for _ in range(100_000):
        body = {"error": body}
    assert complaint_of(body, status=500).words == ""


def test_page_is_marked_as_markup() -> None:
    assert complaint_of("  <!DOCTYPE html><p>x").is_markup
    assert not complaint_of(inside("<html>x</html>")).is_markup
    assert not complaint_of("3 < 4").is_markup
