"""The models that people may choose from, of those that the server lists."""

import re
from dataclasses import dataclass

from django.conf import settings

from chat.protocol.requests import MAX_MODEL

from .listing import ListedModel, Listing
from .ollama import is_in_cloud

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
    """Return the models that the settings name for paths and the router, each once."""
    names = (settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL, settings.FLEET_ROUTER_MODEL)
    return list(dict.fromkeys(filter(None, names)))


def offers() -> list[Offer]:
    """Return the models that people may choose from, in the order in which they are shown.

    These are the ones in FLEET_MODELS; without that setting, the configured models and what the
    server lists. Reads neither database nor network.
    """
    if settings.FLEET_MODEL_IS_STAND_IN:
        return [Offer(settings.FLEET_MODEL, BUILTIN_NAME)]
    if settings.FLEET_MODELS:
        # Also those that the server doesn't list, because not every server lists all of them.
        return [Offer(model, name or model) for model, name in settings.FLEET_MODELS.items()]
    # A server may list the configured models under other names, or not at all.
    configured = dict.fromkeys(filter(None, (settings.FLEET_LIGHT_MODEL, settings.FLEET_MODEL)))
    listing = Listing.latest
    others = {
        model.id: Offer(model.id, model.name or model.id)
        for model in (() if listing.takes_any_name else listing.models)
        if can_chat(model)
        and not any(map(model.is_called, configured))
        # What was found on this machine is used because nothing leaves it.
        and not (settings.FLEET_MODEL_SERVER and is_in_cloud(model.id))
    }
    return [
        *(Offer(model, model) for model in configured),
        *sorted(others.values(), key=lambda offer: offer.name.casefold()),
    ]


def can_chat(model: ListedModel) -> bool:
    """Return False if a model plainly answers no chat, or has an id that no request can hold."""
    if not 0 < len(model.id) <= MAX_MODEL or not model.id.isprintable():
        return False
    return NO_CHAT.search(model.id.lower()) is None if model.chats is None else model.chats
