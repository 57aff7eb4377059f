"""Custom instructions: what every answer to a person should know or heed, as they wrote it.

Signed-in users and browsers have some. Scripts, services and the terminal have no page to write
them on, so their runs have none. A run keeps a copy until it ends, because another worker may
go on with it (`Run.instructions`).
"""

from django.db import models, transaction

from .access.owners import Owner

MAX_INSTRUCTIONS = 2_000  # characters: a page of text, which models of all sizes can follow


class InstructionsTooLong(ValueError):
    """Raised for a text that is longer than MAX_INSTRUCTIONS. Nothing was stored."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{len(text):,} of {MAX_INSTRUCTIONS:,} characters")
        self.characters = len(text)


class InstructionsQuerySet(models.QuerySet["Instructions"]):
    def of(self, owner: Owner) -> "Instructions":
        """Return what this owner has written; an empty row that isn't stored if it is nothing."""
        return self.filter(owner=str(owner)).first() or Instructions(owner=str(owner))

    def text_for(self, owner: Owner) -> str:
        """Return the text that a new run of this owner is given; empty if there is none."""
        if owner.kind not in ("user", "browser"):
            return ""
        texts = self.filter(owner=str(owner), is_on=True).values_list("text", flat=True)
        return texts.order_by().first() or ""

    def keep(self, owner: Owner, text: str, *, is_on: bool) -> "Instructions":
        """Store what this owner has written, and return it. Raise InstructionsTooLong."""
        # A form sends the line ends of the web, and PostgreSQL rejects text with a NUL.
        text = text.replace("\r\n", "\n").replace("\0", "").strip()
        if len(text) > MAX_INSTRUCTIONS:
            raise InstructionsTooLong(text)
        return self.update_or_create(owner=str(owner), defaults={"text": text, "is_on": is_on})[0]

    def claim(self, browser: Owner, user: Owner) -> None:
        """Give a user what the browser's reader has written, unless the account has its own."""
        with transaction.atomic():
            written = self.filter(owner=str(browser))
            if self.filter(owner=str(user)).exclude(text="").exists():
                # The next person at this browser must not find it after the sign-out.
                written.delete()
            elif written.exists():
                self.filter(owner=str(user)).delete()
                written.update(owner=str(user))


class Instructions(models.Model):
    owner = models.CharField(max_length=80, unique=True)
    text = models.TextField(blank=True)
    is_on = models.BooleanField(default=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = InstructionsQuerySet.as_manager()

    def __str__(self) -> str:
        # Django's log of deletions shows this also to staff who may not read it.
        return f"instructions {self.pk}"
