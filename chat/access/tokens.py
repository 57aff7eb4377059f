"""Tokens: how programs say who they are.

A token belongs to a user, whose chats it reaches, or to a service, which has chats of its own and
no login. The row keeps a digest, never the token.
"""

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, get_args
from zlib import crc32

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat.protocol.errors import (
    EXPIRED_TOKEN,
    INACTIVE_TOKEN,
    REVOKED_TOKEN,
    UNKNOWN_TOKEN,
    ProtocolError,
    token_lacks,
)

from .owners import Owner

type Scope = Literal["ask", "read", "write"]

SCOPES: tuple[Scope, ...] = get_args(Scope.__value__)
PREFIX = "fleet_"
# fleet_<id>_<secret><checksum>: scanners of code find it, and a typing error costs no query.
FORM = re.compile(r"fleet_([0-9a-f]{8})_[A-Za-z0-9]{43}([0-9a-f]{8})")
LETTERS = string.ascii_letters + string.digits
SECRET_LETTERS = 43  # 256 random bits
ORIGIN = re.compile(r"https?://[^\s/,]+")  # scheme, host and port, as browsers send it
LIMITS = ("runs", "questions", "tokens", "searches", "money")  # as in limits.py
TERM = timedelta(days=90)  # of a token for which no other is chosen
USE_NOTED_EVERY = timedelta(minutes=1)


def new_token(token_id: str) -> str:
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET_LETTERS))
    body = f"{PREFIX}{token_id}_{secret}"
    return f"{body}{checksum(body)}"


def id_in(text: str) -> str | None:
    """Return the id of a token; None if the text is none, or has a typing error."""
    found = FORM.fullmatch(text)
    if found is None or found[2] != checksum(text[: found.start(2)]):
        return None
    return found[1]


def checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"


def digest_of(text: str) -> str:
    # A password hash would add nothing to 256 random bits, and cost each request 300 ms.
    return sha256(text.encode()).hexdigest()


def origin_of(text: str) -> str:
    """Return the origin of pages that may use a token. Raise ValueError."""
    if ORIGIN.fullmatch(text):
        return text.lower()
    raise ValueError(f"{text!r} is no origin, such as https://shop.example")


def limit_of(text: str) -> tuple[str, float]:
    """Return a limit of a token, written as in runs=2. Raise ValueError."""
    name, _, number = text.partition("=")
    if name in LIMITS and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", number, re.ASCII):
        return name, float(number)
    raise ValueError(f"{text!r} is no limit, such as runs=2; there are: {', '.join(LIMITS)}")


class Service(models.Model):
    """A program that owns chats and cannot sign in."""

    slug = models.SlugField(unique=True, max_length=60)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.slug

    @property
    def owner(self) -> Owner:
        return Owner("service", self.slug)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made just now. Its text can't be had again."""

    row: "Token"
    text: str = field(repr=False)


class TokenQuerySet(models.QuerySet["Token"]):
    def usable(self) -> "TokenQuerySet":
        """Return the tokens that count: not revoked, not expired, and of no inactive user."""
        is_fresh = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        has_owner = models.Q(user=None) | models.Q(user__is_active=True)
        return self.filter(is_fresh, has_owner, revoked_at=None)

    def make(
        self,
        owner: User | Service,
        name: str,
        *,
        scopes: Sequence[str] = SCOPES,
        term: timedelta | None = TERM,
        **fields: Any,
    ) -> NewToken:
        """Store a new token of a user or a service, which expires after `term`, and return it."""
        token_id = secrets.token_hex(4)
        text = new_token(token_id)
        row = self.create(
            id=token_id,
            digest=digest_of(text),
            name=name,
            user=None if isinstance(owner, Service) else owner,
            service=owner if isinstance(owner, Service) else None,
            scopes=[scope for scope in SCOPES if scope in scopes],
            expires_at=timezone.now() + term if term else None,
            **fields,
        )
        return NewToken(row, text)

    def accept(self, text: str, *, scope: Scope | None, address: str) -> "Token":
        """Return the row of a token that allows this, and note that it was used.

        Raise ProtocolError if it doesn't, for one of the reasons that only its holder is told.
        None: any scope will do.
        """
        token = self.named(id_in(text))
        if not constant_time_compare(token.digest, digest_of(text)):
            raise ProtocolError(UNKNOWN_TOKEN)
        token.check_allows(scope)
        token.note_use(address)
        return token

    def named(self, token_id: str | None) -> "Token":
        """Return the row with this id. Raise ProtocolError if there is none."""
        owners = self.select_related("user", "service")
        if token_id and (token := owners.filter(pk=token_id).first()):
            return token
        raise ProtocolError(UNKNOWN_TOKEN)


class Token(models.Model):
    MAX_NAME = 100

    id = models.CharField(primary_key=True, max_length=8, editable=False, help_text="shown to all")
    digest = models.CharField(max_length=64, editable=False, help_text="sha256 of the token, hex")
    name = models.CharField(max_length=MAX_NAME, help_text="what the program is for")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="tokens"
    )
    service = models.ForeignKey(
        Service, models.CASCADE, null=True, blank=True, related_name="tokens"
    )
    scopes = models.JSONField(default=list, help_text="of ask, read, write")
    model_ids = models.JSONField(default=list, blank=True, help_text="that it may use; empty: all")
    origins = models.JSONField(default=list, blank=True, help_text="of pages that may use it")
    limits = models.JSONField(default=dict, blank=True, help_text="its own, below those of all")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="empty: never")
    used_at = models.DateTimeField(null=True, blank=True, help_text="to the minute")
    used_from = models.CharField(max_length=45, blank=True, help_text="address")
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(user=None) ^ models.Q(service=None),
                name="token_of_a_user_or_a_service",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def owner(self) -> Owner:
        """The owner of all that is asked with it."""
        return self.service.owner if self.service else Owner("user", str(self.user_id))

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def beginning(self) -> str:
        """The part of the token that people may see, to know it by."""
        return f"{PREFIX}{self.id}_"

    def check_allows(self, scope: Scope | None) -> None:
        """Raise ProtocolError if it counts no longer, or doesn't allow this."""
        if self.revoked_at:
            raise ProtocolError(REVOKED_TOKEN)
        if self.is_expired:
            raise ProtocolError(EXPIRED_TOKEN)
        if self.user and not self.user.is_active:
            raise ProtocolError(INACTIVE_TOKEN)
        if scope and scope not in self.scopes:
            raise ProtocolError(token_lacks(scope))

    def note_use(self, address: str) -> None:
        """Store that it was used just now, at most once a minute."""
        now = timezone.now()
        if self.used_at is None or now - self.used_at >= USE_NOTED_EVERY:
            # Not save(), which fails if the token was deleted just now.
            Token.objects.filter(pk=self.pk).update(used_at=now, used_from=address)
