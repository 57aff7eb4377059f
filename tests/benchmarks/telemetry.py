"""Measure what telemetry costs: `python -m tests.benchmarks.telemetry [--pairs 80]`.

The product answers in a process of its own, without a server in front of it, so that nothing else
counts. Blocks of runs with telemetry and without it alternate. The exit code is 2 if the cost is
above the budget.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agenticfleet.embedded import Watcher, start_valkey
from chat.workflow.agents import PLANNER, REVIEWER
from tests.scripted_model import Script, ScriptedModel

from .processes import CLEAN, MANAGE, running

BUDGET = 0.03  # of a run's CPU time
LENGTH = 100  # tokens of every text
PACE = 0.002  # seconds between two tokens


def scripted() -> ScriptedModel:
    """Return a model that plays every member of the team; two specialists work side by side."""
    model = ScriptedModel()
    model.default = Script(tokens=["word "] * LENGTH, pace=PACE)
    subtasks = [
        {"agent": "researcher", "task": "find the facts"},
        {"agent": "analyst", "task": "check the numbers"},
    ]
    model.as_agent(PLANNER.instructions, Script(tokens=[json.dumps({"subtasks": subtasks})]))
    model.as_agent(REVIEWER.instructions, Script(tokens=['{"score": 9}']))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=80, help="blocks with and without, per path")
    options = parser.parse_args()
    model = scripted()
    with TemporaryDirectory(prefix="fleet-benchmark-") as folder, Watcher() as watcher:
        valkey = start_valkey(watcher)
        environment = {
            **os.environ,
            **CLEAN,
            "DJANGO_SETTINGS_MODULE": "agenticfleet.settings",
            "FLEET_STATE_DIR": folder,
            "REDIS_URL": valkey.url,
            "OPENAI_BASE_URL": model.url,
            "FLEET_MODEL": "scripted",
            "FLEET_LIGHT_THRESHOLD": "0",
        }
        migrate = [sys.executable, str(MANAGE), "migrate", "--verbosity", "0"]
        blocks = [sys.executable, "-m", "tests.benchmarks.telemetry_blocks"]
        with running(valkey), (Path(folder) / "log").open("w") as log:
            subprocess.run(migrate, check=True, env=environment)
            ended = subprocess.run(
                [*blocks, str(options.pairs), str(BUDGET)], env=environment, stderr=log
            )
        if ended.returncode == 1:
            sys.stderr.write((Path(folder) / "log").read_text()[-3000:])
    model.stop()
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
