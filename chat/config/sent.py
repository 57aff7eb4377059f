"""What can be sent over HTTP: addresses of servers, and headers."""

import re
from urllib.parse import urlsplit, urlunsplit

HEADER = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)


def has_place(url: str) -> bool:
    """Return True if the URL has a host and no impossible port, or the path of a Unix socket."""
    try:
        parts = urlsplit(url)
        # Names with other letters are encoded for DNS, which limits them.
        (parts.hostname or "").encode("idna")
        return bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_web_address(url: str) -> bool:
    """Return True if a server can be asked at this URL over HTTP."""
    is_plain = url.isprintable() and " " not in url
    return is_plain and url.lower().startswith(("http://", "https://")) and has_place(url)


def has_stray_password(url: str) -> bool:
    """Return True if a / ? or # in a password has ended the host: `user:12/34@host`."""
    parts = urlsplit(url)
    rest = parts.path + parts.query + parts.fragment
    return ":" in parts.netloc and "@" not in parts.netloc and "@" in rest


def public_part(url: str) -> str:
    """Return a web address without user name, password and query, which may be secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_header_value(value: str) -> bool:
    return value.isascii() and (value.isprintable() or not value)
