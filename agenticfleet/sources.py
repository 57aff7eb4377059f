"""Where the model comes from if none is configured: a file, this machine, or the package."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from django.conf import settings

from tooling.decoding import UNREADABLE_JSON

from .gguf import ModelFileError, checked
from .lookup.around import Look, Surroundings, places
from .lookup.choice import Found
from .memory import available_bytes

CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))

type Way = Literal["on", "tell", "off"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers: one in a file, or one that was found; else the stand-in.

    `notes` say what else was seen on the way to it.
    """

    file: Path | None = None
    found: Found | None = None
    around: Surroundings = field(default_factory=Surroundings)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name by which requests ask for the model."""
        if self.file:
            return self.file.stem
        return self.found.model.id if self.found else settings.BUILTIN_MODEL

    @property
    def is_stand_in(self) -> bool:
        return not (self.file or self.found)

    def __str__(self) -> str:
        return str(self.found) if self.found else self.name


class Search:
    """Finds the model, beside the start of other services."""

    def __init__(self, *, is_local: bool, own_port: int = 0) -> None:
        self._file, self._notes = model_file()
        self._way: Way = "off" if self._file else way(is_local=is_local)
        self._look = (
            Look(places(settings.OLLAMA_HOST, own_port=own_port)) if self._way != "off" else None
        )

    def result(self) -> Choice:
        around = self._look.result() if self._look else Surroundings()
        found = around.chosen if self._way == "on" else None
        choice = Choice(self._file, found, around, self._notes)
        before = remember(str(choice))
        if before and before != str(choice):
            choice = Choice(self._file, found, around, (*self._notes, f"it was {before} before"))
        return choice


def way(*, is_local: bool) -> Way:
    """Return what to do with what is found.

    Unless it is set: other people must not get a model from this machine that nobody chose. In a
    container, whose 127.0.0.1 is another one, what is there is a surprise.
    """
    if settings.FLEET_LOOK != "auto":
        return settings.FLEET_LOOK  # type: ignore[return-value] # checked when it was read
    in_container = any(path.exists() for path in CONTAINER_FILES)
    return "on" if is_local and not in_container else "tell"


def models_folder() -> Path:
    """Return the folder of the models that `fetch_model` fetched."""
    return Path(settings.FLEET_STATE_DIR) / "models"


def model_file() -> tuple[Path | None, tuple[str, ...]]:
    """Return the file of the model, with what is to be said about it; None if there is none.

    Raise ModelFileError if FLEET_MODEL_FILE can't be used. A fetched one that can't is left out.
    """
    if settings.FLEET_MODEL_FILE:
        path = Path(settings.FLEET_MODEL_FILE).absolute()
        return checked(path, available=available_bytes()).path, ()
    # Not links to files that are gone.
    files = filter(Path.is_file, models_folder().glob("*.gguf"))
    fetched = sorted(files, key=lambda path: path.stat().st_mtime)
    if not fetched:
        return None, ()
    try:
        return checked(fetched[-1], available=available_bytes()).path, ()
    except ModelFileError as exc:
        return None, (f"not used: {exc}",)


def remember(model: str) -> str:
    """Store which model answers. Return which one it was at the last start, if that is known."""
    path = Path(settings.FLEET_STATE_DIR) / "model.json"
    before = ""
    with suppress(OSError, *UNREADABLE_JSON):
        before = msgspec.json.decode(path.read_bytes(), type=dict[str, str]).get("model", "")
    if before != model:
        draft = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            draft.write_bytes(msgspec.json.encode({"model": model}))
            draft.replace(path)
    return before
