"""Styles, scripts, fonts and icons, at addresses that browsers may keep for a year.

A worker of a fleet publishes them when it starts: it copies all of them, and compressed forms, into
a folder named after a hash of all contents. Addresses hold this version in their path, so imports
between modules and `url()` in styles stay within it. Workers find each other's versions on disk, so
pages of another one get their files while workers are replaced, and for some updates after.

Other commands publish nothing: addresses are plain, and files are served from where they are.
"""

import asyncio
import fcntl
import gzip
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.staticfiles.apps import StaticFilesConfig
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from servestatic.middleware import ServeStaticMiddleware

logger = logging.getLogger(__name__)

VERSION = re.compile(r"[0-9a-f]{16}")
KEPT_VERSIONS = 3  # the newest ones, for pages that were loaded before an update
GZIP_LEVEL = 6  # 9 takes four times as long and saves 1 %
MOST_GZIPPED = 0.9  # of a file's size. Pictures and fonts are compressed already.


class VersionedStorage(StaticFilesStorage):
    """Django's storage of static files, with addresses of the published version."""

    version: ClassVar = ""  # that this process has published, if any

    def url(self, name: str | None) -> str:
        return super().url(f"{self.version}/{name}" if self.version else name)


class VersionedFilesMiddleware(ServeStaticMiddleware):  # type: ignore[misc]
    """ServeStatic, which also serves published versions. It looks up their files when asked."""

    FOREVER = 31_536_000  # seconds: a year

    async def __call__(self, request: Any) -> Any:
        url = request.path_info
        if url not in self.files and self.immutable_file_test("", url):
            found = await asyncio.to_thread(self.find_file, url)
            if found is not None:
                self.files[url] = found
        return await super().__call__(request)

    def immutable_file_test(self, path: str, url: str) -> bool:
        """Return True for the address of a published file."""
        version, slash, _ = url.removeprefix(self.static_prefix).partition("/")
        return bool(slash and VERSION.fullmatch(version))


def publish() -> None:
    """Publish the files as they are now, unless they are, and let addresses name their version.

    If that is impossible, the addresses stay plain.
    """
    folder = Path(settings.STATIC_ROOT)
    try:
        files = collected()
        version = version_of(files)
        with alone_in(folder):
            if not is_whole(folder / version, files):
                write(files, folder / version)
            os.utime(folder / version)
            remove_old_versions(folder)
    except OSError as exc:
        logger.warning("no static files for browsers to keep: %s", exc)
    else:
        VersionedStorage.version = version


def collected() -> dict[str, bytes]:
    """Return the contents of all static files by their names, in a fixed order."""
    paths: dict[str, str] = {}
    for finder in get_finders():
        for name, storage in finder.list(StaticFilesConfig.ignore_patterns):
            paths.setdefault(name, storage.path(name))  # The first one counts.
    return {name: Path(path).read_bytes() for name, path in sorted(paths.items())}


def version_of(files: Mapping[str, bytes]) -> str:
    """Return a hash of all names and contents."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{len(name)} {len(content)} {name}".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder if it is missing, and wait until no other process works in it."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_whole(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Return True if these files have been published.

    A power cut may have left some of them empty, and a clean-up of the disk may have removed some.
    """
    try:
        sizes = {name: (folder / name).stat().st_size for name in files}
    except FileNotFoundError:
        return False
    is_whole = all(size == len(files[name]) for name, size in sizes.items())
    return is_whole and all(path.stat().st_size for path in folder.rglob("*.gz"))


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files and their compressed forms. The folder appears when all are in it."""
    draft = folder.with_name("draft")
    for leftover in (draft, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    for name, content in files.items():
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        compressed = gzip.compress(content, GZIP_LEVEL, mtime=0)
        if len(compressed) < MOST_GZIPPED * len(content):
            path.with_name(f"{path.name}.gz").write_bytes(compressed)
    draft.rename(folder)


def remove_old_versions(folder: Path) -> None:
    versions = [path for path in folder.iterdir() if VERSION.fullmatch(path.name)]
    versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for version in versions[KEPT_VERSIONS:]:
        shutil.rmtree(version, ignore_errors=True)
