"""Fetch a small, good model, which the fleet then serves itself."""

import re
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticfleet.fetching import GB, MODELS, FetchError, digest_of, fetch
from agenticfleet.gguf import ModelFileError, checked
from agenticfleet.memory import available_bytes
from agenticfleet.running import running_fleet
from agenticfleet.sources import models_folder

PROGRESS_INTERVAL = 0.5  # seconds, on a terminal
SIZES = ", ".join(
    f"{name} {model.file.partition('-Q')[0]}, {model.size / GB:.1f} GB"
    for name, model in MODELS.items()
)


def checksum(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


class Command(BaseCommand):
    help = (
        f"Fetch a model ({SIZES}) from the hub at HF_ENDPOINT into the state folder. A fleet that"
        " starts without a configured model serves it. If it is interrupted, the same command goes"
        " on. The checksum is compared with our own."
    )
    requires_system_checks = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown_at = 0.0
        self._shown = -1  # tenths

    def add_arguments(self, parser: ArgumentParser) -> None:
        size = parser.add_mutually_exclusive_group()
        size.add_argument(
            "--small", dest="size", action="store_const", const="small", default="medium",
            help="for machines with less than 4 GB of memory",
        )  # fmt: skip
        size.add_argument(
            "--large", dest="size", action="store_const", const="large",
            help="better and slower, from 8 GB of memory",
        )  # fmt: skip
        size.add_argument("--file", metavar="URL", help="another GGUF file, with --sha256")
        parser.add_argument("--sha256", type=checksum, help="the checksum that --file must have")

    def handle(
        self, *args: Any, size: str, file: str | None, sha256: str | None, **options: Any
    ) -> None:
        if bool(file) != bool(sha256):
            raise CommandError("Give --file together with --sha256, which you trust.")
        known = None if file else MODELS[size]
        url = file or MODELS[size].url(settings.HF_ENDPOINT)
        target = models_folder() / (known.file if known else name_in(url))
        wanted = sha256 or MODELS[size].sha256
        if known:
            self.stdout.write(
                f"{known.file}: {known.size / GB:.2f} GB, licence {known.licence}, needs about"
                f" {known.memory:g} GB of memory\nfrom {url}"
            )
            if known.memory * GB > (free := available_bytes()):
                self.stderr.write(f"Only {free / GB:.1f} GB of memory are free now.")
        if target.exists() and digest_of(target) == wanted:
            # The fleet serves the file that is the newest.
            target.touch()
            self.stdout.write(f"{target} is there already.")
        else:
            try:
                fetch(url, target, sha256=wanted, progress=self.show)
            except FetchError as exc:
                self.end_line()
                raise CommandError(str(exc)) from exc
            except KeyboardInterrupt:
                self.end_line()
                raise CommandError("Interrupted. The same command goes on.") from None
            self.end_line()
            self.stdout.write(f"{target}: the checksum is right.")
        try:
            checked(target, available=available_bytes())
        except ModelFileError as exc:
            self.stderr.write(f"The fleet will not use it: {exc}")
            return
        self.stdout.write(
            "Restart the fleet to use it."
            if running_fleet()
            else "`manage.py fleet` uses it, unless another model is configured."
        )

    def show(self, done: int, total: int) -> None:
        """Show how much is there: all the time on a terminal, else each tenth."""
        now, tenths = time.monotonic(), done * 10 // total if total else 0
        text = f"{done / GB:.2f}" + (f" of {total / GB:.2f} GB" if total else " GB")
        if sys.stderr.isatty():
            if now - self._shown_at >= PROGRESS_INTERVAL:
                self._shown_at = now
                self.stderr.write(f"\r{text}", ending="")
                self.stderr.flush()
        elif tenths != self._shown:
            self._shown = tenths
            self.stderr.write(text)

    def end_line(self) -> None:
        if self._shown_at:
            self.stderr.write("")
            self._shown_at = 0.0


def name_in(url: str) -> str:
    """Return the name of the file at the end of a URL."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name.lower().endswith(".gguf") or not name.isprintable():
        raise CommandError("--file must be a URL that ends with the name of a .gguf file.")
    return name
