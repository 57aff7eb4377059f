"""Price lists, and costs by them."""

from pathlib import Path

import msgspec
import pytest

from chat.prices import ModelPrice, Prices
from chat.protocol.payloads import ModelCall, ToolResultData


def call(model: str, **tokens: int) -> ModelCall:
    return ModelCall(number=1, model=model, started_ms=0, duration_ms=1, **tokens)


def test_cost_counts_tokens_and_credits() -> None:
    prices = Prices({"m": ModelPrice(2, 8)}, search_credit=0.01)
    search = ToolResultData(tool="websearch", call_id="c", ok=True, duration_ms=1, credits=2)
    calls = [call("m", input_tokens=1000, output_tokens=500)]
    assert prices.cost_of(calls, [search]) == pytest.approx(0.026)


def test_cached_input_has_a_price_of_its_own() -> None:
    calls = [call("m", input_tokens=1000, cached_tokens=800, output_tokens=500)]
    assert Prices({"m": ModelPrice(2, 8, 0.5)}).cost_of(calls, []) == pytest.approx(0.0048)
    assert Prices({"m": ModelPrice(2, 8, 0)}).cost_of(calls, []) == pytest.approx(0.0044)
    # Without one it costs what other input costs.
    assert Prices({"m": ModelPrice(2, 8)}).cost_of(calls, []) == pytest.approx(0.006)


def test_price_of_cached_input_is_read_from_the_list(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"models": {"m": {"input": 1, "cached_input": 0.1, "output": 2}}}')
    assert Prices.read(file).models == {"m": ModelPrice(1, 2, 0.1)}
    file.write_text('{"models": {"m": {"input": 1, "cached": 0.1, "output": 2}}}')
    with pytest.raises(msgspec.ValidationError, match="cached"):
        Prices.read(file)


def test_cost_is_unknown_with_a_model_that_has_no_price() -> None:
    prices = Prices({"m": ModelPrice(2, 8)})
    assert prices.cost_of([call("m"), call("other")], []) is None


@pytest.mark.parametrize("number", ["-1", "1e300", "1e999", "NaN", '"2"', "null"])
def test_price_that_is_no_price_is_refused(tmp_path: Path, number: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(f'{{"models": {{"m": {{"input": {number}, "output": 1}}}}}}')
    with pytest.raises(msgspec.MsgspecError):
        Prices.read(file)
