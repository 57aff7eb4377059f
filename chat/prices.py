"""What models and web searches cost in money, from the file that FLEET_PRICES names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, structs

from .protocol.payloads import ModelCall, ToolResultData

TOKENS_PER_PRICE = 1_000_000

# The limit keeps costs finite: no database could store an infinite one, or the ending with it.
type Price = Annotated[float, Meta(ge=0, le=1_000_000)]


class ModelPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a million tokens. `cached_input` is that of input which the server had cached.

    Without it, cached input costs what other input costs.
    """

    input: Price
    output: Price
    cached_input: Price | None = None

    def cost_of(self, call: ModelCall) -> float:
        """Return the cost of a call."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        parts = (
            (call.input_tokens - call.cached_tokens) * self.input,
            call.cached_tokens * cached_price,
            call.output_tokens * self.output,
        )
        return sum(parts) / TOKENS_PER_PRICE


class Prices(Struct, frozen=True, forbid_unknown_fields=True):
    """A price list. Models that it doesn't name have no known price."""

    models: dict[str, ModelPrice] = {}
    search_credit: Price = 0
    currency: str = "USD"

    @classmethod
    def read(cls, path: Path) -> "Prices":
        """Return the list in a JSON file. Raise OSError or msgspec.MsgspecError."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def with_names(self, named: Mapping[str, str]) -> "Prices":
        """Return the list with models by their names, too. `named` has what each stands for.

        A name that is on the list has the price there.
        """
        known = {name: self.models[model] for name, model in named.items() if model in self.models}
        return structs.replace(self, models=known | self.models)

    def cost_of(self, calls: Iterable[ModelCall], tools: Iterable[ToolResultData]) -> float | None:
        """Return the cost of these calls in `currency`; None if the price of a model is unknown."""
        total = sum(tool.credits for tool in tools) * self.search_credit
        for call in calls:
            price = self.models.get(call.model)
            if price is None:
                return None
            total += price.cost_of(call)
        return round(total, 6)
