"""Errors with a status of their own."""

import json

from ..case import Case, Outcome, always, case, fails
from ..server import LOGIN_PATH
from ..wire import (
    LOGIN_PAGE,
    Reply,
    document,
    error,
    event,
    page,
    stream,
    text,
)
from .errors import NO_MARKUP, NOT_AN_ANSWER, OAK, ONE, RAW

BAD_GATEWAY = (
    "<html>\r\n<head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)

HANDED: tuple[Case, ...] = (
    fails(
        "status-400",
        error("This deployment sleeps until Monday.", type="invalid_request_error"),
        "sleeps until Monday",
    ),
    fails(
        "status-400-string",
        document(
            {
                "code": "Client specified an invalid argument",
                "error": "Heron wants one text a message.",
            },
            400,
        ),
        "Heron wants one text",
    ),
    fails(
        "status-400-detail", document({"detail": "The heron is asleep."}, 400), "heron is asleep"
    ),
    fails(
        "status-400-raw",
        error(
            "Provider returned error",
            code=400,
            metadata={
                "raw": '{"error":{"message":"Heron takes one picture."}}',
                "provider_name": "Oak",
            },
        ),
        "Heron takes one picture",
    ),
    fails(
        "status-400-long",
        error("Quota rule seven forbids this. " + "a" * 8970),
        "Quota rule seven forbids this",
        max_chars=1200,
    ),
    fails(
        "status-401",
        error(
            "Incorrect API key provided: x.",
            401,
            code="invalid_api_key",
            type="invalid_request_error",
        ),
        "key",
        code="model_error",
    ),
    fails(
        "status-402", error("Insufficient Balance", 402, type="unknown_error"), "balance", "credit"
    ),
    fails(
        "status-404-model",
        error('model "x" not found, try pulling it first', 404, type="api_error"),
        "FLEET_MODEL",
        "pulling it first",
        code="model_error",
    ),
    fails(
        "model-400",
        error(
            "Invalid model name passed in model=x. Call /v1/models to see those for your key.",
            code="400",
        ),
        "Invalid model name",
        "FLEET_MODEL",
    ),
    case(
        "status-413",
        always(
            error(
                "Request too large for x on tokens per minute: Limit 6000, Requested 8211",
                413,
                type="tokens",
                code="rate_limit_exceeded",
            )
        ),
        Outcome(code="any", says=["Request too large", "Limit 6000"]),
        Outcome(code="context_too_long"),
    ),
    fails(
        "status-429-quota",
        error(
            "You exceeded your current quota, check plan and billing",
            429,
            code="insufficient_quota",
            type="insufficient_quota",
        ),
        "quota",
        "billing",
        "credit",
        requests=lambda found: "retried" if len(found) > 1 else "",
    ),
    fails("status-502-html", page(BAD_GATEWAY, 502), code="model_unavailable", without=NO_MARKUP),
    fails(
        "status-503-loading",
        error("Loading model", 503, code=503, type="unavailable_error"),
        "loading",
        code="model_unavailable",
    ),
)
FURTHER: tuple[Case, ...] = (
    fails("status-400-message", document({"message": f"{OAK}.", "code": 3001}, 400), OAK),
    fails(
        "status-400-object",
        document({"object": "error", **ONE, "type": "BadRequest", "param": None, "code": 400}, 400),
        OAK,
    ),
    fails("status-400-errors", document({"errors": [ONE]}, 400), OAK),
    fails("status-400-array", document([{"error": ONE}], 400), OAK),
    fails("status-400-json-string", document(f"{OAK}.", 400), OAK),
    fails("status-400-nested", document({"error": {"error": ONE}}, 400), OAK),
    fails("status-400-message-is-json", error(json.dumps({"error": ONE})), OAK),
    fails("status-400-text", text(f"{OAK}.", 400), OAK),
    fails("status-400-text-typed-json", text(f"{OAK}.", 400, "application/json"), OAK),
    fails("status-400-stream", stream(event({"error": ONE}), status=400), OAK),
    fails("status-400-empty", text("", 400)),
    fails("status-400-error-null", document({"error": None, **ONE}, 400), OAK),
    fails(
        "status-400-raw-text", error("Provider returned error", metadata={"raw": f"{OAK}."}), OAK
    ),
    fails(
        "status-400-raw-sse",
        error("Provider returned error", metadata={"raw": f"data: {RAW}\n\n"}),
        OAK,
    ),
    fails(
        "status-400-address",
        error(f"{OAK} at http://10.0.0.7:8000/v1 for sk-abcdef0123456789abcdef"),
        OAK,
        without=["10.0.0.7", "sk-abcdef0123456789abcdef"],
    ),
    fails(
        "status-400-markup",
        error(f"{OAK}. <script>alert(1)</script><b>now</b>"),
        OAK,
        without=["<script", "<b>"],
    ),
    fails(
        "status-400-filter",
        error(
            "The response was filtered due to the prompt triggering our content management policy.",
            code="content_filter",
            status=400,
        ),
        "filter",
        "policy",
    ),
    fails("status-401-page", page(LOGIN_PAGE, 401), "key", code="model_error", without=NO_MARKUP),
    fails("status-401-empty", text("", 401), "key", code="model_error"),
    fails(
        "status-400-key",
        error("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"),
        "key",
        code="model_error",
    ),
    fails(
        "status-403",
        error("Your key may not use this model.", 403),
        "may not use this model",
        code="model_error",
    ),
    fails(
        "status-403-region",
        error(
            "Country, region, or territory not supported",
            403,
            code="unsupported_country_region_territory",
        ),
        "territory",
    ),
    fails(
        "status-403-page",
        page("<html><h1>403 Forbidden</h1></html>", 403),
        code="model_error",
        without=NO_MARKUP,
    ),
    fails(
        "status-403-credit", error("Key limit exceeded (total limit). Add credits.", 403), "credit"
    ),
    fails(
        "status-404-page",
        text("404 page not found\n", 404),
        "OPENAI_BASE_URL",
        "address",
        "path",
        "not found",
        code="model_error",
    ),
    fails(
        "status-404-detail",
        document({"detail": "Not Found"}, 404),
        "OPENAI_BASE_URL",
        "address",
        "path",
        "not found",
        code="model_error",
    ),
    fails(
        "status-404-html",
        page("<html><h1>Not Found</h1></html>", 404),
        code="model_error",
        without=NO_MARKUP,
    ),
    fails("status-404-empty", text("", 404), code="model_error"),
    fails(
        "status-404-vllm",
        document(
            {
                "object": "error",
                "message": "The model `x` does not exist.",
                "type": "NotFoundError",
                "code": 404,
            },
            404,
        ),
        "does not exist",
        code="model_error",
    ),
    fails(
        "status-405",
        document({"detail": "Method Not Allowed"}, 405),
        "method not allowed",
        "OPENAI_BASE_URL",
        "address",
        "path",
    ),
    fails("status-415", error(f"{OAK}.", 415), OAK),
    fails("status-418", text(f"{OAK}.", 418), OAK),
    fails(
        "status-422-list",
        document(
            {"detail": [{"loc": ["body", "messages", 0], "msg": f"{OAK}", "type": "value_error"}]},
            422,
        ),
        OAK,
    ),
    fails(
        "status-429-for-long",
        error("Slow down.", 429, headers={"Retry-After": "3600"}),
        "slow down",
        code="rate_limited",
    ),
    fails(
        "status-429-reset-header",
        error(
            "Rate limit reached for requests",
            429,
            headers={"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"},
        ),
        "rate limit",
        code="rate_limited",
    ),
    fails(
        "status-429-words",
        error("Rate limit reached. Please try again in 7m12.48s.", 429),
        "7m12",
        code="rate_limited",
    ),
    fails(
        "status-429-balance",
        error("Your credit balance is too low", 429),
        "credit",
        "balance",
        requests=lambda found: "retried" if len(found) > 1 else "",
    ),
    fails("status-451", text(f"{OAK}.", 451), OAK),
    fails("status-498", error(f"{OAK}.", 498), OAK),
    fails("status-500", error(f"{OAK}.", 500), OAK),
    fails("status-500-text", text(f"{OAK}.", 500), OAK),
    fails("status-500-empty", text("", 500)),
    fails(
        "status-503-maintenance",
        error("Down for maintenance until noon.", 503),
        "maintenance",
        code="model_unavailable",
    ),
    fails(
        "status-503-page",
        page("<html><h1>Scheduled maintenance</h1></html>", 503),
        code="model_unavailable",
        without=NO_MARKUP,
    ),
    fails(
        "status-504",
        page("<html><h1>504 Gateway Time-out</h1></html>", 504),
        code="model_unavailable",
        without=NO_MARKUP,
    ),
    fails(
        "status-520",
        page("<html><title>520</title></html>", 520),
        code="model_unavailable",
        without=NO_MARKUP,
    ),
    fails(
        "status-529",
        document(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529
        ),
        "overloaded",
        code="model_unavailable",
    ),
    fails(
        "redirect-to-login",
        Reply([b""], 302, {"Location": LOGIN_PATH}, "length"),
        *NOT_AN_ANSWER,
        "redirect",
    ),
)
