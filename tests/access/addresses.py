"""Every address of the URL configuration, so that a new one is tested without being named."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

ADMIN = "admin/"
# <uuid:pk> of a path, and (?P<url>.*) of a regular expression.
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")


@dataclass(frozen=True, slots=True)
class Address:
    """A pattern: its route, and its name with the namespaces; empty if it has none."""

    route: str
    name: str

    def __str__(self) -> str:
        return f"/{self.route} ({self.name or 'without a name'})"

    @property
    def key(self) -> str:
        """What rows of the table call it."""
        return self.name or self.route

    @property
    def is_admin(self) -> bool:
        return self.route.startswith(ADMIN)

    @property
    def model(self) -> str:
        """The model of an admin page, such as chat.run; empty for other pages."""
        parts = self.route.removeprefix(ADMIN).split("/")
        return ".".join(parts[:2]) if self.is_admin and len(parts) > 2 else ""

    @property
    def parameters(self) -> list[str]:
        return [match[1] or match[2] for match in PARAMETER.finditer(self.route)]

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the path with these values of the parameters."""
        return "/" + PARAMETER.sub(lambda match: quote(values[match[1] or match[2]]), self.route)


def all_addresses() -> list[Address]:
    return list(addresses_of(get_resolver()))


def addresses_of(resolver: URLResolver, route: str = "", spaces: str = "") -> Iterator[Address]:
    for pattern in resolver.url_patterns:
        part = str(pattern.pattern)
        if isinstance(pattern.pattern, RegexPattern):
            part = part.removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLPattern):
            name = f"{spaces}{pattern.name}" if pattern.name else ""
            yield Address(f"{route}{part}", name)
        else:
            space = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from addresses_of(pattern, f"{route}{part}", f"{spaces}{space}")
