"""All addresses of the pages, from the URL configuration, and the names of what they read.

So a new view is tried without being named here.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from django.http import QueryDict
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

from .inputs import Choice

PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
GROUP = re.compile(r"\(\?P<\w+>[^()]*\)")


def routes() -> list[str]:
    """Return the pattern of each address."""
    return list(dict.fromkeys(routes_of(get_resolver().url_patterns)))


def routes_of(patterns: Sequence[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    for each in patterns:
        route = before + pattern_of(each)
        if isinstance(each, URLResolver):
            yield from routes_of(each.url_patterns, route)
        else:
            yield route


def pattern_of(each: URLPattern | URLResolver) -> str:
    if isinstance(each.pattern, RegexPattern):
        return GROUP.sub("<rest>", str(each.pattern)).strip("^$").replace(r"\Z", "")
    return str(each.pattern)


def address_of(route: str, choose: Choice, ids: Sequence[str]) -> str:
    """Return an address that the route may match. `ids` are those of rows that exist."""

    def value(found: re.Match[str]) -> str:
        if choose.random() < 0.7:
            return choose.choice(ids)
        text = choose.text().encode("utf-8", "surrogatepass")[:200]
        return quote(text, safe="" if choose.random() < 0.8 else "/%")

    path = PARAMETER.sub(value, route)
    if choose.random() < 0.05:
        path = quote(choose.mangled(path), safe="/%", errors="replace")
    return path if path.startswith("/") else "/" + path


@dataclass(slots=True)
class Asked:
    """The names that each route has read from queries and forms so far."""

    names: Mapping[str, set[str]]
    route: str = ""

    def all(self) -> list[str]:
        return sorted(set().union(*self.names.values()) | {"x"})

    def of(self, route: str) -> list[str]:
        return sorted(self.names.get(route, ())) or self.all()


@contextmanager
def listening(patch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Note every name that a view looks up in a query or a form."""
    asked = Asked(defaultdict(set))
    for method in ("get", "getlist", "__getitem__", "__contains__"):
        patch.setattr(QueryDict, method, noting(getattr(QueryDict, method), asked))
    yield asked


def noting(method, asked: Asked):  # type: ignore[no-untyped-def]
    def noted(self, key, *rest, **options):  # type: ignore[no-untyped-def]
        if isinstance(key, str):
            asked.names[asked.route].add(key)
        return method(self, key, *rest, **options)

    return noted
