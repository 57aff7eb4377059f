"""Notice that an operator has changed a file which takes effect only when it is read again."""

import os
from collections.abc import Sequence
from pathlib import Path

from .reading import FILE, TOOLS_FILE


class Changes:
    """The files in these places, as they were when they were last looked at.

    Looking reads nothing, so it may be done often.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._stamps = self.stamps()

    def found(self) -> list[Path]:
        """Return which files have changed, come or gone since the last look."""
        before, self._stamps = self._stamps, self.stamps()
        return [path for path in self._places if before.get(path) != self._stamps.get(path)]

    def stamps(self) -> dict[Path, tuple[int, ...]]:
        stamps: dict[Path, tuple[int, ...]] = {}
        for path in self._places:
            try:
                found = os.stat(path)
            except OSError:
                continue
            stamps[path] = found.st_mtime_ns, found.st_size, found.st_ino
        return stamps


def places_of(chosen: str, folders: Sequence[Path]) -> list[Path]:
    """Return where the files are looked for, as `files_in` does."""
    if chosen:
        path = Path(chosen).absolute()
        return [path, path.with_name(TOOLS_FILE)]
    unique = dict.fromkeys(folder.absolute() for folder in folders)
    return [folder / name for folder in unique for name in (FILE, TOOLS_FILE)]
