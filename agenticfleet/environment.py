"""Read settings from environment variables and `.env` files, check them, and remember their source.

A wrong value raises `ImproperlyConfigured` with one line that names the setting, never its value if
that could be a secret.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import getproxies_environment

import dj_database_url
import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port
from dotenv.parser import parse_stream

from agenticfleet.site import Site, site_at
from chat.access.limits import Limit
from chat.config.changes import places_of
from chat.config.keeping import kept_files
from chat.config.reading import Config, config_of, files_in
from chat.config.sent import HEADER, has_place, has_stray_password, is_header_value
from chat.config.tables import ModelTable
from chat.prices import Prices
from tooling.decoding import UNREADABLE_JSON

type Network = IPv4Network | IPv6Network

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
DURATION = re.compile(r"(\d{1,9})\s*([hd])", re.ASCII)
HOURS = {"h": 1, "d": 24}
MAX_HOURS = 24 * 36_500  # a hundred years: databases can subtract that from any date
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h", "socks")
ORIGIN = re.compile(r"[\w+.-]+://(\*\.)?(\w[\w.-]*|\[[\da-f:.]+\])(:\d{1,5})?", re.ASCII | re.I)
STRAY_PASSWORD = re.compile(r":(?!\d{1,5}$).+")
# A server or a network that has died is noticed within half a minute, also by commands.
POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,
}
HOST = re.compile(r"\*|\.?\w[\w.-]*|\[[\da-f:.]+\]", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in effect, as people may see it: secrets are hidden."""

    name: str
    value: str
    source: str  # "environment", "default", or the path of a .env file


