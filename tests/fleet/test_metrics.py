"""The metrics of a fleet of two workers, scraped over HTTP."""

import json
import os
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from agenticfleet.errors import EmbeddedError
from agenticfleet.metricfiles import KINDS, SIZE, MetricFiles
from tests.scripted_model import ScriptedModel
from tests.serving import START, STOP, Fleet, running, until
from tests.telemetry.scraping import Samples, scrape

from .test_fleet import read_to, read_to_end

COMPLETED, FAILED, CANCELLED = 6, 3, 3


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    model = ScriptedModel()
    model.on("Fail.", status=400, error={"message": "no"})
    model.on("Hold.", hold_after=1)
    model.on("Stream.", tokens=["word "] * 150, pace=0.01)
    yield model
    model.stop()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("metrics")
    with running(folder, model, "--workers", "2", FLEET_LEASE_TTL="2") as fleet:
        yield fleet


def ask_and_cancel(fleet: Fleet) -> None:
    with fleet.ask("Hold.") as client:
        read_to("response.delta", client)
        client.send(json.dumps({"type": "cancel"}))
        read_to_end(client)


def ask_to_end(fleet: Fleet, question: str) -> None:
    with fleet.ask(question) as client:
        read_to_end(client)


def until_ended(fleet: Fleet, runs: int) -> Samples:
    """Wait until so many runs are counted as ended; return that scrape."""

    def scraped() -> Samples | None:
        samples = scrape(fleet.address)
        return samples if samples.value("fleet_runs_ended_total") == runs else None

    found: Samples = until(scraped, STOP, f"not exactly {runs} runs are counted")
    return found


def files_of(fleet: Fleet) -> list[str]:
    return sorted(path.name for path in (fleet.folder / "state/metrics").iterdir())


