"""What a fleet prints about itself: how it serves, and its settings."""

from django.conf import settings
from django.db import connection

from chat.llm.base_urls import normal
from chat.llm.listing import Listing

from .embedded import Child
from .environment import without_secrets

MODEL_HINT = "set OPENAI_API_KEY, or OPENAI_BASE_URL and FLEET_MODEL, for a better one"
MAX_NAMES = 5  # of listed models in a line


def ready_text(
    address: str, *, valkey: Child | None, listing: Listing | None, proxy: str = ""
) -> str:
    """Return the lines for a fleet that serves, with the Valkey that it has started.

    `listing` is what the configured model server told, perhaps through a proxy; None if the model
    is built in.
    """
    redis = (
        f"an embedded Valkey, {without_secrets(valkey.url)}"
        if valkey
        else without_secrets(settings.REDIS_URL)
    )
    return "\n".join(
        [
            f"AgenticFleet is ready on {address}",
            *model_lines(listing, proxy=proxy),
            f"  web search  {search_text()}",
            f"  database    {database_text()}",
            f"  Redis       {redis}",
        ]
    )


def model_lines(listing: Listing | None, *, proxy: str = "") -> list[str]:
    """Return a line for the model, and one for that of the light path if it is another one."""
    if listing is None:
        hint = f"built in: small and weak; {MODEL_HINT}"
        return [f"  model       {settings.BUILTIN_MODEL}, {hint}"]
    place = without_secrets(listing.base_url) if settings.OPENAI_BASE_URL else "OpenAI"
    if proxy:
        place += f" through the proxy {without_secrets(proxy)}"
    lines = [
        f"  model       {settings.FLEET_MODEL} at {place}{told_of(settings.FLEET_MODEL, listing)}"
    ]
    if settings.FLEET_LIGHT_MODEL != settings.FLEET_MODEL:
        light = settings.FLEET_LIGHT_MODEL
        lines.append(f"  light path  {light}{told_of(light, listing)}")
    return lines


def told_of(name: str, listing: Listing) -> str:
    """Return what the model server tells of a model, to be put behind its name and place."""
    if listing.problem:
        return f", which {listing.problem}"
    model, reads = listing.find(name), listing.read_by(name)
    facts: list[str] = []
    if listing.base_url != normal(settings.OPENAI_BASE_URL):
        facts.append("found under /v1")
    if reads:
        possible = model.possible_tokens if model and model.cuts_silently else None
        could = f" of the {possible:,} that it could" if possible and possible > reads else ""
        facts.append(f"reads {reads:,} tokens{could}")
    if listing.models:
        count = len(listing.models)
        facts.append(f"{count} model{'' if count == 1 else 's'} listed")
    told = f" ({'; '.join(facts)})" if facts else ""
    if listing.models and not model and not listing.takes_any_name:
        names = [each.id for each in listing.models]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        has = f"{', '.join(names[:MAX_NAMES])}{more}"
        return f"{told}, but the server lists no such model: it has {has}"
    return told


def search_text() -> str:
    match settings.FLEET_SEARCH:
        case "on":
            return f"on, by {without_secrets(settings.TAVILY_BASE_URL)}"
        case "keyless":
            return (
                "on without a key, within narrow limits, by"
                f" {without_secrets(settings.TAVILY_BASE_URL)}; queries leave this machine"
            )
        case _:
            return "off; set TAVILY_API_KEY, or FLEET_SEARCH=keyless to search without a key"


def database_text() -> str:
    used = connection.settings_dict
    place = "" if connection.vendor == "sqlite" else f" on {used['HOST'] or 'this machine'}"
    return f"{connection.display_name}, {used['NAME']}{place}"


def settings_text() -> str:
    """Return a line for each setting: name, value in effect (secrets hidden), and source."""
    rows = [(read.name, read.value or "-", read.source) for read in settings.SETTINGS_READ]
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(
        f"{name:<{names}}  {value:<{values}}  {source}" for name, value, source in rows
    )
