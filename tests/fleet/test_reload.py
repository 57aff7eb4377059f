"""SIGHUP to a fleet: its workers are replaced one by one while it serves."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import START, STOP, Fleet, all_gone, running, until
from tests.telemetry.scraping import Samples, scrape

from .test_fleet import read_to, read_to_end

# Read by each Python process at its start. It ends workers while a file says so.
BROKEN_CODE = """
import os, pathlib, sys
if "fleet-worker" in sys.argv and pathlib.Path(__file__).with_name("broken").exists():
    os._exit(3)
"""
# A reload starts a process for the migrations, and then each worker.
RELOAD = 2 * START


@dataclass
class Reloads:
    """What was observed of a fleet with one worker, in this order."""

    first: psutil.Process
    endings: list[Any]  # of questions asked during the reloads
    streaming: dict[str, Any]  # the terminal of a run that was live before it
    second: psutil.Process
    count: int  # reloads after a signal, and two more during the reload
    samples: Samples  # scraped afterwards
    files: list[str]  # of the metrics then
    after_broken_settings: list[psutil.Process]
    after_broken_code: list[psutil.Process]
    complaints: str
    exit_code: int  # after a signal to stop in a reload
    took: float  # seconds, the stop
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def reloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloads]:
    folder = tmp_path_factory.mktemp("reload")
    prices, code = folder / "prices.json", folder / "code"
    prices.write_text('{"currency": "USD", "models": {}}')
    code.mkdir()
    (code / "sitecustomize.py").write_text(BROKEN_CODE)
    model = ScriptedModel()
    model.on("Slowly, please.", hold_after=1)
    environment = {"FLEET_PRICES": str(prices), "PYTHONPATH": str(code)}
    # The model holds an answer for longer, if the machine is busy.
    environment |= {"FLEET_IDLE_TIMEOUT": "600", "FLEET_MAX_RUNTIME": "600"}
    try:
        with running(folder, model, FLEET_SHUTDOWN_GRACE="300", **environment) as fleet:
            yield observe(fleet, model, prices, code / "broken")
    finally:
        model.stop()


def observe(fleet: Fleet, model: ScriptedModel, prices: Path, broken: Path) -> Reloads:
    [first] = fleet.children("fleet-worker")
    endings: list[Any] = []
    with fleet.ask("Slowly, please.") as client:
        read_to("response.delta", client)
        fleet.signal(signal.SIGHUP)
        until(lambda: "Reloading" in fleet.said, STOP, "no reload")
        for _ in range(2):
            fleet.signal(signal.SIGHUP)
            # Asking takes time, in which the first signal arrives: the kernel merges pending ones.
            endings.append(ending_of_a_question(fleet))
        while fleet.said.count("Reloaded.") < 2:
            endings.append(ending_of_a_question(fleet))
        # The first worker is still there, and must not take new questions.
        endings += [ending_of_a_question(fleet) for _ in range(20)]
        model.release()
        streaming = read_to_end(client)[-1]
    until(lambda: len(fleet.children("fleet-worker")) == 1, STOP, "old workers stay")
    [second] = fleet.children("fleet-worker")
    samples = scrape(fleet.address)
    files = [path.name for path in (fleet.folder / "state/metrics").iterdir()]
    count = fleet.said.count("Reloading")

    prices.write_text("{")
    fleet.signal(signal.SIGHUP)
    until(lambda: "The reload has stopped" in fleet.complained, RELOAD, "no complaint")
    after_broken_settings = fleet.children("fleet-worker")
    prices.write_text('{"currency": "USD", "models": {}}')

    broken.touch()
    fleet.signal(signal.SIGHUP)
    until(lambda: "ended while it was starting" in fleet.complained, RELOAD, "no complaint")
    after_broken_code, complaints = fleet.children("fleet-worker"), fleet.complained
    broken.unlink()

    fleet.signal(signal.SIGHUP)
    until(lambda: len(fleet.children("fleet-worker")) == 2, RELOAD, "no new worker")
    children, stopped = fleet.children(), time.monotonic()
    exit_code = fleet.stop()
    return Reloads(
        *(first, endings, streaming, second, count, samples, files),
        *(after_broken_settings, after_broken_code, complaints),
        *(exit_code, time.monotonic() - stopped),
        [child for child in children if not all_gone([child])],
    )


def ending_of_a_question(fleet: Fleet) -> Any:
    """Return the status of an answer, or the code of its error."""
    with fleet.ask("What is the answer?") as client:
        end = read_to_end(client)[-1]
    return end["data"]["status"] if end["type"] == "done" else end["error"]["code"]


def test_new_questions_are_answered_all_the_time(reloads: Reloads) -> None:
    assert set(reloads.endings) == {"completed"}


def test_answer_that_streams_finishes_on_the_old_worker(reloads: Reloads) -> None:
    assert reloads.streaming["data"]["status"] == "completed"


def test_worker_is_a_new_process(reloads: Reloads) -> None:
    assert reloads.second != reloads.first


def test_signals_during_a_reload_cause_one_more(reloads: Reloads) -> None:
    assert reloads.count == 2


def test_counters_continue_and_gauges_count_living_workers(reloads: Reloads) -> None:
    assert reloads.samples.value("fleet_workers") == 1
    assert reloads.samples.value("fleet_runs_ended_total") == len(reloads.endings) + 1


def test_replaced_workers_leave_few_files(reloads: Reloads) -> None:
    numbers = {name.rpartition("_")[2] for name in reloads.files}
    assert len(numbers) <= 3


def test_broken_settings_leave_the_old_worker_serving(reloads: Reloads) -> None:
    assert len(reloads.after_broken_settings) == 1
    assert "FLEET_PRICES names" in reloads.complaints


def test_broken_code_leaves_the_old_worker_serving(reloads: Reloads) -> None:
    assert reloads.after_broken_code == reloads.after_broken_settings
    assert "ended while it was starting, exit code 3" in reloads.complaints
    assert "The other workers go on." in reloads.complaints


def test_signal_to_stop_ends_a_reload(reloads: Reloads) -> None:
    assert (reloads.exit_code, reloads.left) == (0, [])
