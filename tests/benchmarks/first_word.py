"""Measure how soon `manage.py ask` shows the first word: `python -m tests.benchmarks.first_word`.

Beside a running fleet, whose model answers at once, and without one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, clean_environment, running

LIMIT = 1.5  # seconds until the first word beside a fleet


def first_word(folder: Path, model: ScriptedModel) -> float:
    """Return the seconds from the command to the first byte of the answer."""
    environment = {
        **clean_environment(),
        "FLEET_STATE_DIR": str(folder),
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
        "PYTHON_DOTENV_DISABLED": "1",
    }
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, MANAGE, "ask", "Hello?"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stdout
        first = os.read(asking.stdout.fileno(), 1)
        seconds = time.perf_counter() - started
        rest, notes = asking.communicate()
        assert (first + rest).startswith(b"The answer"), notes.decode()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    model = ScriptedModel()
    with TemporaryDirectory() as place:
        folder = Path(place)
        with running(folder, model):
            beside = [first_word(folder / "state", model) for _ in range(times)]
        alone = [first_word(folder / "state", model) for _ in range(times)]
    model.stop()
    for words, found in (("beside a fleet", beside), ("alone", alone)):
        print(f"first word {words}: {statistics.median(found):.2f} s, at most {max(found):.2f} s")
    return 0 if statistics.median(beside) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
