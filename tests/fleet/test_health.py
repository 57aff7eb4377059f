"""Probes and logs of a real fleet whose services fail one after the other."""

import http.client
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agenticfleet import embedded
from tests.scripted_model import ScriptedModel
from tests.serving import STOP, Fleet, end, launch, until

from .test_fleet import read_to, read_to_end

QUESTION = "Where did I put the marmalade?"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Reply:
    status: int
    content: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Site:
    """A fleet with a model server and a Redis of its own."""

    fleet: Fleet
    model: ScriptedModel
    redis: embedded.Child
    replies: dict[str, Reply] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.fleet.port, timeout=20)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return Reply(
            response.status,
            json.loads(body) if is_json else {},
            {name.lower(): value for name, value in response.headers.items()},
        )

    def until_ready(self, status: str) -> Reply:
        """Wait until /readyz reports this status."""

        def reply() -> Reply | None:
            found = self.get("/readyz")
            return found if found.content["status"] == status else None

        found: Reply = until(reply, STOP, f"/readyz does not become {status}")
        return found

    def records(self, logger: str = "") -> list[dict[str, Any]]:
        """Return what the workers have logged so far."""
        lines = self.fleet.complained.splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        return [record for record in records if record["logger"].startswith(logger)]

    def logged_paths(self) -> set[str]:
        return {record["path"] for record in self.records("agenticfleet.access")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    model = ScriptedModel()
    model.on("Hold.", hold_after=1)
    with embedded.Watcher() as watcher:
        redis = embedded.start_valkey(watcher)
        embedded.wait_until_answering([redis])
        fleet = launch(
            tmp_path_factory.mktemp("health"),
            OPENAI_BASE_URL=model.url,
            FLEET_MODEL="scripted",
            FLEET_LIGHT_THRESHOLD="0",
            REDIS_URL=redis.url,
            FLEET_LOG_FORMAT="json",
            FLEET_SHUTDOWN_GRACE="30",
        )
        try:
            fleet.wait_until_ready()
            site = Site(fleet, model, redis)
            yield site
        finally:
            end(fleet)
            redis.stop()
        site.model.stop()


class TestLogs:
    def test_records_of_a_run_carry_its_ids_and_no_words(self, site: Site) -> None:
        with site.fleet.ask(QUESTION, traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01") as client:
            events = read_to_end(client)
        run_id = events[0]["workflow_id"]
        until(lambda: site.records("chat.access"), STOP, "no line for the socket")
        records = [record for record in site.records() if record.get("run_id") == run_id]
        assert {"chat.runs.supervisor", "chat.sla", "chat.access"} <= {
            record["logger"] for record in records
        }
        conversation_id = events[0]["data"]["conversation_id"]
        for record in records:
            assert {"timestamp", "level", "message", "request_id"} <= set(record)
            assert record["conversation_id"] == conversation_id
            assert record["trace_id"] == TRACE_ID
        assert len({record["request_id"] for record in records}) == 1
        # Every line of the run has the ids, not only those that say them in the message.
        assert not [
            record
            for record in site.records()
            if run_id in record["message"] and record.get("run_id") != run_id
        ]
        assert "marmalade" not in site.fleet.complained
        assert "**42**" not in site.fleet.complained

    def test_verdict_has_its_figures_as_fields(self, site: Site) -> None:
        with site.fleet.ask(QUESTION) as client:
            summary = read_to_end(client)[-1]["data"]
        [*_, record] = until(lambda: site.records("chat.sla"), STOP, "no verdict")
        assert record["path"] == "light"
        assert record["sla"] in ("met", "missed")
        phases = summary["timings"]["phases"]
        assert phases.keys() == {"routing", "answer"}
        assert record["slowest"]["phase"]["name"] == max(phases, key=phases.get)
        assert record["total_ms"] == summary["timings"]["total_ms"]
        assert record["phases_ms"] == phases

    def test_socket_is_logged_when_it_ends(self, site: Site) -> None:
        with site.fleet.ask(QUESTION) as client:
            events = read_to_end(client)
        run_id = events[0]["workflow_id"]

        def of_the_socket() -> list[dict[str, Any]]:
            return [each for each in site.records("chat.access") if each.get("run_id") == run_id]

        [record] = until(of_the_socket, STOP, "no line for the socket")
        assert record["close_code"] == 1000
        assert record["frames"] == len(events)
        assert record["duration_ms"] > 0

    def test_request_is_logged_without_its_query(self, site: Site) -> None:
        reply = site.get("/chats/?q=marmalade%20jar", **{"X-Request-ID": "proxy-17"})
        assert reply.headers["x-request-id"] == "proxy-17"
        until(
            lambda: [r for r in site.records("agenticfleet") if r["request_id"] == "proxy-17"],
            STOP,
            "no line for the request",
        )
        [record] = [r for r in site.records("agenticfleet") if r["request_id"] == "proxy-17"]
        assert (record["method"], record["path"], record["status"]) == (
            "GET",
            "/chats/",
            reply.status,
        )
        assert record["duration_ms"] > 0
        assert "marmalade" not in site.fleet.complained

    @pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "é"])
    def test_request_id_that_could_spoil_the_log_is_replaced(self, site: Site, sent: str) -> None:
        headers = {"X-Request-ID": sent} if sent else {}
        reply = site.get("/healthz", **headers)
        assert re.fullmatch(r"[0-9a-f]{16}", reply.headers["x-request-id"])

    def test_line_break_in_a_path_does_not_break_the_line(self, site: Site) -> None:
        site.get("/no%0Asuch%0Dpage")
        until(lambda: "/no%0Asuch%0Dpage" in site.logged_paths(), STOP, "no line for the request")

    def test_static_files_and_probes_are_not_logged(self, site: Site) -> None:
        before = site.logged_paths()
        for path in ("/static/chat/chat.css", "/healthz", "/readyz", "/metrics"):
            assert site.get(path).status == 200
        # As pages ask while their reader types.
        assert site.get("/answers/ahead/").status == 405
        assert site.get("/login/").status == 200
        until(lambda: "/login/" in site.logged_paths(), STOP, "no line for the last request")
        assert site.logged_paths() == before | {"/login/"}


