"""schemathesis at a fleet: bodies, queries and ids of all kinds, as the contract allows them."""

from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

from .running import in_python

PACKAGES = ("schemathesis==4.32.5",)


def test_every_answer_is_one_that_the_contract_promises(fleet: Fleet, model: ScriptedModel) -> None:
    token = fleet.token("create", "--service", "fuzz")
    found = in_python("fuzz_openapi.py", fleet.address, token, "^/api/v1/", "10", packages=PACKAGES)
    assert found["code"] == 0, found["said"]
    assert "Tested: " in found["said"]
    assert "Traceback" not in fleet.complained
