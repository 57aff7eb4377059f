"""What a fleet prints about itself: how it serves, and its settings."""

import os
from collections.abc import Sequence

from django.conf import settings
from django.db import connection

from chat.config.reading import Files
from chat.llm.base_urls import normal
from chat.llm.listing import Listing
from chat.llm.local_servers import READ_MORE
from chat.llm.servers import id_of, is_named

from .configured import config_line
from .embedded import Started
from .environment import without_secrets
from .memory import used_by
from .modelserver import Told
from .sources import Choice

FETCH_HINT = "Better, without a key: `uv run manage.py fetch_model` (1.3 GB)"
MAX_NAMES = 5  # of listed models in a line
INDENT = " " * 14  # of a line that goes on with the one before
SHORT_WINDOW = 16_384  # tokens; with fewer, a long chat soon loses its beginning
MB = 1e6


def ready_text(
    address: str,
    *,
    started: Started,
    workers: Sequence[int] = (),
    told: Sequence[Told] = (),
) -> str:
    """Return the lines for a fleet that serves, with the services that it has started or found.

    `told` is by model servers that aren't of this fleet.
    """
    valkey = started.valkey
    redis = (
        f"an embedded Valkey, {without_secrets(valkey.url)}"
        if valkey
        else without_secrets(settings.REDIS_URL)
    )
    return "\n".join(
        [
            f"AgenticFleet is ready on {address}"
            + (f" for {settings.FLEET_PUBLIC_URL}" if settings.FLEET_PUBLIC_URL else ""),
            *model_lines(told, choice=started.choice),
            f"  web search  {search_text()}",
            f"  database    {database_text()}",
            f"  Redis       {redis}",
            *([f"  fleet.toml  {config_line()}"] if settings.FLEET_FILE.files != Files() else []),
            f"  runs        {processes_text(started, workers)}",
        ]
    )


def model_lines(told: Sequence[Told], *, choice: Choice | None = None) -> list[str]:
    """Return the lines for the models, and for what people should know of them."""
    if choice is None:
        return [line for each in told for line in server_lines(each)]
    found = told[0].listing if choice.found else None
    lines = chosen_lines(choice, found)
    return [
        f"  model       {lines[0]}",
        *(f"{INDENT}{line}" for line in lines[1:]),
        *(line for each in told[1 if found else 0 :] for line in server_lines(each)),
    ]


def server_lines(told: Told) -> list[str]:
    """Return a line for each path whose model is at a server, and one for its other models."""
    url, listing = told.server.base_url, told.listing
    place = f" at {without_secrets(listing.base_url) if url else 'OpenAI'}"
    if told.proxy:
        place += f" through the proxy {without_secrets(told.proxy)}"
    paths = {settings.FLEET_LIGHT_MODEL: "light path", settings.FLEET_MODEL: "model"}
    lines: list[str] = []
    for model in dict.fromkeys([settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL]):
        if model in told.models:
            said = told_of(id_of(model), listing, url)
            lines.append(f"  {paths[model]:<11} {called(model)}{'' if lines else place}{said}")
    if others := [model for model in told.models if model not in paths and is_named(model)]:
        names = ", ".join(map(called, others))
        said = "" if lines else f"{place}{told_of_server(listing)}"
        lines.append(f"  {'models':<11} {names}{said}{unlisted(others, listing)}")
    return lines


def called(model: str) -> str:
    """Return the name of a model in fleet.toml with what it stands for, or the id of another."""
    return f"{model} ({id_of(model)})" if id_of(model) != model else model


def told_of_server(listing: Listing) -> str:
    """Return what a model server tells, to be put behind its place."""
    return f", which {listing.problem}" if listing.problem else ""


def unlisted(models: Sequence[str], listing: Listing) -> str:
    """Return which of these models their server doesn't list, and what it lists instead."""
    missing = [id_of(model) for model in models if listing.find(id_of(model)) is None]
    if not listing.models or listing.takes_any_name or not missing:
        return ""
    has = few([each.id for each in listing.models])
    return f", but the server lists no {' and no '.join(missing)}: it has {has}"


def chosen_lines(choice: Choice, listing: Listing | None) -> list[str]:
    """Return what to say of a model that nobody configured, and of what else was seen."""
    around, found = choice.around, choice.found
    lines: list[str] = []
    if found:
        others = [str(each) for each in around.servers if each != found.server]
        others += [each.id for each in found.server.models if each != found.model and each.can_chat]
        also = f" (also: {few(others)})" if others else ""
        lines = [f"{found}, found on this machine{also}; FLEET_LOOK=off to not use it"]
        reads = listing.read_by(found.model.id) if listing else None
        if reads and reads < SHORT_WINDOW:
            lines.append(
                f"its context is {reads:,} tokens: long chats lose their beginning;"
                f" `{READ_MORE[found.server.kind]}` raises it"
            )
        elif reads:
            lines.append(f"its context is {reads:,} tokens")
    elif choice.file:
        size = choice.file.stat().st_size / 1e9
        lines = [f"{choice.name}, served by the fleet from {choice.file} ({size:.1f} GB)"]
    else:
        lines = [f"{choice}, built in: small and mostly wrong. {FETCH_HINT}"]
        if around.chosen:
            lines.append(f"{around.chosen} runs on this machine: FLEET_LOOK=on uses it")
    lines += [f"looked at {each}" for each in around.unusable]
    return lines + list(choice.notes)


def processes_text(started: Started, workers: Sequence[int]) -> str:
    """Return which processes run, with the memory that each of them needs."""
    parts = {
        "this process": [os.getpid()],
        "1 worker" if len(workers) == 1 else f"{len(workers)} workers": list(workers),
        "Valkey": [started.valkey.pid] if started.valkey else [],
        "the model": [started.model.pid] if started.model else [],
    }
    parts = {name: pids for name, pids in parts.items() if pids}
    used = {name: used_by(pids) for name, pids in parts.items()}
    told = [f"{name} {size / MB:,.0f} MB" if size else name for name, size in used.items()]
    total = sum(size or 0 for size in used.values())
    return " + ".join(told) + (f" = {total / 1e9:.2f} GB of memory" if total else "")


def few(names: Sequence[str]) -> str:
    """Return the first of these names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


def told_of(name: str, listing: Listing, url: str) -> str:
    """Return what the model server tells of a model, to be put behind its name and place."""
    if listing.problem:
        return f", which {listing.problem}"
    model, reads = listing.find(name), listing.read_by(name)
    facts: list[str] = []
    if listing.base_url != normal(url):
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
        has = few([each.id for each in listing.models])
        return f"{told}, but the server lists no such model: it has {has}"
    return told


def search_text() -> str:
    match settings.FLEET_SEARCH:
        case "on":
            return f"on, by {without_secrets(settings.TAVILY_BASE_URL)}"
        case "searxng":
            return f"on, by SearXNG at {without_secrets(settings.SEARXNG_URL)}"
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
