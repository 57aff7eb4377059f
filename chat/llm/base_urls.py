"""Base URLs of model servers, as people write them.

They may hold a user and a password, a path, and a query such as `?api-version=…`, which stays at
the end of every URL made from them.
"""

import re
from urllib.parse import quote, urlsplit, urlunsplit

OPENAI = "https://api.openai.com/v1"
# What people copy from examples, although it belongs to one call.
CALLS = re.compile(r"/(chat/completions|completions|responses|models)$")
RESERVED = "/%:@!$&'()*+,;=?~[]"  # Characters that stay, of those that aren't plain.
VERSION = re.compile(r"/v\d+[a-z]*\d*(/openai)?$")


def normal(url: str) -> str:
    """Return the base URL without user and what belongs to a call; OpenAI's for an empty one."""
    parts = urlsplit(url.strip() or OPENAI)
    path = CALLS.sub("", parts.path.rstrip("/")).rstrip("/")
    place = parts.netloc.rpartition("@")[2].encode("idna").decode()
    path, query = quote(path, safe=RESERVED), quote(parts.query, safe=RESERVED)
    return urlunsplit(parts._replace(netloc=place, path=path, query=query, fragment=""))


def joined(base_url: str, path: str) -> str:
    """Return the URL of `path` below the base URL, with the query of the base URL."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))


def candidates(base_url: str) -> list[str]:
    """Return the base URLs at which the server may answer: as written, then below /v1."""
    has_version = VERSION.search(urlsplit(base_url).path)
    return [base_url] if has_version else [base_url, joined(base_url, "v1")]


def root_of(base_url: str) -> str:
    """Return where a server has what isn't part of the API: beside its version."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=VERSION.sub("", parts.path)))
