"""How much goes into one call: what the server tells, and what the settings allow."""

import pytest

from chat.llm.listing import ListedModel, Listing
from chat.llm.windows import OVERHEAD_TOKENS, Budget, Window


def window(
    tokens: int | None, budget: Budget | None = None, *, output_tokens: int | None = None
) -> Window:
    model = ListedModel(id="q", context_tokens=tokens, output_tokens=output_tokens)
    return (budget or Budget()).window("q", Listing("", (model,)))


def test_without_a_told_window_a_model_reads_6000_tokens() -> None:
    assert window(None) == Window(6000, 4096, 0)


@pytest.mark.parametrize("thinking", [0, 4000])
@pytest.mark.parametrize("told", [2048, 4096, 8192, 32_768, 131_072, 2_000_000])
def test_messages_and_answer_fit_together_into_the_told_window(told: int, thinking: int) -> None:
    found = window(told, Budget(thinking_tokens=lambda model: thinking))
    written = found.output_tokens + found.thinking_tokens
    assert found.context_tokens + written + OVERHEAD_TOKENS <= told
    assert found.context_tokens >= 1000
    assert found.output_tokens >= 300 or told < 4096


@pytest.mark.parametrize(
    ("told", "read", "answer", "step"), [(4096, 2228, 1228, 371), (8192, 5095, 2457, 849)]
)
def test_small_window_is_divided_between_reading_answer_and_steps(
    told: int, read: int, answer: int, step: int
) -> None:
    found = window(told)
    assert (found.context_tokens, found.output_tokens, found.step_tokens) == (read, answer, step)


def test_large_window_is_not_filled() -> None:
    assert window(2_000_000) == Window(65_536, 4096, 0)


def test_context_is_never_smaller_than_a_step() -> None:
    assert window(512, Budget(step_tokens=1000)).context_tokens == 1000


@pytest.mark.parametrize("told", [1, 2, 255])
def test_window_that_no_model_has_is_none(told: int) -> None:
    assert window(told) == window(None)


def test_setting_counts_before_what_the_server_tells() -> None:
    budget = Budget(context_tokens=20_000, thinking_tokens=lambda model: 50)
    assert window(8192, budget) == Window(20_000, 4096, 50)


def test_answer_is_not_longer_than_the_model_can_write() -> None:
    found = window(None, Budget(thinking_tokens=lambda model: 4000), output_tokens=4096)
    assert found.output_tokens + found.thinking_tokens == 4096


def test_two_models_have_windows_of_their_own() -> None:
    models = (ListedModel(id="q", context_tokens=8192), ListedModel(id="r", context_tokens=32_768))
    listing = Listing("", models)
    assert Budget().window("q", listing).context_tokens < 8192
    assert Budget().window("r", listing).context_tokens > 8192
