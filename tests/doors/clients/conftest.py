"""A fleet for clients, which this machine alone can reach, so that no token is needed."""

from collections.abc import Iterator

import pytest

from tests.scripted_model import ScriptedModel
from tests.scripted_search import ScriptedSearch
from tests.serving import NO_LIMITS, Fleet, running


@pytest.fixture(scope="package")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    model_server: ScriptedModel,
    search_server: ScriptedSearch,
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    search = {"TAVILY_API_KEY": "tvly-test", "TAVILY_BASE_URL": search_server.url}
    # A short silence is as good as one of 20 s at the usual pace.
    beats = {"FLEET_HEARTBEAT": "0.1"}
    with running(folder, model_server, "--workers", "1", **NO_LIMITS, **search, **beats) as fleet:
        yield fleet
