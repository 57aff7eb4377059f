"""The door through which a request comes in, and what it brings that no ChatRequest has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import msgspec
from django.db import models
from msgspec import Struct

from .record import Exchange

type DoorName = Literal["socket", "openai", "responses", "agui", "mcp", "events", "terminal"]


class Told(Struct, frozen=True, omit_defaults=True):
    """What a stateless program tells with its question, in place of what is stored.

    `instructions` stand in place of the person's own. `echo` is what the program gets back with the
    answer, whenever it reads it. `unloaded` exchanges were before those that are kept.
    """

    exchanges: Sequence[Exchange] = ()
    instructions: str = ""
    echo: dict[str, Any] = {}
    unloaded: int = 0

    @classmethod
    def of(cls, column: Any) -> "Told | None":
        """Return what a row's column `told` holds; None if it is empty."""
        return None if column is None else msgspec.convert(column, cls)


@dataclass(frozen=True, slots=True)
class Entrance:
    """How one request came in. What it says counts only if the request starts a run."""

    door: DoorName
    told: Told | None = None
    end_user: str = ""  # whom the program asks for, in its own words: shown, never trusted
    digest: str = ""  # of the request, by which a repeated one is found
    is_retry: bool = False  # the client says that it has sent this request before
    # Of a new conversation: its id, if it follows from an id of the program's, and whether it is in
    # its owner's list.
    conversation_id: UUID | None = None
    is_kept: bool = True


class Entered(models.Model):
    """The columns of a run that say how it was asked.

    During an update, workers of the version before don't know them.
    """

    door = models.CharField(
        max_length=9, blank=True, default="", db_default="", help_text="through which it was asked"
    )
    end_user = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="whom a program has asked for, in its own words",
    )
    digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="of a program's request, by which a repeated one is found",
    )
    told = models.JSONField(
        null=True,
        blank=True,
        help_text="earlier exchanges and instructions that a program sent with the question",
    )

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"by {self.door}"


SOCKET = Entrance("socket")
TERMINAL_DOOR = Entrance("terminal")
