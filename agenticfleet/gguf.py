"""Read the header of a GGUF file: what a model is, before its gigabytes are loaded."""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import EmbeddedError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 10_000
MAX_KEY_BYTES = 1000
MAX_TEXT_BYTES = 2**20  # A chat template has some 10,000.
MAX_ITEMS = 4_000_000  # of an array; vocabularies have up to 300,000 words
# How the types of values are stored, by their numbers
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True))
STRING, ARRAY = 8, 9
ROOM = 0.7  # of the memory that is left: texts and the fleet need the rest
GIB = 2**30

type Value = int | float | str


class ModelFileError(EmbeddedError):
    """A file can't serve as the model. The message is a sentence that begins with its path."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a model's file tells. Arrays, such as its words, are left out."""

    path: Path
    size: int  # of the file, in bytes
    values: Mapping[str, Value]

    @property
    def context_tokens(self) -> int | None:
        """How much the model was trained to read."""
        value = self.values.get(f"{self.values.get('general.architecture')}.context_length")
        return value if isinstance(value, int) and value > 0 else None

    def sampling(self, name: str, default: float) -> float:
        """Return what its authors recommend for this parameter of sampling."""
        value = self.values.get(f"general.sampling.{name}", default)
        return default if isinstance(value, str) else value


class Reader:
    """Reads values one after another. Raises struct.error at the end of the content."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = len(MAGIC)

    def number(self, code: str) -> int | float:
        [value] = struct.unpack_from(f"<{code}", self._content, self._at)
        self._at += struct.calcsize(f"<{code}")
        number: int | float = value
        return number

    def count(self, code: str = "Q") -> int:
        return int(self.number(code))

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._content):
            raise struct.error

    def text(self) -> str:
        size = self.count()
        if size > MAX_TEXT_BYTES:
            raise ValueError
        begin = self._at
        self.skip(size)
        return self._content[begin : self._at].decode(errors="replace")

    def value(self, kind: int) -> Value | None:
        """Return a value; None for an array."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(SCALARS[kind])
        of, length = self.count("I"), self.count()
        if length > MAX_ITEMS:
            raise ValueError
        if of == STRING:
            for _ in range(length):
                self.skip(self.count())
        else:
            self.skip(length * struct.calcsize(f"<{SCALARS[of]}"))
        return None


def read_header(path: Path) -> Header:
    """Return the header of the file. Raise ModelFileError if it has none."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ModelFileError(f"{path} is no GGUF file.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return Header(path, len(content), values_in(Reader(content)))
    except OSError as exc:
        raise ModelFileError(f"{path} cannot be read: {exc.strerror}.") from exc
    except (struct.error, KeyError, ValueError) as exc:
        raise ModelFileError(f"{path} is damaged or incomplete: its header can't be read.") from exc


def values_in(reader: Reader) -> dict[str, Value]:
    if reader.count("I") not in VERSIONS:
        raise ValueError
    reader.count()  # of tensors
    count = reader.count()
    if count > MAX_KEYS:
        raise ValueError
    found: dict[str, Value] = {}
    for _ in range(count):
        name = reader.text()
        value = reader.value(reader.count("I"))
        if value is not None and len(name) <= MAX_KEY_BYTES:
            found[name] = value
    return found


def checked(path: Path, *, available: int) -> Header:
    """Return the header of a model that can chat and fits into `available` bytes of memory.

    Raise ModelFileError if it doesn't.
    """
    header = read_header(path)
    if any(name.endswith(".pooling_type") for name in header.values):
        raise ModelFileError(f"{path} holds a model for embeddings, which answers no questions.")
    if "tokenizer.chat_template" not in header.values:
        raise ModelFileError(
            f"{path} holds no model that chats: it has no chat template. Take the one whose name"
            " says Instruct, it or Chat."
        )
    if header.size > available * ROOM:
        raise ModelFileError(
            f"{path} needs more memory than there is: it has {header.size / GIB:.1f} GB, and"
            f" {available / GIB:.1f} GB are free, of which a model may take {ROOM:.0%}."
        )
    return header
