"""All models of a fleet behind one object, whichever servers they are at."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Required, TypedDict, Unpack

from django.conf import settings

from chat.config.tables import ModelTable
from chat.protocol.terms import Effort

from .client import ModelClient
from .connection import connection_to
from .messages import ChatMessage, Piece
from .servers import Server, own_server, server_of, tables
from .thinking import thinking_tokens
from .windows import Budget, Window


class CallOptions(TypedDict, total=False):
    """What a call may say beside model and messages; `ModelClient.stream` describes it."""

    max_tokens: Required[int]
    max_thinking: int | None
    effort: Effort | None
    is_aside: bool
    tools: Sequence[dict[str, Any]]
    may_call: bool
    schema: dict[str, Any] | None
    traceparent: str
    may_retry: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A model of fleet.toml: who asks it, by which id, and what a call may hold."""

    client: ModelClient
    id: str
    budget: Budget


class Models:
    """The models that may be asked by name. One per event loop; close it at the end.

    A name of fleet.toml means the model of its table, at the server of its table. Any other one is
    the id of a model of the fleet's `own` server. `clients` has one client for each server, `own`
    first.
    """

    def __init__(self, used: Sequence[str] = ()) -> None:
        named = tables()
        wanted: dict[Server, list[str]] = {own_server(): [m for m in used if m not in named]}
        for name, table in named.items():
            wanted.setdefault(server_of(name), []).append(table.model)
        self.clients: Mapping[Server, ModelClient] = {
            server: ModelClient(
                connection_to(server),
                deadlines=settings.FLEET_DEADLINES,
                budget=own_budget(),
                models=models,
            )
            for server, models in wanted.items()
        }
        self.own = self.clients[own_server()]
        for client in self.clients.values():
            # People choose from what the fleet's own server lists, and by the names of the file.
            client.catalog.is_offered = client is self.own
        self._named = {
            name: Named(self.clients[server_of(name)], table.model, budget_of(table))
            for name, table in named.items()
        }

    def stream(
        self, messages: Sequence[ChatMessage], *, model: str, **call: Unpack[CallOptions]
    ) -> AsyncGenerator[Piece]:
        """Return the pieces of a call to a model, as its client yields them."""
        if named := self._named.get(model):
            return named.client.stream(messages, model=named.id, budget=named.budget, **call)
        return self.own.stream(messages, model=model, **call)

    def window(self, model: str) -> Window:
        """Return what one call to the model may hold."""
        if named := self._named.get(model):
            return named.client.window(named.id, named.budget)
        return self.own.window(model)

    def client_of(self, model: str) -> ModelClient:
        named = self._named.get(model)
        return named.client if named else self.own

    @property
    def by_service(self) -> dict[str, ModelClient]:
        """The client of each server, by what probes call it.

        "model" is that of FLEET_MODEL. Others are called by a model of fleet.toml that they have.
        """
        found = {"model": self.client_of(settings.FLEET_MODEL)}
        for model, named in self._named.items():
            if named.client not in found.values():
                found[f"model {model}"] = named.client
        if self.own not in found.values():
            found["other models"] = self.own
        return found

    async def first_look(self, model: str = "") -> None:
        """Wait until the fleet's own server was asked which models it has, unless this is named."""
        if model not in self._named:
            await self.own.catalog.first_look()

    async def aclose(self) -> None:
        await asyncio.gather(*(client.aclose() for client in self.clients.values()))


def own_budget() -> Budget:
    """Return what the settings allow for each call to a model of the fleet's own server."""
    return Budget(
        context_tokens=settings.FLEET_CONTEXT_TOKENS,
        output_tokens=settings.FLEET_MAX_OUTPUT_TOKENS,
        thinking_tokens=thinking_tokens,
        step_tokens=settings.FLEET_STEP_TOKENS,
    )


def budget_of(table: ModelTable) -> Budget:
    """Return what a call to this model may hold: as its table says, or else the settings."""
    # Those of the stand-in are for it alone.
    is_beside_stand_in = settings.FLEET_MODEL_IS_STAND_IN and table.base_url
    budget = Budget(thinking_tokens=thinking_tokens) if is_beside_stand_in else own_budget()
    if table.context_tokens is not None:
        budget = replace(budget, context_tokens=table.context_tokens)
    if table.output_tokens is not None:
        budget = replace(budget, output_tokens=table.output_tokens)
    if (thinking := table.thinking_tokens) is not None:
        budget = replace(budget, thinking_tokens=lambda _: thinking)
    return budget
