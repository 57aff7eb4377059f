"""Fetch a model's file over HTTP: resumable, and kept only if its checksum is right."""

import fcntl
import hashlib
import os
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx

from .errors import EmbeddedError

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 5  # that fetch nothing, one after another
DISK_RESERVE = 200_000_000  # bytes that stay free: the fleet writes beside it
RANGE = re.compile(r"bytes (\d{1,15})-\d+/(\d{1,15})")
GB = 1e9

type Progress = Callable[[int, int], None]  # bytes that are there, and of all; 0 if unknown


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model at the hub: a file in a revision of a repository, which can't change any more."""

    repository: str
    revision: str
    file: str
    sha256: str
    size: int
    memory: float  # GB that it needs in all
    licence: str = "Apache-2.0"

    def url(self, endpoint: str) -> str:
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.file}"


# The checksums are our own: what the hub says of a file is no proof against the hub. Several
# projects that have nothing to do with each other pin these files with the same ones.
MODELS = {
    "small": KnownModel(
        repository="unsloth/Qwen3.5-0.8B-GGUF",
        revision="6ab461498e2023f6e3c1baea90a8f0fe38ab64d0",
        file="Qwen3.5-0.8B-Q4_K_M.gguf",
        sha256="bd258782e35f7f458f8aced1adc053e6e92e89bc735ba3be89d38a06121dc517",
        size=532_517_120,
        memory=1.2,
    ),
    "medium": KnownModel(
        repository="unsloth/Qwen3.5-2B-GGUF",
        revision="f6d5376be1edb4d416d56da11e5397a961aca8ae",
        file="Qwen3.5-2B-Q4_K_M.gguf",
        sha256="aaf42c8b7c3cab2bf3d69c355048d4a0ee9973d48f16c731c0520ee914699223",
        size=1_280_835_840,
        memory=2.3,
    ),
    "large": KnownModel(
        repository="unsloth/Qwen3.5-4B-GGUF",
        revision="e87f176479d0855a907a41277aca2f8ee7a09523",
        file="Qwen3.5-4B-Q4_K_M.gguf",
        sha256="00fe7986ff5f6b463e62455821146049db6f9313603938a70800d1fb69ef11a4",
        size=2_740_937_888,
        memory=3.5,
    ),
}


class FetchError(EmbeddedError):
    """The file could not be fetched. The message is for people."""


class Interrupted(Exception):
    """The connection ended too early. What came so far is kept."""


def fetch(url: str, target: Path, *, sha256: str, progress: Progress) -> None:
    """Make `target` the file at `url`. Go on with what an earlier call has left.

    Raise FetchError if that is impossible, or the file has another checksum.
    """
    part = target.with_name(f"{target.name}.part")
    # The certificates of SSL_CERT_FILE, and the proxies of the environment, count.
    context = ssl.create_default_context()
    with (
        httpx.Client(follow_redirects=True, timeout=TIMEOUT, verify=context) as client,
        only_fetcher(part) as file,
    ):
        failures = 0
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                receive(client, url, file, progress)
                break
            except Interrupted as exc:
                failures = 0 if file.tell() > before else failures + 1
                if failures == ATTEMPTS:
                    raise FetchError(
                        f"The connection to {host_of(url)} ended ({exc}). {file.tell() / GB:.2f} GB"
                        " are there: the same command goes on."
                    ) from exc
        file.flush()
        if digest_of(part) != sha256:
            part.unlink()
            raise FetchError(
                f"What {host_of(url)} sent has another checksum than {sha256}: it is removed."
            )
        os.utime(part)  # of the models there, the fleet serves the one that was fetched last
        part.replace(target)


@contextmanager
def only_fetcher(part: Path) -> Iterator[IO[bytes]]:
    """Open the file of what is there so far, for one process at a time. Raise FetchError."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab")
    except OSError as exc:
        raise FetchError(f"{part} can't be written: {exc.strerror}.") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise FetchError(f"Another process is fetching {part.stem}.") from exc
        yield file


def receive(client: httpx.Client, url: str, file: IO[bytes], progress: Progress) -> None:
    """Append the rest of the file. Raise Interrupted if the connection ends before its end."""
    offset = file.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with client.stream("GET", url, headers=headers) as response:
            if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # All of it is there; the checksum will tell.
            total = checked_total(response, url, offset)
            if response.status_code == HTTPStatus.OK:
                file.truncate(0)  # The server doesn't know ranges.
            done = file.seek(0, os.SEEK_END)
            require_space(Path(file.name).parent, total - done)
            for chunk in response.iter_raw():
                # Not all servers tell how much they send, or send what they told.
                require_space(Path(file.name).parent, len(chunk))
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as exc:
        raise FetchError(f"{url} can't be asked: {exc}") from exc
    except httpx.TransportError as exc:
        raise Interrupted(str(exc) or type(exc).__name__) from exc
    except OSError as exc:
        raise FetchError(f"{file.name} can't be written: {exc.strerror}.") from exc
    if total and done < total:
        raise Interrupted("too early")


def checked_total(response: httpx.Response, url: str, offset: int) -> int:
    """Return the size of the whole file; 0 if the server doesn't tell. Raise FetchError."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        found = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != offset:
            raise FetchError(f"{host_of(url)} sent another part of the file than was asked for.")
        return int(found[2])
    if status == HTTPStatus.NOT_FOUND:
        raise FetchError(f"{host_of(url)} has no such file: {url}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise FetchError(f"{host_of(url)} does not give this file to everybody (status {status}).")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Interrupted(f"status {status}")
    if status != HTTPStatus.OK:
        raise FetchError(f"{host_of(url)} answers with status {status}.")
    return int(response.headers.get("Content-Length", 0))


def require_space(folder: Path, size: int) -> None:
    """Raise FetchError if so many bytes don't fit on the disk."""
    free = shutil.disk_usage(folder).free
    if size + DISK_RESERVE > free:
        raise FetchError(
            f"The file needs {size / GB:.2f} GB more, and {folder} has room for"
            f" {max(0, free - DISK_RESERVE) / GB:.2f} GB."
        )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def host_of(url: str) -> str:
    return urlsplit(url).hostname or url
