"""What is common to all doors: hosts, origins, tokens, bodies, and the API as a whole."""

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from pytest_django import Settings

from agenticfleet.embedded import free_port
from chat.access.issuing import revoke
from chat.access.limits import Limit, bounds_of
from chat.access.owners import Asker, Owner
from chat.access.spending import DayUse
from chat.access.tokens import SCOPES, Service, Token
from chat.database import in_database
from chat.doors.calls import Call, Reply, Route
from chat.doors.http import MAX_BODY
from chat.doors.http import Doors as Application
from chat.doors.rates import duration
from chat.protocol.terms import Usage
from chat.runs.worker import Worker
from tests.chatting import TIMEOUT
from tests.scripted_model import ScriptedModel
from tooling.bounded import BoundedRedis

from .calling import Doors, Response

ELSEWHERE = "https://app.example"
JSON_TYPE = {"content-type": "application/json"}


class Asked(msgspec.Struct):
    question: str
    number: int = 0


asked: list[Any] = []


async def ask(call: Call) -> Reply:
    asked.append(call.body)
    return Reply({"owner": str(call.who.owner)})


has_begun, may_end = asyncio.Event(), asyncio.Event()


async def wait(call: Call) -> Reply:
    has_begun.set()
    await may_end.wait()
    return Reply({})


async def public(call: Call) -> Reply:
    return Reply({})


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel) -> Doors:
    asked.clear()
    return Doors(
        Application(
            [
                Route("POST", "/v1/ask", ask, "Ask.", "ask", body=Asked),
                Route("GET", "/v1/read", ask, "Read.", "read"),
                Route("GET", "/v1/wait", wait, "Wait.", "read"),
                Route("GET", "/v1/public", public, "Look.", None),
            ]
        )
    )


def token_of_service(**fields: Any) -> str:
    service, _ = Service.objects.get_or_create(slug="ci")
    return Token.objects.make(service, "test", **fields).text


