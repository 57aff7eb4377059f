"""Tokens: how programs say who they are.

A token belongs to a user, whose chats it reaches, or to a service, which has chats of its own and
no login. The row keeps a digest, never the token.
"""

from django.conf import settings
from django.db import models
from django.utils import timezone


class Service(models.Model):
    """A program that owns chats and cannot sign in."""

    slug = models.SlugField(unique=True, max_length=60)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.slug


class TokenQuerySet(models.QuerySet["Token"]):
    def usable(self) -> "TokenQuerySet":
        """Return the tokens that are neither revoked nor expired."""
        expires_later = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(expires_later, revoked_at=None)


class Token(models.Model):
    id = models.CharField(primary_key=True, max_length=8, editable=False, help_text="shown to all")
    digest = models.CharField(max_length=64, editable=False, help_text="sha256 of the token, hex")
    name = models.CharField(max_length=100, help_text="what the program is for")
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
