"""`manage.py seed_demo` stores runs like those of the product, and removes no others."""

from typing import get_args

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count
from django.test import Client
from django.utils import timezone

from chat.asks import Ask
from chat.conversations import Conversation, Message
from chat.demo import rows, texts
from chat.models import Run
from chat.protocol.errors import Code
from chat.protocol.events import Connected, event_of
from chat.spans import spans_of
from chat.telemetry.periods import Period
from chat.telemetry.rollup import count_all, count_batch
from routing.models import RoutingDecision
from tests.pages.conversations import conversation_of, decided_for, run_of
from tests.telemetry.ended import stored

pytestmark = pytest.mark.django_db

RUNS = 200
# These refuse a request, or are never stored in a row.
WITHOUT_A_RUN = {
    "bad_request",
    "handshake_timeout",
    "forbidden",
    "conversation_busy",
    "too_many_runs",
    "too_many_requests",
    "quota_exceeded",
    "already_answered",
    "expired",
    "invalid_arguments",
    "storage_unavailable",
}


@pytest.fixture
def demo() -> None:
    call_command("seed_demo", runs=RUNS, verbosity=0)


@pytest.mark.usefixtures("demo")
def test_demo_has_every_kind_of_run() -> None:
    runs = Run.objects.all()
    assert runs.count() == RUNS
    assert set(runs.values_list("status", flat=True)) == set(Run.Status)
    assert set(runs.values_list("error_code", flat=True)) - {""} == (
        set(get_args(Code)) - WITHOUT_A_RUN
    )
    assert set(runs.values_list("path", flat=True)) == {"", "light", "full"}
    assert set(runs.values_list("sla_met", flat=True)) == {True, False, None}
    for found in (
        runs.filter(escalated=True),
        runs.filter(cache_hits__gt=0),
        runs.filter(is_estimated=True),
        runs.filter(cost__gt=0),
        runs.exclude(trace_id=""),
        runs.filter(status="failed", steps=[]),
        runs.filter(status="completed", sla_met=None),  # of an earlier version
        runs.exclude(rerun_of=None),
        runs.filter(epoch=1, ending__timings__waited_ms__gt=0),
        runs.filter(continues__status="paused"),
        Ask.objects.open().filter(run__continued_by=None, expires_at__gt=timezone.now()),
        Ask.objects.filter(state="expired", run__continued_by=None),
        Ask.objects.filter(replied_at__isnull=False, run__continued_by__isnull=False),
        Conversation.objects.exclude(pinned_at=None),
        RoutingDecision.objects.filter(rating=1),
        RoutingDecision.objects.filter(asked=True),
    ):
        assert found.exists(), str(found.query)
    assert {owner.partition(":")[0] for owner in runs.values_list("owner", flat=True)} == {
        "user",
        "browser",
        "script",
        "terminal",
    }


@pytest.mark.usefixtures("demo")
def test_rows_of_the_demo_agree_with_their_events() -> None:
    for run in Run.objects.exclude(status="running"):
        ending = run.recorded_ending
        assert ending is not None
        assert (ending.status, ending.timings.total_ms) == (run.status, run.total_ms)
        events = [event_of(step) for step in run.steps]
        assert None not in events
        spans = spans_of(event for event in events if event)
        if run.sla_met is None:
            continue
        phases = [span for span in spans if span.kind == "phase"]
        assert sum(span.duration_ms for span in phases) >= 0.95 * (run.total_ms or 0) - 200
        calls = [part for span in spans for part in span.with_children() if part.kind == "call"]
        assert len(calls) == run.model_calls
        assert isinstance(events[0], Connected)
        assert events[0].data.conversation_id == run.conversation_id


@pytest.mark.usefixtures("demo")
def test_conversations_of_the_demo_are_whole() -> None:
    assert Run.objects.count() == Message.objects.filter(role="assistant").count()
    assert not Message.objects.filter(role="user", answered_by=None).exists()
    longest = Conversation.objects.annotate(length=Count("messages")).latest("length")
    # Some questions have two answers.
    assert RUNS // 4 < longest.length <= RUNS // 2
    first = longest.messages.earliest("created_at")
    assert first.created_at >= longest.created_at
    assert first.created_at < longest.updated_at


@pytest.mark.usefixtures("demo")
def test_demo_has_a_question_with_versions() -> None:
    newer = Message.objects.get(branch_of__isnull=False)
    chat = newer.conversation
    assert chat.tree().versions(newer.pk) == [newer.branch_of, newer.pk]
    assert chat.shown_path()[-1] == newer.pk
    assert Run.objects.filter(question=newer).exists()


def test_the_same_seed_makes_the_same_runs() -> None:
    now = timezone.now()
    seen = []
    for seed in (5, 5, 6):
        list(rows.Demo(runs=20, seed=seed, days=90, now=now).store())
        seen.append(list(Run.objects.order_by("pk").values_list("pk", "total_ms", "created_at")))
        list(rows.remove())
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.usefixtures("demo")
def test_workers_have_nothing_to_do_with_the_demo() -> None:
    assert not Run.objects.filter(closed_at=None, ended_at__isnull=False).exists()
    assert not Run.objects.expired().exists()


def test_remove_deletes_the_demo_and_nothing_else(client: Client) -> None:
    real = run_of(conversation_of(client))
    decided_for(real)
    call_command("seed_demo", runs=30, verbosity=0)
    call_command("seed_demo", remove=True, verbosity=0)
    assert [run.pk for run in Run.objects.all()] == [real.pk]
    assert Message.objects.count() == 2
    assert Conversation.objects.get() == real.conversation
    assert RoutingDecision.objects.get().pk == real.pk


def test_remove_takes_the_demo_out_of_the_figures_of_its_days() -> None:
    stored()
    call_command("seed_demo", runs=30, days=1, verbosity=0)
    count_batch(20)  # The workers may not have counted all of them yet.
    call_command("seed_demo", remove=True, verbosity=0)
    count_all()
    for span in Period.Span:
        periods = [period.decoded for period in Period.objects.filter(span=span)]
        assert sum(figures.all_paths.runs for figures in periods) == 1


@pytest.mark.usefixtures("demo")
def test_a_second_demo_is_refused() -> None:
    with pytest.raises(CommandError, match="--remove"):
        call_command("seed_demo", runs=1)
    assert Run.objects.count() == RUNS


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"runs": 10**9}, {"days": 0}, {"days": 10**6}])
def test_wrong_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CommandError, match="--runs is 1 to"):
        call_command("seed_demo", **wrong)
    assert not Run.objects.exists()


@pytest.mark.usefixtures("demo")
def test_demo_has_texts_that_attack_pages() -> None:
    texts_of_runs = Message.objects.values_list("text", flat=True)
    assert any(hostile in text for text in texts_of_runs for hostile in texts.HOSTILE)
