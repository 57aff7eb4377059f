"""End the processes that this one has started when it ends, even by SIGKILL."""

import subprocess
import sys
from pathlib import Path
from typing import Literal, Self

type Role = Literal["worker", "service"]


class Watcher:
    """A helper process that stops the watched processes if this one ends, even by SIGKILL."""

    def __init__(self) -> None:
        self._watched: dict[int, Role] = {}
        self._process = self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def watch(self, pid: int, role: Role) -> None:
        self._watched[pid] = role
        self.send(f"+{role} {pid}\n")

    def forget(self, pid: int) -> None:
        if self._watched.pop(pid, None):
            self.send(f"-{pid}\n")

    def start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("watcher.py")
        # The pipe must close when this process ends. Its end here is close-on-exec, so no other
        # child holds it open.
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )

    def send(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            # The helper was killed. `_watched` already includes the change that `line` describes.
            self._process.wait()
            self._process = self.start()
            for pid, role in self._watched.items():
                self.send(f"+{role} {pid}\n")
