"""What was in force: as a text, by its digest in the rows of runs, until no run has it."""

import asyncio
import tomllib
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from chat.config.effective import in_force, written
from chat.config.texts import ConfigText
from chat.database import in_database
from chat.models import Run
from chat.runs import configuration
from chat.runs.configuration import Configuration
from chat.runs.worker import Worker
from chat.starts import RELEASED
from chat.telemetry.retention import PRUNES
from tests.chatting import Chatting, chat_request
from tests.configs import Configure
from tests.runs.rows import orphan
from tests.scripted_model import ScriptedModel
from tests.telemetry.test_retention import ended_run

LAWYER = """
    [agents.lawyer]
    role = "reads contracts"
    instructions = '''
    You read "contracts".
      Never C:\\files.'''
    tools = ["clock", "stock"]
    model = "fast"

    [models.fast]
    model = "qwen3:8b"
    base_url = "http://me:pass-secret@127.0.0.1:11434/v1?key=query-secret"
    api_key = "$KEY"
    headers = { Authorization = "Bearer $KEY", Cookie = "literal-secret" }

    [tools.clock]
    approver = "owner"

    [mcp.shop]
    command = ["shop-mcp"]
    env = { TOKEN = "$KEY", OTHER = "other-secret" }
"""
TOOLS = '''
    from tooling import tool

    @tool(timeout=5)
    async def stock(article: str) -> str:
        """How many of an article are in stock."""
        return "7"
'''


def test_text_has_what_the_operator_has_changed_and_all_else(configure: Configure) -> None:
    configure(LAWYER, TOOLS, KEY="key-secret")
    table = tomllib.loads(in_force().text)
    assert table["agents"]["lawyer"] == {
        "name": "Lawyer",
        "phase": "research",
        "role": "reads contracts",
        "instructions": 'You read "contracts".\n  Never C:\\files.',
        "model": "fast",
        "tools": ["clock", "stock"],
        "by_default": "never",
    }
    assert table["agents"]["editor"]["phase"] == "final"
    assert table["models"]["fast"]["base_url"] == "http://127.0.0.1:11434/v1"
    assert table["models"]["fast"]["headers"] == {
        "Authorization": "Bearer $KEY",
        "Cookie": "(hidden)",
    }
    assert table["tools"]["clock"]["approver"] == "owner"
    assert table["tools"]["stock"]["description"] == "How many of an article are in stock."
    assert table["mcp"]["shop"]["env"] == {"TOKEN": "$KEY", "OTHER": "(hidden)"}
    assert table["limits"]["light"]["tool_calls"] == 1
    assert table["version"]


def test_text_has_no_secrets(configure: Configure, settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://me:base-secret@127.0.0.1/v1?k=q-secret"
    settings.OPENAI_API_KEY = "openai-secret"
    configure(LAWYER, TOOLS, KEY="key-secret")
    assert "secret" not in in_force().text


def test_digest_changes_with_a_prompt_and_not_otherwise(configure: Configure) -> None:
    first = in_force()
    assert in_force() == first
    configure("# a comment\n")
    assert in_force() == first
    configure('[agents.editor]\ninstructions = "Be brief."')
    assert in_force().digest != first.digest
    assert len(first.digest) == 12


def test_port_of_a_model_that_the_fleet_serves_changes_nothing(settings: Any) -> None:
    settings.FLEET_SERVES_MODEL = True
    first = in_force()
    settings.OPENAI_BASE_URL = "http://127.0.0.1:4711/v1"
    assert in_force() == first


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",))),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
        | st.text('"\\\n .ab', max_size=300)
        | st.text("ab. ", min_size=101)
        | st.lists(st.text(st.characters(exclude_categories=("Cs",))))
        | st.booleans()
        | st.integers(-(2**60), 2**60),
    )
)
def test_any_value_is_written_as_toml(table: dict[str, Any]) -> None:
    both = {**table, "t": {"x": 1, **table}}
    assert tomllib.loads(written(both)) == both


def test_sentences_of_a_long_text_are_lines() -> None:
    text = "You read contracts. " * 8
    lines = written({"t": text}).splitlines()
    assert lines[1:3] == ["You read contracts. \\"] * 2


# --- Rows -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_run_has_the_digest_of_a_text_that_is_stored(
    chat: Chatting, model: ScriptedModel
) -> None:
    await chat.answer(chat_request("Hello?"))
    run = await Run.objects.aget()
    assert run.config == in_force().digest
    async with asyncio.timeout(10):
        while (text := await ConfigText.objects.filter(pk=run.config).afirst()) is None:
            await asyncio.sleep(0.01)
    assert text.text == in_force().text


@pytest.mark.django_db(transaction=True)
async def test_run_is_answered_while_the_text_cannot_be_stored(
    chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = asyncio.Event()
    again = asyncio.Event()

    async def away(call: Any, *arguments: Any) -> Any:
        if not again.is_set():
            tries.set()
            raise OperationalError("away")
        return await in_database(call, *arguments)

    monkeypatch.setattr(configuration, "in_database", away)
    monkeypatch.setattr(configuration, "RETRY_INTERVAL", 0.01)
    kept = asyncio.create_task(Configuration().keep())
    await tries.wait()
    await in_database(ConfigText.objects.all().delete)
    events = await chat.answer(chat_request("Hello?"))
    assert events[-1]["data"]["status"] == "completed"
    again.set()
    async with asyncio.timeout(10):
        while not await ConfigText.objects.aexists():
            await asyncio.sleep(0.01)
    kept.cancel()


@pytest.mark.django_db(transaction=True)
async def test_worker_that_takes_a_run_over_stores_its_own_configuration(
    chat: Chatting, model: ScriptedModel
) -> None:
    run, _ = await orphan(worker=RELEASED, config="before")
    worker = Worker.current()
    await worker.leases.look_for_lost_runs()
    await worker.runs.idle(within=20)
    found = await Run.objects.aget(pk=run.pk)
    assert (found.status, found.config) == ("completed", worker.configuration.digest)


def test_text_that_no_run_has_is_pruned_after_a_day(db: None, settings: Any) -> None:
    ConfigText.objects.bulk_create(
        [ConfigText(digest=each, text="") for each in ("of a run", "unused", "new")]
    )
    old = timezone.now() - timedelta(days=2)
    ConfigText.objects.exclude(pk="new").update(first_seen_at=old)
    ended_run(timedelta(days=1), config="of a run")
    assert PRUNES["configurations"].due().count() == 1
    assert PRUNES["configurations"].batch() == 1
    assert PRUNES["configurations"].batch() is None
    assert set(ConfigText.objects.values_list("pk", flat=True)) == {"of a run", "new"}
