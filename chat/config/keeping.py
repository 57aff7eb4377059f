"""Keep what the operator of a fleet has written, as it was when it was last found to be right.

A worker that is started again reads this. What is in the files by then may be half written, and
takes effect only when the fleet is told to read it.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import msgspec

from tooling.decoding import UNREADABLE_JSON

from .reading import Files


def keep_first(files: Files, folder: Path) -> Path:
    """Store the files in the folder, without those that an earlier fleet has kept there."""
    shutil.rmtree(folder, ignore_errors=True)
    return keep_files(files, folder)


def keep_files(files: Files, folder: Path) -> Path:
    """Store the files in the folder, for this user alone. Return the path that they are kept at."""
    content = msgspec.json.encode(files)
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{sha256(content).hexdigest()[:12]}.json"
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return draft.replace(path)


def kept_files(path: Path) -> Files | None:
    """Return what is kept at the path; None if that can't be read any more."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Files)
    except (OSError, *UNREADABLE_JSON):
        return None