class TestProbes:
    """In this order: the last one ends the fleet."""

    def test_ready_while_all_services_answer(self, site: Site) -> None:
        reply = site.until_ready("ready")
        assert reply.status == 200
        services = reply.content["services"]
        assert {name: checked["state"] for name, checked in services.items()} == {
            "database": "up",
            "redis": "up",
            "model": "up",
        }
        assert all(0 <= checked["ms"] < 1500 for checked in services.values())

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_probes_name_any_host_and_get_no_cookie(self, site: Site, path: str) -> None:
        reply = site.get(path, Host="10.1.2.3:8000")
        assert reply.status == 200
        assert "set-cookie" not in reply.headers

    def test_pages_and_metrics_still_reject_foreign_hosts(self, site: Site) -> None:
        assert site.get("/metrics", Host="evil.example").status == 400
        assert site.get("/", Host="evil.example").status == 400

    def test_flood_of_probes_costs_no_more_checks(self, site: Site) -> None:
        times = {json.dumps(site.get("/readyz").content) for _ in range(50)}
        # Each check has its own measured times, so equal replies are of one check.
        assert len(times) <= 5

    def test_degraded_without_redis(self, site: Site) -> None:
        site.redis.stop()
        reply = site.until_ready("degraded")
        assert reply.status == 200
        assert reply.content["reason"] == "redis is down"
        assert reply.content["services"]["redis"]["reason"]
        password = re.search(r":([^:@]+)@", site.redis.url)
        assert password
        assert password[1] not in json.dumps(reply.content)
        with site.fleet.ask(QUESTION) as client:
            assert read_to_end(client)[-1]["data"]["status"] == "completed"
        site.redis.start()
        site.until_ready("ready")

    def test_not_ready_without_the_database_file(self, site: Site) -> None:
        file = site.fleet.folder / "state/fleet.sqlite3"
        moved = file.rename(file.with_suffix(".moved"))
        try:
            reply = site.until_ready("not ready")
        finally:
            moved.rename(file)
        assert reply.status == 503
        assert reply.content["services"]["database"]["state"] == "down"
        assert "does not exist" in reply.content["services"]["database"]["reason"]
        assert site.get("/healthz").status == 200
        site.until_ready("ready")

    def test_not_ready_without_the_model_server(self, site: Site) -> None:
        port = int(site.model.url.split(":")[2].split("/")[0])
        site.model.stop()
        reply = site.until_ready("not ready")
        assert reply.status == 503
        assert reply.content["services"]["model"] == {
            "state": "down",
            "ms": reply.content["services"]["model"]["ms"],
            "reason": "the model server cannot be reached: connection refused",
        }
        assert [
            record
            for record in site.records("agenticfleet.health")
            if "model is down" in record["message"]
        ]
        site.model = ScriptedModel(port=port)
        site.model.on("Hold.", hold_after=1)
        site.until_ready("ready")

    def test_draining_worker_is_not_ready_but_alive(self, site: Site) -> None:
        with site.fleet.ask("Hold.") as client:
            read_to("response.delta", client)
            site.fleet.signal(signal.SIGTERM)
            reply = site.until_ready("not ready")
            assert (reply.status, reply.content["reason"]) == (503, "draining")
            assert site.get("/healthz").status == 200
            site.model.release()
            assert read_to_end(client)[-1]["data"]["status"] == "completed"
        assert site.fleet.process.wait(STOP) == 0
