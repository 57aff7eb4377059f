"""A PostgreSQL server of its own, in a folder, for tests, storms and benchmarks.

    python -m tests.postgresql COMMAND…

runs a command whose DATABASE_URL is such a server, which is then removed.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import psutil

from agenticfleet.embedded import free_port
from tests.serving import START, until

DEBIAN = "/usr/lib/postgresql"  # Debian's packages leave these programs out of PATH
USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
SUPERUSER = "fleet"
# Of a server whose data nobody needs after a power cut, such as the suite's.
CARELESS = ("synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


class MissingProgram(Exception):
    """Raised if PostgreSQL isn't installed."""


@dataclass
class PostgreSQL:
    """A server with its data in a folder. It is as durable as one in production, but for fsync."""

    data: Path
    port: int = field(default_factory=free_port)
    settings: tuple[str, ...] = ()  # such as "max_connections=20"

    def url(self, database: str = "postgres") -> str:
        """Return the DATABASE_URL of one of its databases."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        self.make_folder()
        options = ("--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        self.run("initdb", "-D", str(self.data), *options)

    def make_folder(self) -> None:
        self.data.mkdir(mode=0o700)
        if owner := unprivileged_user():
            os.chown(self.data, owner.pw_uid, owner.pw_gid)

    def standby(self) -> "PostgreSQL":
        """Return a running server with its data beside, which follows this one until `promote`.

        From then on, nothing counts as stored here before it is stored there, too.
        """
        other = PostgreSQL(self.data.with_name(f"{self.data.name}-standby"), settings=self.settings)
        other.make_folder()
        copying = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        other.run("pg_basebackup", "-D", str(other.data), "-d", self.url(), *copying)
        other.start()
        following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        until(lambda: self.sql(following) == "1", START, "the standby does not follow")
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.sql("SELECT pg_reload_conf()")
        return other

    def promote(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def start(self) -> None:
        settings = ("listen_addresses=127.0.0.1", "fsync=off", *self.settings)
        options = f"-p {self.port} -k {self.data} {' '.join(f'-c {one}' for one in settings)}"
        log = str(self.data / "log")
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "immediate") -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def processes(self) -> list[psutil.Process]:
        """Return the server's process and those of its connections."""
        pid = int((self.data / "postmaster.pid").read_text().partition("\n")[0])
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]

    def freeze(self) -> None:
        """Let it be silent: the kernel takes what is sent to it, and nothing is answered."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run SQL; return the rows as text, with a line for each."""
        return self.run(
            "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements, self.url(database)
        )

    def open_way(self) -> None:
        """Let other users reach the data: each pytest that starts closes the folders of all."""
        for folder in self.data.parents:
            if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the user of the server; return what it prints."""
        owner = unprivileged_user()
        if owner:
            self.open_way()
        result = subprocess.run(
            [found(program), *arguments],
            check=True,
            cwd=self.data,
            # pg_ctl leaves its output to the server, which would keep a pipe open.
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            text=True,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )
        return (result.stdout or "").strip()


@contextmanager
def postgresql(folder: Path, *settings: str) -> Iterator[PostgreSQL]:
    """Start a server on a free port, with its data below `folder`. Stop it after the block."""
    server = PostgreSQL(folder / "pg", settings=settings)
    server.make()
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.thaw()
            server.stop()


def found(program: str) -> str:
    """Return the path of one of PostgreSQL's programs, of its newest version."""
    versions = sorted(Path(DEBIAN).glob("*/bin"), key=lambda path: float(path.parent.name))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(versions))])
    if program_path := shutil.which(program, path=path):
        return program_path
    raise MissingProgram(f"{program} is missing: apt-get install postgresql")


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user to run as; None if this isn't root."""
    if os.getuid():
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in USERS if name in known)


def run_with_server(command: Sequence[str]) -> int:
    """Return the exit code of a command, which alone decides how it ends on Ctrl-C or SIGTERM."""
    with (
        TemporaryDirectory(prefix="postgresql-") as folder,
        postgresql(Path(folder), *CARELESS) as server,
    ):
        # Fleets need a key if their database may be that of several hosts.
        settings = {"DATABASE_URL": server.url(), "DJANGO_SECRET_KEY": secrets.token_hex()}
        with subprocess.Popen(command, env={**os.environ, **settings}) as process:
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            while True:
                with suppress(KeyboardInterrupt):
                    return process.wait()


if __name__ == "__main__":
    try:
        sys.exit(run_with_server(sys.argv[1:]))
    except MissingProgram as exc:
        sys.exit(str(exc))