async def bearer(**fields: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {await in_database(token_of_service, **fields)}"}


def refusal(response: Response) -> tuple[int, str]:
    return response.status, response.error["code"]


# --- Who asks


async def test_token_counts_for_its_owner(doors: Doors) -> None:
    response = await doors.post("/v1/ask", {"question": "?"}, headers=await bearer())
    assert response.json == {"owner": "service:ci"}


@pytest.mark.parametrize("text", ["fleet_", "fleet_12345678_nothing", "fleet_" + "x" * 60])
async def test_token_of_ours_that_is_wrong_is_refused(doors: Doors, text: str) -> None:
    headers = {"authorization": f"Bearer {text}"}
    response = await doors.post("/v1/ask", {"question": "?"}, headers=headers)
    assert refusal(response) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("key", ["", "none", "sk-x", "sk-" + "x" * 40])
async def test_key_of_another_form_is_anonymous(doors: Doors, key: str) -> None:
    headers = {"authorization": f"Bearer {key}" if key else ""}
    response = await doors.post("/v1/ask", {"question": "?"}, headers=headers)
    assert response.json["owner"].startswith("script:")


@pytest.mark.parametrize("scope", SCOPES)
async def test_each_route_needs_its_scope(doors: Doors, scope: str) -> None:
    headers = await bearer(scopes=[scope])
    calls = {
        "ask": await doors.post("/v1/ask", {"question": "?"}, headers=headers),
        "read": await doors.get("/v1/read", headers=headers),
    }
    for needed, response in calls.items():
        expected = 200 if needed == scope else 403
        assert response.status == expected
        if expected == 403:
            assert refusal(response) == (403, "insufficient_scope")


async def test_revoked_token_counts_no_longer_from_the_next_request(doors: Doors) -> None:
    headers = await bearer()
    assert (await doors.get("/v1/read", headers=headers)).status == 200
    await in_database(lambda: [revoke(token, by=None) for token in Token.objects.all()])
    assert refusal(await doors.get("/v1/read", headers=headers)) == (401, "invalid_api_key")


@pytest.mark.parametrize("api", ["tokens", "off"])
async def test_api_is_open_to_those_that_the_setting_names(
    doors: Doors, settings: Settings, api: str
) -> None:
    settings.FLEET_API = api
    anonymous = await doors.post("/v1/ask", {"question": "?"})
    known = await doors.post("/v1/ask", {"question": "?"}, headers=await bearer())
    if api == "tokens":
        assert refusal(anonymous) == (401, "invalid_api_key")
        assert known.status == 200
        return
    others = [
        await doors.get("/v1/public"),
        await doors.get("/v1/nowhere"),
        await doors.call("DELETE", "/v1/ask"),
        await doors.call("OPTIONS", "/v1/ask", headers={"origin": ELSEWHERE}),
    ]
    told = {response.body for response in [anonymous, known, *others]}
    assert {response.status for response in [anonymous, known, *others]} == {404}
    # Nothing but that there is none: the same at every path.
    assert len(told) == 1


# --- Pages of other sites


async def test_page_elsewhere_is_refused_whatever_it_sends(doors: Doors) -> None:
    body = json.dumps({"question": "?"}).encode()
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        headers = {"origin": "https://evil.example", "content-type": kind}
        response = await doors.post("/v1/ask", body, headers=headers)
        assert refusal(response) == (403, "forbidden")
        assert "access-control-allow-origin" not in response.headers
    assert asked == []


async def test_page_that_the_operator_or_a_token_names_may_read(
    doors: Doors, settings: Settings
) -> None:
    by_token = {"origin": ELSEWHERE, **await bearer(origins=[ELSEWHERE])}
    assert (await doors.get("/v1/read", headers=by_token)).status == 200
    by_other_token = {"origin": ELSEWHERE, **await bearer(origins=["https://b.example"])}
    assert (await doors.get("/v1/read", headers=by_other_token)).status == 403
    settings.FLEET_API_ORIGINS = (ELSEWHERE,)
    response = await doors.get("/v1/read", headers={"origin": ELSEWHERE})
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == ELSEWHERE
    assert "access-control-allow-credentials" not in response.headers
    exposed = response.headers["access-control-expose-headers"].lower()
    assert {"fleet-run", "retry-after", "x-request-id"} <= {
        name.strip() for name in exposed.split(",")
    }


async def test_refusal_can_be_read_by_a_page_that_may_ask(doors: Doors, settings: Settings) -> None:
    settings.FLEET_API_ORIGINS = (ELSEWHERE,)
    wrong = [
        await doors.get("/v1/nowhere", headers={"origin": ELSEWHERE}),
        await doors.post("/v1/ask", b"{", headers={"origin": ELSEWHERE, **JSON_TYPE}),
        await doors.get(
            "/v1/read", headers={"origin": ELSEWHERE, "authorization": "Bearer fleet_wrong"}
        ),
    ]
    assert [response.status for response in wrong] == [404, 400, 401]
    for response in wrong:
        assert response.headers["access-control-allow-origin"] == ELSEWHERE


async def test_preflight_needs_no_token(doors: Doors, settings: Settings) -> None:
    settings.FLEET_API = "tokens"
    headers = {"origin": ELSEWHERE, "access-control-request-method": "POST"}
    response = await doors.call("OPTIONS", "/v1/ask", headers={**headers, "authorization": ""})
    assert response.status == 204
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["access-control-allow-origin"] == ELSEWHERE
    assert "authorization" in response.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in response.headers


async def test_unknown_host_is_refused(doors: Doors) -> None:
    response = await doors.get("/v1/public", headers={"host": "evil.example"})
    assert refusal(response) == (403, "forbidden")


# --- Bodies


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b'{"question": "?"}', "text/plain", (415, "unsupported_media_type")),
        (b'{"question": "?"}', "", (415, "unsupported_media_type")),
        (b"x" * (MAX_BODY + 1), "application/json", (413, "too_large")),
        (b"{", "application/json", (400, "bad_request")),
        (b"\xff", "application/json", (400, "bad_request")),
        (b"[" * 100_000, "application/json", (400, "bad_request")),
        (b'{"question": 1}', "application/json", (400, "bad_request")),
    ],
)
async def test_wrong_body_is_refused(
    doors: Doors, body: bytes, kind: str, expected: tuple[int, str]
) -> None:
    response = await doors.post("/v1/ask", body, headers={"content-type": kind})
    assert refusal(response) == expected
    assert asked == []


