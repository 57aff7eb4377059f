"""The state folder: what a fleet keeps there, and that other users of the machine can't open it."""

import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

OTHERS = 0o077  # the bits of everybody's access but the owner's: as a umask, or in a mode
SQLITE_FILES = ("", "-wal", "-shm", "-journal")
MAX_NAMED = 3  # paths in a line of the log


def make_state_folder(path: Path) -> str:
    """Make the folder if it is missing. Return what is wrong with it; empty if it can be used."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        return f"names {path}, which cannot be made: {exc.strerror}."
    return "" if os.access(path, os.W_OK | os.X_OK) else f"names {path}, which is not writable."


def kept_key(folder: Path) -> str:
    """Return the random key in the state folder, which lets sessions survive a restart."""
    path = folder / "secret_key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


def keep_private(folder: Path, database: dict[str, Any]) -> None:
    """Let only this user reach the state folder and a database in a file, now and from now on.

    Earlier versions, and other programs, may have left them open to everybody.
    """
    os.umask(OTHERS)
    closed, open_still = [], []
    for path in stored_in(folder, database):
        try:
            if close(path):
                closed.append(path)
        except FileNotFoundError:
            continue  # such as SQLite's files, which come and go
        except OSError:
            open_still.append(path)
    if closed:
        logger.warning("other users could open %s; now only this one can", listed(closed))
    if open_still:
        logger.warning("other users may be able to open %s", listed(open_still))


def stored_in(folder: Path, database: dict[str, Any]) -> Iterator[Path]:
    yield folder
    if os.access(folder, os.R_OK):
        yield from folder.iterdir()
    if database["ENGINE"] == "django.db.backends.sqlite3":
        yield from (Path(f"{database['NAME']}{ending}") for ending in SQLITE_FILES)


def close(path: Path) -> bool:
    """Take others' access to a file or folder away. Return True if they had any."""
    # Not through a link, whose target may be meant for others, nor from a folder such as /tmp.
    mode = path.lstat().st_mode
    is_ours = stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and not mode & stat.S_ISVTX)
    if not (is_ours and mode & OTHERS):
        return False
    path.chmod(stat.S_IMODE(mode) & ~OTHERS)
    return True


def listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return f"{', '.join(map(str, paths[:MAX_NAMED]))}{more}"