class TestTwoWorkers:
    """In this order: each test continues with the counters of the last one."""

    def test_counters_are_the_sum_of_both_workers(self, fleet: Fleet) -> None:
        for _ in range(COMPLETED):
            ask_to_end(fleet, "What is the answer?")
        for _ in range(FAILED):
            ask_to_end(fleet, "Fail.")
        for _ in range(CANCELLED):
            ask_and_cancel(fleet)
        samples = until_ended(fleet, COMPLETED + FAILED + CANCELLED)
        assert samples.by("ending", "fleet_runs_ended_total", path="light") == {
            "completed": COMPLETED,
            "model_error": FAILED,
            "cancelled": CANCELLED,
        }
        assert samples.value("fleet_runs_started_total") == COMPLETED + FAILED + CANCELLED
        assert samples.value("fleet_run_duration_seconds_count") == samples.value(
            "fleet_runs_ended_total"
        )
        assert samples.value("fleet_workers") == 2
        assert samples.value("fleet_runs_live") == samples.value("fleet_sockets_open") == 0
        assert samples.by("service", "fleet_service_up") == {"database": 1, "redis": 1, "model": 1}
        # Each worker measures itself twice a second.
        until(
            lambda: scrape(fleet.address).value("fleet_process_resident_memory_bytes") > 2 * 2**20,
            STOP,
            "the workers are not measured",
        )
        assert scrape(fleet.address).value("fleet_event_loop_lag_seconds_count") > 0
        assert list(samples.problems()) == []
        # Both workers had runs, or this test would show nothing.
        assert {name for name in files_of(fleet) if name.startswith("counter")} == {
            "counter_1.db",
            "counter_2.db",
        }

    def test_every_worker_shows_the_same_counters(self, fleet: Fleet) -> None:
        # Each scrape is a new connection, which either worker may accept.
        ended = {scrape(fleet.address).value("fleet_runs_ended_total") for _ in range(10)}
        assert ended == {COMPLETED + FAILED + CANCELLED}

    def test_killed_worker_leaves_its_counters_but_not_its_gauges(self, fleet: Fleet) -> None:
        before, files = scrape(fleet.address), files_of(fleet)
        with ExitStack() as stack:
            clients = [stack.enter_context(fleet.ask("Hold.")) for _ in range(4)]
            for client in clients:
                read_to("response.delta", client)
            assert scrape(fleet.address).value("fleet_runs_live") == 4
            assert scrape(fleet.address).value("fleet_sockets_open") == 4
            killed, _ = fleet.children("fleet-worker")
            killed.kill()
            until(lambda: "SIGKILL" in fleet.complained, STOP, "the fleet does not notice")
            # Before another process can have taken the dead one's place: its restart takes longer.
            samples = scrape(fleet.address)
            assert samples.value("fleet_workers") == 1
            # A run is on the worker of its socket.
            lost = 4 - samples.value("fleet_sockets_open")
            assert lost >= 0
            assert samples.value("fleet_runs_ended_total") >= before.value("fleet_runs_ended_total")
        until(lambda: len(fleet.children("fleet-worker")) == 2, START, "no new worker")
        until(lambda: scrape(fleet.address).value("fleet_workers") == 2, START, "one worker")
        # The dead worker's runs go on on any other one, and are counted as taken over.
        until(lambda: scrape(fleet.address).value("fleet_runs_live") == 4, STOP, "runs are lost")
        assert scrape(fleet.address).by("reason", "fleet_takeovers_total").get("died", 0) == lost
        for _ in range(2):
            ask_to_end(fleet, "What is the answer?")
        until(
            lambda: (
                scrape(fleet.address).by("ending", "fleet_runs_ended_total")["completed"]
                == COMPLETED + 2
            ),
            STOP,
            "counters did not go on",
        )
        # A restart adds no files, so scrapes don't get slower.
        assert files_of(fleet) == files

    def test_all_that_was_started_has_ended(self, fleet: Fleet, model: ScriptedModel) -> None:
        model.release()
        started = scrape(fleet.address).value("fleet_runs_started_total")
        until_ended(fleet, int(started))
        # A run is counted when its ending is stored, and is live until its log is closed.
        until(lambda: not scrape(fleet.address).value("fleet_runs_live"), STOP, "runs stay live")

    def test_scrapes_cost_a_stream_no_event(self, fleet: Fleet) -> None:
        stop, scrapes = threading.Event(), []

        def scrape_without_pause() -> None:
            while not stop.is_set():
                scrapes.append(scrape(fleet.address))

        def gaps() -> list[float]:
            with fleet.ask("Stream.") as client:
                read_to("response.delta", client)
                arrived = [time.monotonic()]
                events = []
                while not events or events[-1]["type"] != "done":
                    events.append(json.loads(client.recv(timeout=STOP)))
                    arrived.append(time.monotonic())
            assert sum(event["type"] == "response.delta" for event in events) == 149
            return [after - before for before, after in pairwise(arrived)]

        with ThreadPoolExecutor() as pool:
            pool.submit(scrape_without_pause)
            try:
                streams = [pool.submit(gaps) for _ in range(3)]
                found = [gap for stream in streams for gap in stream.result()]
            finally:
                stop.set()
        assert len(scrapes) > 10
        # The model sends a token each 10 ms; the scraper's parsing takes the processor, too.
        assert statistics.quantiles(found, n=100)[-1] < 0.25


def test_new_fleet_starts_its_counters_at_zero(tmp_path: Path, model: ScriptedModel) -> None:
    stale = tmp_path / "state/metrics/counter_7.db"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(os.urandom(100))
    with running(tmp_path, model) as fleet:
        assert scrape(fleet.address).value("fleet_runs_started_total") == 0
        ask_to_end(fleet, "What is the answer?")
        until_ended(fleet, 1)


def test_files_have_no_holes_that_a_full_disk_could_not_fill(fleet: Fleet) -> None:
    files = list((fleet.folder / "state/metrics").iterdir())
    assert len(files) == 2 * len(KINDS)
    for file in files:
        assert file.stat().st_size == SIZE
        assert file.stat().st_blocks * 512 >= SIZE


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.write_text("a file")
    with pytest.raises(EmbeddedError, match="metrics: cannot be used for metrics: File exists"):
        MetricFiles(folder).begin()


def test_gauges_of_an_ended_worker_are_dropped_on_a_full_disk(tmp_path: Path) -> None:
    files = MetricFiles(tmp_path / "metrics")
    files.begin()
    for number in (1, 2):
        files.add(number)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        files.forget_gauges(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (files.folder / "gauge_livesum_2.db").exists()
    assert (files.folder / "gauge_livesum_1.db").exists()
