"""Which server each model is at: the fleet's own, or one of fleet.toml. No I/O."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings

from chat.config.reading import Config
from chat.config.tables import ModelTable

from .base_urls import normal

# What a table of fleet.toml has in place of a setting.
KEYS = {
    "OPENAI_API_KEY": "api_key",
    "OPENAI_BASE_URL": "base_url",
    "FLEET_MODEL": "model",
    "FLEET_CONTEXT_TOKENS": "context_tokens",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A model server as it is configured. The same one with another key is another one."""

    base_url: str = field(repr=False)  # it may hold a password
    api_key: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """The host and port, as people know it."""
        return urlsplit(normal(self.base_url)).netloc

    @property
    def address(self) -> tuple[str, int]:
        """The host and port, as traces have it."""
        url = urlsplit(normal(self.base_url))
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def tables() -> dict[str, ModelTable]:
    """Return the models of fleet.toml by their names."""
    models: dict[str, ModelTable] = settings.FLEET_FILE.file.models
    return models


def is_named(model: str) -> bool:
    """Return True if a model is one of fleet.toml, by its name there."""
    return model in tables()


def id_of(model: str) -> str:
    """Return the id by which a model's server knows it."""
    table = tables().get(model)
    return table.model if table else model


def server_of(model: str) -> Server:
    """Return the server that has a model: that of its table, or else the fleet's own."""
    table = tables().get(model)
    if table is None or not table.base_url:
        return own_server()
    return server_in(settings.FLEET_FILE, table)


def own_server() -> Server:
    """Return the server of the models that fleet.toml doesn't name.

    Without one in the settings, FLEET_MODEL is a model of fleet.toml, and its server is this one.
    """
    if not has_own_server() and (table := tables().get(settings.FLEET_MODEL)):
        return server_in(settings.FLEET_FILE, table)
    headers = tuple(sorted(settings.OPENAI_DEFAULT_HEADERS.items()))
    return Server(settings.OPENAI_BASE_URL.rstrip("/"), settings.OPENAI_API_KEY, headers)


def has_own_server() -> bool:
    """Return True if the settings name a server, so that any model of it may be asked."""
    return bool(settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL)


def name_at(place: str, model: str = "") -> str:
    """Return the name in fleet.toml of a model at a place, unless it is the fleet's own."""
    if has_own_server() and own_server().place == place:
        return ""
    found = (
        name
        for name, table in tables().items()
        if table.base_url and model in ("", table.model) and server_of(name).place == place
    )
    return next(found, "")


def as_in_file(advice: str, name: str) -> str:
    """Return advice on settings as advice on a table of fleet.toml; as it is without a name."""
    for setting, key in KEYS.items() if name else ():
        advice = advice.replace(setting, f"{key} of [models.{name}]")
    return advice


def server_in(config: Config, table: ModelTable) -> Server:
    headers = sorted((name, config.filled(value)) for name, value in table.headers.items())
    return Server(table.base_url.rstrip("/"), config.filled(table.api_key), tuple(headers))


def is_stand_in(model: str) -> bool:
    """Return True if a model is the small one that answers because nothing better is there."""
    is_at_own = not (is_named(model) and tables()[model].base_url)
    return bool(settings.FLEET_MODEL_IS_STAND_IN and is_at_own)
