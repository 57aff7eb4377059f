"""Where people reach the fleet: FLEET_PUBLIC_URL, and what Django is set to for it.

A site may begin below a path of a host that others share. All its addresses, cookies and redirects
then stay below that path.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}  # that browsers leave out
HOST = re.compile(r"\w[\w.-]*|\[[\da-f:.]+\]", re.ASCII)
# What proxies, cookies and browsers take for the same path without decoding anything.
PATH = re.compile(r"(/[\w~-][\w.~-]*)*/?", re.ASCII)
# Where the fleet's own addresses begin. A path that begins with one of them could not be told from
# the page whose path a proxy has stripped. A test compares them with the addresses there are.
OWN_NAMES = (
    *("account", "admin", "answers", "c", "chats", "current", "favicon.ico", "healthz"),
    *("instructions", "jsi18n", "language", "login", "logout", "manifest.webmanifest", "metrics"),
    *("password", "readyz", "s", "shares", "signup", "sso", "static", "ws"),
)
EXAMPLES = "https://chat.example or https://host.example/fleet/"


@dataclass(frozen=True, slots=True)
class Site:
    """`origin` as browsers write it, and `root`, the path below which all addresses are."""

    origin: str = ""
    root: str = "/"

    @property
    def url(self) -> str:
        """The address that people know; empty if none is set."""
        return self.origin if self.root == "/" else self.origin + self.root

    @property
    def place(self) -> str:
        """The host, with its port if that isn't the scheme's own."""
        return self.origin.partition("://")[2]

    @property
    def is_encrypted(self) -> bool:
        return self.origin.startswith("https://")

    @property
    def settings(self) -> dict[str, Any]:
        """What Django is set to for this site, apart from names and addresses."""
        found: dict[str, Any] = {}
        if self.root != "/":
            found["FORCE_SCRIPT_NAME"] = prefix = self.root.removesuffix("/")
            # Other sites on the host neither get these cookies nor send theirs here. With a slash,
            # browsers would not send them for /fleet, which some proxies make / of without a
            # redirect: that would look like a new browser, and its cookie would replace this one's.
            for name in ("SESSION", "CSRF", "LANGUAGE"):
                found[f"{name}_COOKIE_PATH"] = prefix
        if self.is_encrypted:
            for name in ("SESSION", "CSRF", "LANGUAGE"):
                found[f"{name}_COOKIE_SECURE"] = True
            found["SECURE_SSL_REDIRECT"], found["SECURE_SSL_HOST"] = True, self.place
            # Lists of sites that browsers bring along are for whole domains, and hard to leave.
            found["SILENCED_SYSTEM_CHECKS"] = ["security.W021"]
            if self.root == "/":
                found["SECURE_HSTS_SECONDS"] = 31_536_000
                found["SECURE_HSTS_INCLUDE_SUBDOMAINS"] = True
            else:
                # It would count for all sites of the host, and those of its subdomains.
                found["SILENCED_SYSTEM_CHECKS"] += ["security.W004", "security.W005"]
        return found


def site_at(url: str) -> Site:
    """Return the site at an address. Raise ValueError, with what it must be, if it can't be one."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    if not HOST.fullmatch(host) or "@" in url or "?" in url or "#" in url:
        raise ValueError(f"must be scheme, host and perhaps a path, such as {EXAMPLES}.")
    if not PATH.fullmatch(parts.path):
        raise ValueError(f"must have a path of plain letters, digits and -._~, as in {EXAMPLES}.")
    root = f"{parts.path.rstrip('/')}/"
    if (first := root.split("/")[1]) in OWN_NAMES:
        raise ValueError(f"must have another path: /{first} is an address of the fleet's own.")
    is_default = parts.port in (None, DEFAULT_PORTS[parts.scheme])
    port = "" if is_default else f":{parts.port}"
    return Site(f"{parts.scheme}://{host}{port}", root)
