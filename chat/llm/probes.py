"""Ask a server for the windows of its models, if its listing doesn't tell them.

Each kind of server has a way of its own, beside the API. A server of another kind doesn't know the
path, and its reply says nothing.
"""

import asyncio
from collections.abc import Collection
from http import HTTPStatus

from msgspec.structs import replace

from .base_urls import root_of
from .connection import Connection
from .errors import ModelError
from .listing import (
    WINDOW,
    ListedModel,
    Listing,
    decoded,
    merged,
    models_in,
    numbers_in,
)
from .ollama import shown_model

PROBE_TIMEOUT = 5.0  # seconds
MAX_SHOWN = 50  # models of one server that are asked about one by one
LOADED = "api/ps"  # the models that Ollama has in memory
LISTS = ("api/v0/models", "model/info")  # of LM Studio and LiteLLM: they tell more than /models
FACTS = ("props", "info")  # of llama.cpp and TGI: about the server, for one answer at a time


def is_needed(listing: Listing, wanted: Collection[str]) -> bool:
    """Return True if a listing doesn't tell the windows of the models that are asked."""
    # llama.cpp lists a window that all the answers which it writes at once have together.
    return listing.takes_any_name or any(listing.read_by(name) is None for name in wanted)


async def with_windows(
    connection: Connection, listing: Listing, wanted: Collection[str]
) -> Listing:
    """Return the listing with what the server tells beside it of the windows of its models."""
    root = connection.at(root_of(listing.base_url))
    told = await asyncio.gather(*(window_at(root, path) for path in FACTS))
    listing = replace(listing, context_tokens=min(filter(None, told), default=None))
    for models in await asyncio.gather(*(models_at(root, path) for path in LISTS)):
        for model in models:
            listing = with_told(listing, model, wanted)
    if is_needed(listing, wanted):
        loaded = Listing("", await models_at(root, LOADED))
        shows = [await shown(root, name, loaded) for name in wanted]
        if any(shows):
            rest = [model.id for model in listing.models if listing.read_by(model.id) is None]
            shows += [await shown(root, name, loaded) for name in rest[:MAX_SHOWN]]
        for model in filter(None, shows):
            listing = with_told(listing, model, wanted)
    return listing


def with_told(listing: Listing, told: ListedModel, wanted: Collection[str]) -> Listing:
    """Return the listing with what is told of a model that it has, or that is asked."""
    known = listing.find(told.id)
    if known is None:
        is_asked = any(told.is_called(name) for name in wanted)
        return replace(listing, models=(*listing.models, told)) if is_asked else listing
    models = [merged(known, told) if model is known else model for model in listing.models]
    return replace(listing, models=tuple(models))


async def shown(root: Connection, name: str, loaded: Listing) -> ListedModel | None:
    """Return what Ollama tells of a model; None if it has none, or the server isn't Ollama."""
    try:
        reply = await root.post("api/show", {"model": name}, timeout=PROBE_TIMEOUT)
    except ModelError:
        return None
    if reply.status != HTTPStatus.OK:
        return None
    content = await asyncio.to_thread(decoded, reply.body)
    return shown_model(name, content, loaded=loaded.read_by(name))


async def models_at(root: Connection, path: str) -> tuple[ListedModel, ...]:
    try:
        reply = await root.get(path, timeout=PROBE_TIMEOUT)
    except ModelError:
        return ()
    if reply.status != HTTPStatus.OK:
        return ()
    return await asyncio.to_thread(models_in, reply.body) or ()


async def window_at(root: Connection, path: str) -> int | None:
    """Return the smallest window that the server tells there; None if it tells none."""
    try:
        reply = await root.get(path, timeout=PROBE_TIMEOUT)
    except ModelError:
        return None
    if reply.status != HTTPStatus.OK:
        return None
    return await asyncio.to_thread(window_in, reply.body)


def window_in(body: bytes) -> int | None:
    return min(numbers_in(decoded(body), WINDOW), default=None)
