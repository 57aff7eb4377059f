"""Measure what one answer leaves behind, and sends: `python -m tests.benchmarks.footprint`.

The figures are what sizes of databases, Redis and networks are estimated from. It starts a
PostgreSQL, a Valkey and a fleet of one worker of its own.
"""

import argparse
import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from websockets.sync.client import connect
from websockets.typing import Subprotocol

import tests.benchmarks.configured  # noqa: F401 (the client checks events as the doors do)
from agenticfleet.embedded import Watcher, start_valkey, wait_until_answering
from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chatting import AS_SCRIPT
from tests.postgresql import PostgreSQL, postgresql
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

TOKENS, PACE = 400, 0.01  # of an answer; seconds between two
SETTLE = 3.0  # seconds in which the last run is counted and its log closed
ROWS = "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables"
WRITTEN = "SELECT pg_current_wal_lsn() - '0/0'"
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
SIZE = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@dataclass
class Stored:
    """What database and Redis hold, and have written so far."""

    inserts: int
    updates: int
    deletes: int
    written: int
    commits: int
    size: int
    redis: int

    @classmethod
    def now(cls, server: PostgreSQL, store: "redis.Redis[Any]") -> "Stored":
        rows = [int(each) for each in server.sql(ROWS).split("|")]
        others = [int(float(server.sql(sql))) for sql in (WRITTEN, COMMITS, SIZE)]
        return cls(*rows, *others, store.info("memory")["used_memory"])


def sizes_of_frames(fleet: Fleet, subprotocol: str) -> dict[str, list[int]]:
    """Ask, and return the bytes of each frame by its type."""
    found: dict[str, list[int]] = {}
    url = fleet.address.replace("http", "ws") + "ws/chat/"
    names = [Subprotocol(subprotocol)]
    with connect(url, subprotocols=names, additional_headers=AS_SCRIPT, compression=None) as client:
        client.send(json.dumps({"message": "And?", "message_id": str(uuid.uuid4())}))
        kind = ""
        while kind not in ("done", "error"):
            text = str(client.recv(timeout=60))
            kind = json.loads(text)["type"]
            found.setdefault(kind, []).append(len(text.encode()))
    assert kind == "done"
    return found


def measured(folder: Path, stack: ExitStack, answers: int) -> Iterator[tuple[str, str]]:
    """Yield each figure with its name."""
    server = stack.enter_context(postgresql(folder))
    watcher = stack.enter_context(Watcher())
    valkey = start_valkey(watcher)
    stack.callback(valkey.stop)
    wait_until_answering([valkey])
    store = redis.Redis.from_url(valkey.url)
    stack.callback(store.close)
    model = ScriptedModel()
    stack.callback(model.stop)
    model.default = Script(tokens=[f"word{n:03} " for n in range(TOKENS)], pace=PACE)
    fleet = stack.enter_context(
        running(folder, model, DATABASE_URL=server.url(), REDIS_URL=valkey.url)
    )
    sizes_of_frames(fleet, SUBPROTOCOL_HTML)  # Fills caches.
    time.sleep(SETTLE)
    before = Stored.now(server, store)
    frames: dict[str, list[dict[str, list[int]]]] = {SUBPROTOCOL_JSON: [], SUBPROTOCOL_HTML: []}
    for number in range(answers):
        name = list(frames)[number % 2]
        frames[name].append(sizes_of_frames(fleet, name))
    time.sleep(SETTLE)
    after = Stored.now(server, store)
    yield f"an answer of {TOKENS} deltas, {answers} one after the other", ""
    for name in ("inserts", "updates", "deletes"):
        number = getattr(after, name) - getattr(before, name)
        yield f"PostgreSQL: {name}", f"{number / answers:.1f}"
    yield (
        "PostgreSQL: log written (WAL)",
        f"{(after.written - before.written) / answers:,.0f} bytes",
    )
    yield "PostgreSQL: tables and indexes", f"{(after.size - before.size) / answers:,.0f} bytes"
    time.sleep(SETTLE)
    idle = (Stored.now(server, store).commits - after.commits) / SETTLE
    yield "PostgreSQL: commits of an idle worker", f"{idle:.1f} a second"
    logs = [store.memory_usage(key) for key in store.scan_iter("fleet:log:*")]
    yield "Redis: the log of one answer", f"{sum(logs) / len(logs):,.0f} bytes"
    yield "Redis: growth for an answer", f"{(after.redis - before.redis) / answers:,.0f} bytes"
    for name, found in frames.items():
        deltas = [size for each in found for size in each["response.delta"]]
        total = sum(size for each in found for sizes in each.values() for size in sizes)
        yield f"{name}: a delta", f"{sum(deltas) / len(deltas):.0f} bytes"
        yield f"{name}: frames of a delta", f"{len(deltas) / len(found):.0f}"
        yield f"{name}: an answer", f"{total / len(found):,.0f} bytes"
    yield (
        "PostgreSQL: connections of a fleet with one worker",
        str(int(server.sql(CONNECTIONS)) - 1),
    )
    yield "Redis: connections of a fleet with one worker", str(len(store.client_list()) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=20)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="fleet-footprint-") as name, ExitStack() as stack:
        for what, figure in measured(Path(name), stack, options.answers):
            sys.stdout.write(f"| {what} | {figure} |\n")


if __name__ == "__main__":
    main()
