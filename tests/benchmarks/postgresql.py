"""A PostgreSQL server of its own, in a folder, for a benchmark."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agenticfleet.embedded import free_port

from .client import BenchmarkError

DEBIAN = "/usr/lib/postgresql"  # Debian's packages leave these programs out of PATH
USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start a server on a free port; yield its DATABASE_URL. Stop it after the block."""
    data, port = folder / "pg", free_port()
    data.mkdir()
    owner = unprivileged_user()
    if owner:
        os.chown(data, owner.pw_uid, owner.pw_gid)
        folder.chmod(0o755)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [found(program), "-D", str(data), *arguments],
            check=True,
            cwd=data,
            stdout=subprocess.DEVNULL,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )

    run("initdb", "--username", "fleet", "--auth", "trust", "--encoding", "UTF8", "--no-sync")
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-w", "-l", str(data / "log"), "-o", options, "start")
    try:
        yield f"postgresql://fleet@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")


def found(program: str) -> str:
    """Return the path of one of PostgreSQL's programs, of its newest version."""
    versions = sorted(Path(DEBIAN).glob("*/bin"), key=lambda path: float(path.parent.name))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(versions))])
    if program_path := shutil.which(program, path=path):
        return program_path
    raise BenchmarkError(f"{program} is missing: apt-get install postgresql")


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user to run as; None if this isn't root."""
    if os.getuid():
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in USERS if name in known)
