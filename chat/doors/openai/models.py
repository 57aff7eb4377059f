"""What a program may name as `model`: the fleet in its modes, or a model that is offered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from chat.access.owners import Asker
from chat.doors.calls import Call, Reply, Route
from chat.doors.errors import refused
from chat.llm.offers import offers
from chat.protocol.terms import Mode
from chat.runs.worker import Worker
from chat.workflow.stand_in import has_team

FLEET = "fleet"
MODES: Mapping[str, tuple[Mode, str]] = {
    FLEET: ("auto", "Fleet"),
    "fleet-light": ("light", "Fleet, one agent"),
    "fleet-full": ("full", "Fleet, the whole team"),
    "fleet-plain": ("plain", "Fleet, one call of its light model"),
}


class Model(Struct, frozen=True):
    """A model, or a way in which the fleet answers. `created` isn't known."""

    id: str
    name: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "agenticfleet"


class ModelList(Struct, frozen=True):
    data: list[Model]
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a name stands for. `model` is None if the fleet's own ones answer."""

    name: str
    mode: Mode
    model: str | None = None


def choices_for(asker: Asker) -> dict[str, Chosen]:
    """Return what this program may name, by its id in the order of the list."""
    chosen = {
        model: Chosen(name, mode)
        for model, (mode, name) in MODES.items()
        if mode != "full" or has_team("")
    }
    for offer in offers():
        if not asker.models or offer.id in asker.models:
            chosen.setdefault(offer.id, Chosen(offer.name, "auto", offer.id))
    return chosen


async def chosen_by(name: str, asker: Asker) -> Chosen:
    """Return what a program has named. Raise Refusal if it may name no such model."""
    # A worker that has just started doesn't know yet which models there are.
    await Worker.current().models.first_look(name)
    if chosen := choices_for(asker).get(name):
        return chosen
    message = f'There is no model "{name[:200]}" here. GET /v1/models lists those that there are.'
    raise refused(404, "model_not_found", message, param="model")


async def listed(call: Call) -> Reply:
    await Worker.current().models.first_look()
    choices = choices_for(call.who)
    return Reply(ModelList([Model(model, chosen.name) for model, chosen in choices.items()]))


async def one(call: Call) -> Reply:
    chosen = await chosen_by(call.names["id"], call.who)
    return Reply(Model(call.names["id"], chosen.name))


TAG = "OpenAI"
ROUTES = (
    Route("GET", "/v1/models", listed, "List the models.", "ask", gives=ModelList, tag=TAG),
    Route("GET", "/v1/models/{id:path}", one, "Show one model.", "ask", gives=Model, tag=TAG),
)
