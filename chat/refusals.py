"""What models refuse, as all workers of a fleet remember it.

fleet:refusals   hash: by digest of server, model and part, a Refusal as JSON

The hash is small, because a fleet has few models and a request has few parts.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import cast

import msgspec
from django.db import models
from redis import Redis

from tooling.decoding import UNREADABLE_JSON

from .llm.refusals.memory import Refusal

KEY = "fleet:refusals"


class RefusedPart(models.Model):
    """A part of requests that a model refuses. It has no table: it is in Redis, and this gives it a
    place in the admin, with permissions to view and to delete it."""

    digest = models.CharField(primary_key=True, max_length=64)

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
        verbose_name = "refused part"
        verbose_name_plural = "refused parts"

    def __str__(self) -> str:
        return self.digest


def digest_of(refusal: Refusal) -> str:
    place = [refusal.server, refusal.model, refusal.change.part]
    return hashlib.sha256(msgspec.json.encode(place)).hexdigest()


def refusals_in(stored: Mapping[bytes, bytes]) -> list[Refusal]:
    """Return the refusals in the hash that are still remembered."""
    refusals = []
    for value in stored.values():
        try:
            refusals.append(msgspec.json.decode(value, type=Refusal))
        except UNREADABLE_JSON:
            continue  # A worker of another version has written it.
    return [refusal for refusal in refusals if refusal.until > time.time()]


def stored_refusals(redis: Redis) -> list[Refusal]:
    """Return what all workers remember, by server and model."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(KEY))
    return sorted(refusals_in(stored), key=lambda each: (each.server, each.model, each.since))


def forget(redis: Redis, digest: str) -> Refusal | None:
    """Let all workers forget a refusal within seconds. Return it, or None if there is none."""
    found = next((each for each in stored_refusals(redis) if digest_of(each) == digest), None)
    redis.hdel(KEY, digest)
    return found
