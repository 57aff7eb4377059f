"""The models that people may choose from: of fleet.toml, and of those that the server lists."""

import re
from dataclasses import dataclass

from django.conf import settings

from chat.protocol.requests import MAX_MODEL

from .listing import ListedModel, Listing
from .ollama import is_in_cloud
from .servers import has_own_server, is_named, is_stand_in, tables

BUILTIN_NAME = "SmolLM2 (built-in)"
# Words in the ids of models that answer no chat: they embed, rank, speak, transcribe, draw, film or
# moderate. A server that lists everything names them beside the others.
NO_CHAT = re.compile(
    r"""(?<![a-z]) (
    (text)?embed | re-?rank | whisper | transcri | moderation
    | (
        e5 | gte | bge | minilm | colbert | clip | siglip
        | (melo)?tts | stt | asr | audio | speech | (cosy)?voice | realtime
        | images? | imagen | dall-?e | (stable-?)?diffusion | sdxl | flux | sora | veo | [ti]2[iv]
        | guard | guardian | safeguard | shieldgemma
    ) (?![a-z])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be asked by its id. `name` is what people read."""

    id: str
    name: str


def models_in_use() -> list[str]:
    """Return the models of the paths, of the router and of fleet.toml, each once."""
    names = (settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL, settings.FLEET_ROUTER_MODEL)
    return list(dict.fromkeys(filter(None, (*names, *tables()))))


def offers() -> list[Offer]:
    """Return the models that people may choose from, in the order in which they are shown.

    These are the ones in FLEET_MODELS; without that setting, the configured models, those of
    fleet.toml and what the fleet's own server lists. Reads neither database nor network.
    """
    named = [name for name, table in tables().items() if table.offered]
    if settings.FLEET_MODEL_IS_STAND_IN:
        real = [Offer(name, name) for name in named if not is_stand_in(name)]
        return [Offer(settings.FLEET_MODEL, BUILTIN_NAME), *real]
    if settings.FLEET_MODELS:
        # Also those that the server doesn't list, because not every server lists all of them.
        return [
            Offer(model, name or model)
            for model, name in settings.FLEET_MODELS.items()
            if model in named or not is_named(model)
        ]
    paths = [settings.FLEET_LIGHT_MODEL, settings.FLEET_MODEL]
    configured = dict.fromkeys(
        model for model in (*paths, *named) if model and (model in named or not is_named(model))
    )
    # A server may list the configured models under other names, or not at all. What a name stands
    # for is offered by the name, if at all.
    known = {*configured, *(table.model for table in tables().values() if not table.base_url)}
    listing = Listing.latest if has_own_server() else Listing("")
    others = {
        model.id: Offer(model.id, model.name or model.id)
        for model in (() if listing.takes_any_name else listing.models)
        if can_chat(model)
        and not any(map(model.is_called, known))
        # What was found on this machine is used because nothing leaves it.
        and not (settings.FLEET_MODEL_SERVER and is_in_cloud(model.id))
    }
    return [
        *(Offer(model, model) for model in configured),
        *sorted(others.values(), key=lambda offer: offer.name.casefold()),
    ]


def may_be_known(model: str) -> bool:
    """Return False if a model that could be asked once is plainly gone."""
    if is_named(model) or not has_own_server():
        return is_named(model)
    listing = Listing.latest
    is_configured = model in models_in_use() or model in settings.FLEET_MODELS
    is_listed = not listing.models or listing.takes_any_name or listing.find(model) is not None
    return is_configured or is_listed


def can_chat(model: ListedModel) -> bool:
    """Return False if a model plainly answers no chat, or has an id that no request can hold."""
    if not 0 < len(model.id) <= MAX_MODEL or not model.id.isprintable():
        return False
    return NO_CHAT.search(model.id.lower()) is None if model.chats is None else model.chats
