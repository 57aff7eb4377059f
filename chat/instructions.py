"""What holds for every answer to a person: their custom instructions, and what they prefer.

Signed-in users and browsers have some. Scripts, services and the terminal have no page to write
them on, so their runs have none. A run keeps a copy until it ends, because another worker may
go on with it (`Run.instructions`). What was preferred stays with it (`Run.preference`).
"""

from typing import cast, get_args

from django.db import models, transaction

from .access.owners import Owner
from .protocol.terms import BALANCED, Preference

NO_PREFERENCE = "preference is economy, balanced or quality"  # of a form
WITH_PAGES = ("user", "browser")  # kinds of owners that can say what they want
MAX_INSTRUCTIONS = 2_000  # characters: a page of text, which models of all sizes can follow


def preference_in(text: str) -> Preference | None:
    """Return the preference that a form names; None if it is none."""
    return cast("Preference", text) if text in get_args(Preference) else None


class InstructionsTooLong(ValueError):
    """Raised for a text that is longer than MAX_INSTRUCTIONS. Nothing was stored."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{len(text):,} of {MAX_INSTRUCTIONS:,} characters")
        self.characters = len(text)


class InstructionsQuerySet(models.QuerySet["Instructions"]):
    def of(self, owner: Owner) -> "Instructions":
        """Return what this owner has said; an empty row that isn't stored if it is nothing."""
        found = self.filter(owner=str(owner)).first() if owner.kind in WITH_PAGES else None
        return found or Instructions(owner=str(owner))

    def has_any(self, owner: Owner) -> bool:
        """Return True if something is stored of this owner."""
        return self.filter(owner=str(owner)).exists()

    def prefer(self, owner: Owner, preference: Preference) -> None:
        """Store what this owner prefers."""
        self.update_or_create(owner=str(owner), defaults={"preference": preference})

    def keep(self, owner: Owner, text: str, *, is_on: bool) -> "Instructions":
        """Store what this owner has written, and return it. Raise InstructionsTooLong."""
        # A form sends the line ends of the web, and PostgreSQL rejects text with a NUL.
        text = text.replace("\r\n", "\n").replace("\0", "").strip()
        if len(text) > MAX_INSTRUCTIONS:
            raise InstructionsTooLong(text)
        return self.update_or_create(owner=str(owner), defaults={"text": text, "is_on": is_on})[0]

    def claim(self, browser: Owner, user: Owner) -> None:
        """Give a user what the browser's reader has said, unless the account has its own.

        That holds for the text and for the preference, each by itself. The browser keeps nothing:
        the next person there must not find it after the sign-out.
        """
        with transaction.atomic():
            # Locked: two pages that are loaded at once would both store a row for the user.
            said = self.select_for_update().filter(owner=str(browser)).first()
            if said is None:
                return
            own = self.of(user)
            if not own.text:
                own.text, own.is_on = said.text, said.is_on
            if own.preference == BALANCED:
                own.preference = said.preference
            own.save()
            said.delete()


class Instructions(models.Model):
    owner = models.CharField(max_length=80, unique=True)
    text = models.TextField(blank=True)
    is_on = models.BooleanField(default=True)
    preference = models.CharField(max_length=8, default=BALANCED, db_default=BALANCED)
    updated_at = models.DateTimeField(auto_now=True)

    objects = InstructionsQuerySet.as_manager()

    def __str__(self) -> str:
        # Django's log of deletions shows this also to staff who may not read it.
        return f"instructions {self.pk}"

    @property
    def in_force(self) -> str:
        """The text that a new run is given; empty if there is none."""
        return self.text if self.is_on else ""