async def test_refusal_names_the_field(doors: Doors) -> None:
    response = await doors.post("/v1/ask", {"question": "?", "number": "one"})
    assert response.error["param"] == "number"


async def test_unknown_paths_and_methods_are_errors_of_the_same_form(doors: Doors) -> None:
    assert refusal(await doors.get("/v1/nowhere")) == (404, "not_found")
    response = await doors.get("/v1/ask")
    assert refusal(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


# --- Limits


def limits(settings: Settings, **changes: Limit) -> None:
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, **changes)


async def questions(doors: Doors, **options: Any) -> Response:
    return await doors.post("/v1/ask", {"question": "?"}, **options)


async def test_request_counts_as_a_socket_of_its_address(doors: Doors, settings: Settings) -> None:
    limits(settings, handshakes=Limit(None, 2, None))
    address = "203.0.113.7"
    assert [(await doors.get("/v1/read", address=address)).status for _ in range(2)] == [200, 200]
    response = await doors.get("/v1/read", address=address)
    assert refusal(response) == (429, "rate_limit_exceeded")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert (await doors.get("/v1/read", address="203.0.113.8")).status == 200
    # What nobody has to ask for costs nothing.
    assert (await doors.get("/v1/public", address=address)).status == 200


async def test_request_is_open_until_it_is_answered(doors: Doors, settings: Settings) -> None:
    limits(settings, sockets=Limit(None, 1, None))
    waiting = doors.begin("GET", "/v1/wait", address="203.0.113.7")
    await asyncio.wait_for(has_begun.wait(), TIMEOUT)
    response = await doors.get("/v1/read", address="203.0.113.7")
    assert refusal(response) == (429, "rate_limit_exceeded")
    may_end.set()
    assert (await waiting.rest()).status == 200
    while (await doors.get("/v1/read", address="203.0.113.7")).status == 429:
        await asyncio.sleep(0.01)


async def test_headers_say_what_is_left_of_the_tightest_limit(
    doors: Doors, settings: Settings
) -> None:
    limits(settings, questions=Limit(20, 40, 600), tokens=Limit(5000, 10_000, None))
    headers = await bearer(limits={"questions": 5})
    day = DayUse.objects
    service = Asker(Owner("service", "ci"))
    await in_database(day.add, service, Usage(input_tokens=900, output_tokens=100), None)
    found = (await questions(doors, headers=headers)).headers
    rates = {name: value for name, value in found.items() if name.startswith("x-ratelimit")}
    assert rates.pop("x-ratelimit-reset-tokens").endswith("s")
    assert rates == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "5000",
        "x-ratelimit-remaining-tokens": "4000",
    }
    # Routes that start no run have none.
    assert not any(
        name.startswith("x-ratelimit")
        for name in (await doors.get("/v1/read", headers=headers)).headers
    )


async def test_headers_count_what_was_asked(doors: Doors, settings: Settings) -> None:
    limits(settings, questions=Limit(None, 4, None))
    script = {"address": "203.0.113.7"}
    bounds = bounds_of(["questions"], {"address": "address:203.0.113.7"}, settings.FLEET_LIMITS)
    left = []
    for _ in range(4):
        left.append((await questions(doors, **script)).headers["x-ratelimit-remaining-requests"])
        await Worker.current().admission.admit_run(uuid4(), bounds)
    left.append((await questions(doors, **script)).headers["x-ratelimit-remaining-requests"])
    assert left == ["3", "2", "1", "0", "0"]


async def test_without_redis_requests_have_no_such_headers(
    doors: Doors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(settings, questions=Limit(20, 40, 600))
    redis = Worker.current().redis
    # Nobody listens there.
    away = BoundedRedis(f"redis://127.0.0.1:{free_port()}/0")
    # Only for the request: the worker closes its own client at the end.
    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", away.client)
        response = await questions(doors)
    assert response.status == 200
    assert "x-ratelimit-remaining-requests" not in response.headers
    await away.aclose()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "1s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m0s"), (86_399.1, "24h0m0s")],
)
def test_times_have_the_form_of_openai(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
