"""What a fleet prints about itself: how it serves, and its settings."""

from django.conf import settings
from django.db import connection

from .embedded import Child
from .environment import without_secrets

MODEL_HINT = "set OPENAI_API_KEY, or OPENAI_BASE_URL and FLEET_MODEL, for a better one"


def ready_text(address: str, *, valkey: Child | None, model: Child | None) -> str:
    """Return the lines for a fleet that serves. The children are those that it has started."""
    redis = (
        f"an embedded Valkey, {without_secrets(valkey.url)}"
        if valkey
        else without_secrets(settings.REDIS_URL)
    )
    return "\n".join(
        [
            f"AgenticFleet is ready on {address}",
            f"  model       {model_text(model)}",
            f"  web search  {search_text()}",
            f"  database    {database_text()}",
            f"  Redis       {redis}",
        ]
    )


def model_text(model: Child | None) -> str:
    if model:
        return f"{settings.BUILTIN_MODEL}, built in: small and weak; {MODEL_HINT}"
    return f"{settings.FLEET_MODEL} at {without_secrets(settings.OPENAI_BASE_URL) or 'OpenAI'}"


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
