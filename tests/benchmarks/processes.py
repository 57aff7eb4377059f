"""The measured servers as processes, with their use of CPU and memory."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psutil

from agenticfleet.embedded import Child, Watcher, free_port, start_valkey, wait_until_answering
from agenticfleet.running import RunningFleet
from tests.serving import NO_LIMITS

from .client import BenchmarkError, Target

PROJECT = Path(__file__).parents[2]
MANAGE = PROJECT / "manage.py"
START_TIMEOUT = 60.0  # seconds
# Settings from the environment, which must not change the measurements.
UNSET = (
    "OPENAI_API_KEY",
    "FLEET_LIGHT_MODEL",
    "DATABASE_URL",
    "REDIS_URL",
    "DJANGO_DEBUG",
    "FLEET_LOG_LEVEL",
    "FLEET_LOG_CONTENT",
    "FLEET_AUTH",
)
# What the person at this machine has configured is not what we measure.
CLEAN = {**dict.fromkeys(UNSET, ""), "PYTHON_DOTENV_DISABLED": "1"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port and its processes, each with all its descendants."""

    port: int
    roots: tuple[int, ...]

    def target(self, subprotocol: str = "") -> Target:
        return Target(self.port, subprotocol=subprotocol)

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def resident_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self._processes())

    def _processes(self) -> Iterator[psutil.Process]:
        for pid in self.roots:
            root = psutil.Process(pid)
            yield from (root, *root.children(recursive=True))


@contextmanager
def running(*children: Child) -> Iterator[None]:
    """Wait until these processes answer; stop them after the block."""
    try:
        wait_until_answering(children)
        yield
    except BenchmarkError as exc:
        dead = [
            f"{child.name} ended, {child.exit_reason()}"
            for child in children
            if not child.is_running()
        ]
        raise BenchmarkError("; ".join([str(exc), *dead])) from exc
    finally:
        for child in reversed(children):
            child.stop()


def module(
    watcher: Watcher, name: str, arguments: Sequence[str], *, port: int, **environment: str
) -> Child:
    """Start a Python module as a process that listens on a port."""
    return Child(
        name=f"{name} {' '.join(arguments)}",
        command=[sys.executable, "-m", name, *arguments],
        environment={**CLEAN, **environment},
        watcher=watcher,
        answers=lambda _: accepts_connections(port),
        start_timeout=START_TIMEOUT,
    ).start()


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def uvicorn(watcher: Watcher, application: str, *, port: int, **environment: str) -> Child:
    options = [
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--lifespan",
        "off",
        "--log-level",
        "warning",
        "--backlog",
        "1024",
    ]
    return module(watcher, "uvicorn", [application, *options], port=port, **environment)


@contextmanager
def paced_model(watcher: Watcher) -> Iterator[str]:
    """Start the model server of all measured servers; yield its URL for OPENAI_BASE_URL."""
    port = free_port()
    with running(module(watcher, "tests.benchmarks.paced_model", ["--port", str(port)], port=port)):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def floor(watcher: Watcher, model_url: str) -> Iterator[Server]:
    port = free_port()
    child = uvicorn(
        watcher, "tests.benchmarks.floor:application", port=port, OPENAI_BASE_URL=model_url
    )
    with running(child):
        yield Server(port, (child.pid,))


@contextmanager
def minimal_consumer(watcher: Watcher, model_url: str) -> Iterator[Server]:
    port = free_port()
    child = module(
        watcher,
        "tests.benchmarks.minimal_consumer",
        ["--port", str(port)],
        port=port,
        OPENAI_BASE_URL=model_url,
    )
    with running(child):
        yield Server(port, (child.pid,))


@contextmanager
def product(watcher: Watcher, model_url: str) -> Iterator[Server]:
    """Start the product as it is deployed: one worker, with its own Valkey and database."""
    with TemporaryDirectory(prefix="fleet-benchmark-") as state:
        card = Path(state) / "fleet.json"
        child = Child(
            name="the fleet",
            command=[sys.executable, MANAGE, "fleet", "--port", "0"],
            environment=fleet_environment(state, model_url),
            watcher=watcher,
            role="worker",
            answers=lambda _: card.exists(),
            start_timeout=START_TIMEOUT,
        ).start()
        with running(child):
            address = msgspec.json.decode(card.read_bytes(), type=RunningFleet).address
            yield Server(int(address.rstrip("/").rpartition(":")[2]), (child.pid,))


@contextmanager
def product_on_uvicorn(watcher: Watcher, model_url: str) -> Iterator[Server]:
    """Start the same application on uvicorn instead of daphne."""
    with TemporaryDirectory(prefix="fleet-benchmark-") as state:
        port, valkey = free_port(), start_valkey(watcher)
        environment = {**fleet_environment(state, model_url), "REDIS_URL": valkey.url}
        migrate = [sys.executable, str(MANAGE), "migrate", "--verbosity", "0"]
        subprocess.run(migrate, check=True, env={**os.environ, **environment})
        child = uvicorn(watcher, "agenticfleet.asgi:application", port=port, **environment)
        with running(valkey, child):
            yield Server(port, (valkey.pid, child.pid))


def fleet_environment(state: str, model_url: str) -> dict[str, str]:
    return {
        **CLEAN,
        **NO_LIMITS,
        "FLEET_STATE_DIR": state,
        "OPENAI_BASE_URL": model_url,
        "FLEET_MODEL": "paced",
        "FLEET_SHUTDOWN_GRACE": "0",
    }