class Environment:
    """Settings by name, from the first source that has them. A blank value counts as unset."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._sources = {"environment": variables}
        self.read: dict[str, Setting] = {}

    def add_file(self, path: Path) -> None:
        """Take settings that earlier sources don't have from a `.env` file, if it exists."""
        try:
            if not path.is_file():
                return
            with path.open(encoding="utf-8-sig") as file:
                lines = list(parse_stream(file))
        except OSError as exc:
            raise ImproperlyConfigured(f"{path}: cannot be read: {exc.strerror}.") from exc
        except UnicodeDecodeError as exc:
            raise ImproperlyConfigured(f"{path}: must be in UTF-8.") from exc
        if wrong := next((line for line in lines if line.error), None):
            raise ImproperlyConfigured(f"{path}: line {wrong.original.line} must be NAME=value.")
        self._sources[str(path)] = {line.key: line.value or "" for line in lines if line.key}

    def reject(self, name: str, problem: str) -> NoReturn:
        """Raise ImproperlyConfigured: `problem` continues a sentence that begins with the name."""
        source = self.read[name].source
        place = "" if source in ("environment", "default") else f" in {source}"
        raise ImproperlyConfigured(f"{name}{place} {problem}") from None

    def reject_unknown(self, prefix: str) -> None:
        """Raise ImproperlyConfigured if a source has a name with `prefix` that was never read."""
        for source, values in self._sources.items():
            for name in values:
                if name.startswith(prefix) and name not in self.read and values[name].strip():
                    [nearest] = get_close_matches(name, self.read, n=1, cutoff=0)
                    place = "" if source == "environment" else f" in {source}"
                    raise ImproperlyConfigured(
                        f"{name}{place} is not a setting; did you mean {nearest}?"
                    )

    def with_prefix(self, prefix: str) -> dict[str, str]:
        """Return all settings whose names begin with `prefix`, also those that are never read."""
        found: dict[str, str] = {}
        for values in self._sources.values():
            for name, value in values.items():
                if name.startswith(prefix) and value.strip():
                    found.setdefault(name, value.strip())
        return found

    def text(self, name: str, default: str = "", *, shown: Callable[[str], str] = str) -> str:
        """Return the setting as it is written; `shown` makes of it what people may see."""
        value, source = default, "default"
        for candidate, values in self._sources.items():
            if written := values.get(name, "").strip():
                value, source = written, candidate
                break
        self.read[name] = Setting(name, shown(value), source)
        return value

    def config(
        self, name: str, folders: list[Path], *, kept: str, installed: Sequence[str]
    ) -> Config:
        """Return what the operator has changed: in the file that is named, or in a folder's.

        Or what was in those files when they were kept, if the setting `kept` names a path. What is
        wrong is raised when Django is set up: `ask` beside a running fleet does without.
        """
        chosen, path = self.text(name), self.text(kept)
        try:
            files = (kept_files(Path(path)) if path else None) or files_in(chosen, folders)
            config = config_of(files, self.secret, installed=installed)
        except ImproperlyConfigured as exc:
            return Config(problem=str(exc))
        return replace(config, places=places_of(chosen, folders))

    def secret(self, name: str) -> str:
        """Return a value that a file names, from the first source that has it."""
        found = (values.get(name, "").strip() for values in self._sources.values())
        return next(filter(None, found), "")

    def reject_without_server(self, config: Config, *names: str) -> None:
        """Reject settings that name a model for which there is no server.

        `config` may have models with servers of their own.
        """
        elsewhere = {name for name, model in config.file.models.items() if model.base_url}
        for name in names:
            # What is wrong with fleet.toml is said later. Until then its models aren't known.
            if self.read[name].value not in ("", *elsewhere) and not config.problem:
                self.reject(
                    name,
                    "needs OPENAI_API_KEY or OPENAI_BASE_URL, or must be a model of fleet.toml with"
                    " a base_url; the built-in model answers without all of these.",
                )

    def prices(self, name: str, models: Mapping[str, ModelTable]) -> Prices | None:
        """Return the price list in the file at this path; None without one."""
        named = {each: table.model for each, table in models.items()}
        if not (path := self.text(name)):
            return None
        try:
            return Prices.read(Path(path)).with_names(named)
        except OSError as exc:
            self.reject(name, f"names {path}, which cannot be read: {exc.strerror}.")
        except UNREADABLE_JSON as exc:
            self.reject(name, f"names {path}, which is no price list: {exc}.")

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name, "on" if default else "off").lower()
        if value not in TRUE | FALSE:
            self.reject(name, f"must be on or off, not {value!r}.")
        return value in TRUE

    def number(self, name: str, default: float, *, least: float = 0, most: float = 1e9) -> float:
        return self._parse_number(name, self.text(name, str(default)), least, most)

    def numbers(self, name: str, default: Sequence[float]) -> list[float]:
        """Return as many numbers as `default` has, separated by commas in the setting."""
        values = self.texts(name, ",".join(map(str, default)))
        if len(values) != len(default):
            self.reject(name, f"must be {len(default)} numbers, separated by commas.")
        return [self._parse_number(name, value) for value in values]

    def _parse_number(self, name: str, value: str, least: float = 0, most: float = 1e9) -> float:
        try:
            number = float(value)
        except ValueError:
            self.reject(name, f"must be a number, not {value!r}.")
        if not least <= number <= most:
            self.reject(name, f"must be between {least:g} and {most:g}, not {value!r}.")
        return number

    def integer(self, name: str, default: int, *, least: int = 0, most: float = 1e9) -> int:
        number = self.number(name, default, least=least, most=most)
        if number != int(number):
            self.reject(name, f"must be a whole number, not {number!r}.")
        return int(number)

    def limit(self, name: str, default: str) -> Limit:
        """Return a limit such as `3,6,60`: for an owner, an address and the whole site.

        `none` stands for no limit, in place of one of them or of all.
        """
        parts = [part.lower() for part in self.texts(name, default)]
        if parts == ["none"]:
            parts *= 3
        if len(parts) != 3:
            self.reject(name, "must be three numbers (owner, address, site), each perhaps none.")
        return Limit(*(None if p == "none" else self._parse_number(name, p) for p in parts))

    def duration(self, name: str, default: str) -> timedelta | None:
        """Return a time such as 90d or 12h; None for "never"."""
        value = self.text(name, default).lower()
        if value == "never":
            return None
        found = DURATION.fullmatch(value)
        if found is None:
            self.reject(
                name, f"must be days such as 90d, hours such as 12h, or never, not {value!r}."
            )
        hours = int(found[1]) * HOURS[found[2]]
        if not 1 <= hours <= MAX_HOURS:
            self.reject(name, f"must be between 1h and {MAX_HOURS // 24}d, not {value!r}.")
        return timedelta(hours=hours)

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        value = self.text(name, default).lower()
        if value not in choices:
            self.reject(name, f"must be one of {', '.join(choices)}, not {value!r}.")
        return value

    def choice_or_url(self, name: str, default: str, choices: Sequence[str]) -> str:
        """Return one of the choices, or an http address in place of them."""
        value = self.text(name, default, shown=without_secrets)
        if "://" in value:
            return self.url(name, ("http", "https"), default)
        if value.lower() not in choices:
            known = ", ".join(choices)
            self.reject(name, f"must be one of {known}, or a URL, not {without_secrets(value)!r}.")
        return value.lower()

    def texts(self, name: str, default: str = "") -> list[str]:
        """Return the parts of a setting that is separated by commas."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def names(self, name: str, *, longest: int) -> dict[str, str]:
        """Return the ids in a setting such as `id, id=Name`, with their names, in this order."""
        found: dict[str, str] = {}
        for part in self.texts(name):
            key, _, called = (each.strip() for each in part.partition("="))
            if not key or len(key) > longest or not key.isprintable():
                self.reject(name, f"must be ids, each perhaps with =Name, not {part[:60]!r}.")
            if key in found:
                self.reject(name, f"has {key!r} twice.")
            found[key] = called
        return found

    def key(self, name: str) -> str:
        """Return a key that can be sent in a header."""
        value = self.text(name, shown=hidden)
        if not (value.isascii() and value.isprintable() and " " not in value):
            self.reject(name, "must be the key alone: ASCII characters, no spaces.")
        return value

    def url(self, name: str, schemes: Sequence[str], default: str = "") -> str:
        """Return a URL, which may contain a password: no error shows it."""
        value = self.text(name, default, shown=without_secrets)
        if value and value.lower().partition("://")[0] not in schemes:
            self.reject(name, f"must start with {' or '.join(f'{s}://' for s in schemes)}.")
        if value and not has_place(value):
            self.reject(name, "must be a URL with a host, and a number as the port if it has one.")
        if has_stray_password(value):
            self.reject(name, "must have special characters of its password quoted as %XX.")
        return value

    def site(self, name: str) -> Site:
        """Return the site at an address; one without an origin if it is unset."""
        if not (url := self.url(name, ("http", "https"))):
            return Site()
        try:
            return site_at(url)
        except ValueError as exc:
            self.reject(name, str(exc))

    def database(self, name: str, default: str, *, user: str = "") -> dict[str, Any]:
        """Return a database as Django's settings describe it, from its URL.

        `user` is how connections call themselves.
        """
        url = self.text(name, default, shown=without_secrets)
        if url.lower().partition("://")[0] not in ("postgresql", "postgres", "sqlite"):
            self.reject(name, "must start with postgresql:// or sqlite:///.")
        try:
            database: dict[str, Any] = {**dj_database_url.parse(url)}
        except (ValueError, KeyError):
            # The library's message may quote a part of the password.
            self.reject(name, "must be a URL; quote special characters of the password as %XX.")
        if database["ENGINE"] == "django.db.backends.sqlite3":
            if database["NAME"] == ":memory:":
                # Each thread of each process would have one of its own, without a table.
                self.reject(name, "must name a file, as in sqlite:////srv/fleet.sqlite3.")
            database["OPTIONS"] = {
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            }
        if database["ENGINE"] == "django.db.backends.postgresql":
            if not is_installed("psycopg"):
                self.reject(name, "needs the PostgreSQL driver: uv sync --extra postgresql")
            options = {**POSTGRESQL_OPTIONS, "application_name": user}
            database["OPTIONS"] = {**options, **database.get("OPTIONS", {})}
            database["ENGINE"] = "chat.postgresql"
        return database

    def headers(self, name: str) -> dict[str, str]:
        """Return HTTP headers from a JSON object of texts, none of which an error shows."""
        text = self.text(name, shown=hidden)
        try:
            headers = msgspec.json.decode(text or "{}", type=dict[str, str])
        except UNREADABLE_JSON:
            headers = {"": ""}
        for header, value in headers.items():
            if not (HEADER.fullmatch(header) and is_header_value(value)):
                self.reject(name, 'must be a JSON object such as {"X-Team": "fleet"}.')
        return headers

    def file(self, name: str) -> str:
        """Return the path of a file that can be read; an empty string if it is unset."""
        path = self.text(name)
        if path and not os.access(path, os.R_OK):
            self.reject(name, f"names {path}, which cannot be read.")
        return path

    def networks(self, name: str) -> list[Network]:
        """Return networks and addresses, separated by commas."""
        found = []
        for part in self.texts(name):
            try:
                found.append(ip_network(part, strict=False))
            except ValueError:
                problem = "must hold addresses or networks such as 10.0.0.0/8"
                self.reject(name, f"{problem}, not {without_secrets(part)!r}.")
        return found

    def proxies(self) -> dict[str, str]:
        """Return the proxies of the environment, by the scheme of what is asked through them.

        These are not settings of this project, so files don't count.
        """
        proxies = getproxies_environment()
        for scheme in ("http", "https", "all"):
            proxy = proxies.get(scheme, "")
            if "://" in proxy and proxy.lower().partition("://")[0] not in PROXY_SCHEMES:
                raise ImproperlyConfigured(
                    f"{scheme.upper()}_PROXY must start with {' or '.join(PROXY_SCHEMES)}."
                )
            if proxy and not has_place(proxy if "://" in proxy else f"//{proxy}"):
                raise ImproperlyConfigured(
                    f"{scheme.upper()}_PROXY must be a URL with a host, and a number as the port"
                    " if it has one."
                )
        return proxies

    def hosts(self, name: str, default: str) -> list[str]:
        hosts = self.texts(name, default)
        for host in hosts or [""]:
            if not HOST.fullmatch(host):
                problem = "must hold host names such as chat.example, without scheme and port"
                self.reject(name, f"{problem}, not {without_secrets(host)!r}.")
        return hosts

    def origins(self, name: str) -> list[str]:
        origins = self.texts(name)
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                problem = "must hold origins such as https://chat.example"
                self.reject(name, f"{problem}, not {without_secrets(origin)!r}.")
        return origins


def hidden(value: str) -> str:
    return "(hidden)" if value else ""


def without_secrets(url: str) -> str:
    """Return the URL without user name, password and query, also if only a part of it is there."""
    # Not by urlsplit: it takes a password with an unquoted / or # for a host.
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    place, slash, path = rest.rpartition("@")[2].partition("?")[0].partition("/")
    # What follows a colon and is no port may be a password whose host is missing yet.
    place = place if place.startswith("[") else STRAY_PASSWORD.sub(":…", place)
    return scheme + separator + place + slash + path


def name_elsewhere(hosts: Sequence[str], origins: Sequence[str]) -> str:
    """Return the first host name by which other machines are let in; empty if there is none."""
    places = [each.partition("://")[2] for each in origins if each.startswith("http")]
    names = [*hosts, *(split_domain_port(place.removeprefix("*"))[0] for place in places)]
    return next((name for name in names if not is_of_this_machine(name)), "")


def is_of_this_machine(name: str) -> bool:
    """Return True if a host name or address leads every machine to itself."""
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return f".{name.lower()}".endswith(".localhost")


def is_installed(module: str) -> bool:
    """Return True if a module of an optional package can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
