"""The owners of conversations: users, services, browsers, scripts and the terminal.

A browser is known by a random id in a cookie (`browsers.py`), a service by its token, and a script
by what it made itself (`credentials.py`).
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.http.request import split_domain_port

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})

type Kind = Literal["user", "service", "browser", "script", "terminal"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of conversations and runs. Rows store `str(owner)`."""

    kind: Kind
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def of(cls, text: str) -> "Owner":
        """Return the owner that a row names."""
        kind, _, owner_id = text.partition(":")
        return cls(cast("Kind", kind), owner_id)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the owner of what is asked, and what limits count besides."""

    owner: Owner
    address: str = ""  # of an anonymous person or program, as limits count it (addresses.py)
    token_id: str | None = None
    models: tuple[str, ...] = ()  # that its token may use; empty: all
    origins: frozenset[str] = frozenset()  # of pages that its token allows

    @property
    def is_anonymous(self) -> bool:
        return self.owner.kind in ("browser", "script")


TERMINAL = Owner("terminal")


def everybody_is_operator() -> bool:
    """Return True at a fleet that only this machine can reach and that asks nobody to sign in.

    Who uses it has started it.
    """
    return bool(settings.FLEET_IS_LOCAL) and settings.FLEET_AUTH == "anonymous"


def is_operator(owner: str) -> bool:
    """Return True if a row's owner may see hosts and names of settings: the terminal, or staff.

    Read the database, so don't call this in the event loop.
    """
    kind, _, user_id = owner.partition(":")
    if kind != "user":
        return owner == str(TERMINAL)
    return get_user_model().objects.filter(pk=user_id, is_staff=True, is_active=True).exists()


def may_see_settings(request: HttpRequest) -> bool:
    """Return True if a page may tell this person the names of settings, and how to set them."""
    return request.user.is_staff or (everybody_is_operator() and is_local(request))


def is_local(request: HttpRequest) -> bool:
    """Return True if a program of this machine asks, and not a proxy on behalf of another one."""
    names = map(str.lower, request.headers)
    if any(name in PROXY_HEADERS or name.startswith("x-forwarded-") for name in names):
        return False
    host, _ = split_domain_port(request.get_host())
    if host not in LOCAL_HOSTS:  # A proxy that tells nothing of its clients may pass their host.
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
