"""A fleet for clients, which this machine alone can reach, so that no token is needed."""

from collections.abc import Iterator

import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import NO_LIMITS, Fleet, running


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    # A short silence is as good as one of 20 s at the usual pace.
    settings = {"FLEET_HEARTBEAT": "0.1", **NO_LIMITS}
    with running(folder, model_server, "--workers", "1", **settings) as fleet:
        yield fleet
