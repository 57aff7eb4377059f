"""Play the cases whose names match a pattern, and print what is wrong."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path

import tests.benchmarks.configured  # noqa: F401 (the client checks events as the doors do)

from .asking import fleet_of, play_all
from .bank import FURTHER, HANDED
from .server import RawServer


def main(pattern: str = "") -> int:
    cases = [case for case in (*HANDED, *FURTHER) if re.search(pattern, case.name)]
    handed = {case.name for case in HANDED}
    server = RawServer(cases)
    with tempfile.TemporaryDirectory() as folder, fleet_of(Path(folder), server) as fleet:
        played = asyncio.run(play_all(fleet, server, cases))
    server.stop()
    faults = {name: fault for name, each in played.items() if (fault := each.fault)}
    for name, fault in faults.items():
        print("handed" if name in handed else "further", fault)
    passed = len(cases) - len(faults)
    print(f"{passed} of {len(cases)} pass; {len(faults.keys() & handed)} of the others are handed")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
