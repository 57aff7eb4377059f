"""An answer that failed, as its reader sees it, and as its operator does."""

import pytest
from django.test import Client
from pytest_django import Settings

from chat.llm.faults.complaints import Complaint
from chat.llm.faults.verdicts import HANDLING, Kind, described, unreachable
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.terms import Ending

from .conversations import address, conversation_of, page, run_of

SERVER = "gpu-7.lab.example:8000"
# What a reader can do. A chat that is too long has no room for the same question.
ACTIONS = {Kind.TOO_LONG: ["New chat"]}


ADVICE = "You can also choose another model."


def failed_run(
    client: Client, kind: Kind, wait: float | None = None, *, model_asked: str = ""
) -> Run:
    if kind is Kind.UNREACHABLE:
        failure = unreachable(SERVER, proxy="", reason="connection refused", model="qwen")
    else:
        said = Complaint(words=f"see http://{SERVER}/help", status=500, wait=wait)
        failure = described(kind, said, server=SERVER, model="qwen", secrets=())
    error = ErrorInfo(failure.code, str(failure), failure.retryable)
    ending = Ending(status="failed", error=error)
    return run_of(
        conversation_of(client), answer="", ending=ending, model="qwen", model_asked=model_asked
    )


@pytest.mark.django_db
@pytest.mark.parametrize("kind", Kind)
def test_reader_gets_the_sentence_of_the_kind_and_what_to_do(client: Client, kind: Kind) -> None:
    chat = failed_run(client, kind).conversation
    foot = page(client, address(chat)).split('<footer class="end"')[1].split("</footer>")[0]
    assert HANDLING[kind].sentence.split(". ")[0] in foot.replace("&#x27;", "'")
    shown = [name for name in ("New chat", "Ask again") if f">{name}</" in foot]
    assert shown == ACTIONS.get(kind, ["Ask again"])
    assert "Details" in foot
    for place in (SERVER, "lab.example", "OPENAI_", "FLEET_", "qwen"):
        assert place not in foot


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "model_asked", "models", "is_told"),
    [
        (Kind.UNREACHABLE, "qwen", {"qwen": "", "other": ""}, True),
        (Kind.RATE_LIMITED, "qwen", {"qwen": "", "other": ""}, True),
        (Kind.UNREACHABLE, "qwen", {"qwen": ""}, False),
        (Kind.UNREACHABLE, "", {"qwen": "", "other": ""}, False),
        (Kind.TOO_LONG, "qwen", {"qwen": "", "other": ""}, False),
    ],
)
def test_reader_who_chose_a_model_that_fails_hears_of_others_if_there_are(
    client: Client,
    settings: Settings,
    kind: Kind,
    model_asked: str,
    models: dict[str, str],
    is_told: bool,
) -> None:
    settings.FLEET_MODELS = models
    chat = failed_run(client, kind, 20.0, model_asked=model_asked).conversation
    foot = page(client, address(chat)).split('<footer class="end"')[1].split("</footer>")[0]
    assert (ADVICE in foot) is is_told


@pytest.mark.django_db
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wait", [None, 20.0])
def test_operator_gets_the_advice_of_the_kind(
    admin_client: Client, client: Client, settings: Settings, kind: Kind, wait: float | None
) -> None:
    settings.OPENAI_BASE_URL = f"http://{SERVER}/v1"
    run = failed_run(client, kind, wait)
    html = page(admin_client, f"/admin/chat/run/{run.pk}/change/").replace("&quot;", '"')
    help_text = html.split('class="run-error"')[1].split("</p>")[0]
    advice = HANDLING[kind].advice % {"server": SERVER, "model": "qwen"}
    assert f'<span class="quiet">{advice} The log has the reason.</span>' in help_text
