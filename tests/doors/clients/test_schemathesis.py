"""schemathesis at a fleet: bodies, queries and ids of all kinds, as the contract allows them."""

import subprocess
import sys

import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, Fleet, clean_environment

from .running import in_python

PACKAGES = ("schemathesis==4.32.5",)


@pytest.fixture
def token(fleet: Fleet) -> str:
    done = subprocess.run(
        [sys.executable, MANAGE, "token", "create", "--service", "fuzz"],
        env={
            **clean_environment(),
            "FLEET_STATE_DIR": str(fleet.folder / "state"),
            "REDIS_URL": fleet.card["redis_url"],
            "PYTHON_DOTENV_DISABLED": "1",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_every_answer_is_one_that_the_contract_promises(
    fleet: Fleet, model: ScriptedModel, token: str
) -> None:
    found = in_python("fuzz_openapi.py", fleet.address, token, "^/api/v1/", "10", packages=PACKAGES)
    assert found["code"] == 0, found["said"]
    assert "Tested: " in found["said"]
    assert "Traceback" not in fleet.complained
