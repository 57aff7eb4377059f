"""Retention: what is removed when, what stays, and who removes it."""

import asyncio
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from agenticfleet.environment import Environment
from chat.access.signins import Session
from chat.access.spending import DayUse
from chat.asks import Ask
from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.models import Run
from chat.pages import thread_of
from chat.runs.pruning import CLAIM, CLAIM_TTL, INTERVAL, Pruning
from chat.runs.worker import Worker
from chat.telemetry import retention
from chat.telemetry.periods import Period
from chat.telemetry.retention import PRUNES, prune_conversations, prune_runs, runs_due
from routing.models import Comparison, RoutingDecision
from routing.reasons import ONE_CALL
from tests.chatting import Chatting
from tests.pages.conversations import owner_of
from tooling.bounded import BoundedRedis

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
SOURCE = {"number": 1, "title": "A page", "url": "https://a.example/p", "host": "a.example"}


@pytest.fixture(autouse=True)
def _keep(settings: Any) -> None:
    settings.FLEET_KEEP_RUNS = 90 * DAY
    settings.FLEET_KEEP_CONVERSATIONS = None


def route(**fields: Any) -> dict[str, Any]:
    data = {"path": "light", "mode": "auto", "confidence": 0.9, **fields}
    return {"type": "routing.decided", "seq": 2, "data": data}


def tool(number: int, *sources: dict[str, Any]) -> dict[str, Any]:
    data = {"tool": "websearch", "call_id": f"c{number}", "ok": True, "duration_ms": 5.0}
    return {
        "type": "tool.complete",
        "seq": 3 + number,
        "agent_id": "researcher",
        "author": "Researcher",
        "data": {**data, "sources": list(sources)},
    }


def ended_run(
    age: timedelta, chat: Conversation | None = None, *, steps: Any = (), **fields: Any
) -> Run:
    """Make a run that ended so long ago, with its conversation and its routing decision."""
    ended_at = timezone.now() - age
    chat = chat or Conversation.objects.create(owner="script:", title="t")
    Conversation.objects.filter(pk=chat.pk).update(updated_at=ended_at)
    shown = [route(), *steps]
    run = Run.objects.create(
        **{
            "conversation": chat,
            "question": Message.objects.create(conversation=chat, role="user", text="why?"),
            "answer": Message.objects.create(
                conversation=chat, role="assistant", text="Because [1]."
            ),
            "owner": "script:",
            "message_id": uuid.uuid4(),
            "mode": "auto",
            "status": "completed",
            "ending": {"status": "completed"},
            "worker": "worker.old",
            "lease_expires_at": ended_at,
            "ended_at": ended_at,
            "counted": True,
            "closed_at": ended_at,
            "steps": shown,
            "tool_calls": len(steps),
            "total_ms": 12.0,
            **fields,
        }
    )
    RoutingDecision.objects.create(
        workflow_id=run.pk,
        text_hash="abc",
        features={"words": 1},
        path="light",
        confidence=0.9,
        mode="auto",
        reasons="asks about why",
        rating=1,
    )
    return run


def compare(run: Run) -> None:
    """Store that the other path's answer was better."""
    assert Comparison.objects.record(run.pk, "worse", tokens=9, judging=4, weights="abc")


def ask(run: Run, *, state: str) -> None:
    """Make an ask of a paused run."""
    Ask.objects.create(
        run=run,
        conversation=run.conversation,
        name="answer/assistant/1/tool-0",
        kind="approval",
        message="May this be done?",
        state=state,
        expires_at=timezone.now() + DAY,
    )


def prune_all() -> dict[str, int]:
    """Remove all that is due, without pauses."""
    counts = dict.fromkeys(PRUNES, 0)
    for name, prune in PRUNES.items():
        while (count := prune.batch()) is not None:
            counts[name] += count
    return counts


class TestRuns:
    def test_old_run_loses_its_steps_and_keeps_its_answer_and_figures(self) -> None:
        run = ended_run(91 * DAY, steps=[tool(1)])
        assert prune_all()["runs"] == 1
        run.refresh_from_db()
        assert run.steps == []
        assert run.pruned_at
        assert (run.question.text, run.answer.text) == ("why?", "Because [1].")
        assert (run.total_ms, run.tool_calls, run.ending) == (12.0, 1, {"status": "completed"})
        decision = RoutingDecision.objects.get(pk=run.pk)
        assert (decision.reasons, decision.features, decision.text_hash) == ("", {}, "")
        assert (decision.path, decision.rating) == ("light", 1)

    def test_reason_that_no_threshold_had_a_part_in_stays(self) -> None:
        run = ended_run(91 * DAY)
        RoutingDecision.objects.filter(pk=run.pk).update(reasons=ONE_CALL)
        assert prune_all()["runs"] == 1
        decision = RoutingDecision.objects.get(pk=run.pk)
        assert (decision.reasons, decision.features, decision.text_hash) == (ONE_CALL, {}, "")

    def test_comparison_stays_with_its_verdict_and_goes_with_its_decision(self) -> None:
        run = ended_run(91 * DAY)
        compare(run)
        assert prune_all()["runs"] == 1
        [known] = Comparison.objects.since(timezone.now() - DAY, weights="abc")
        assert (known.path, known.confidence, known.verdict) == ("light", 0.9, "worse")
        assert (known.tokens, known.other_tokens, known.rating) == (0, 9, 1)
        # By a statement, as workers write it that don't know comparisons.
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM routing_routingdecision")
        assert not Comparison.objects.exists()

    def test_young_run_keeps_its_steps(self) -> None:
        run = ended_run(89 * DAY)
        assert prune_all()["runs"] == 0
        run.refresh_from_db()
        assert run.steps
        assert RoutingDecision.objects.get(pk=run.pk).reasons

    def test_page_of_a_pruned_run_still_has_the_sources_that_its_answer_cites(self) -> None:
        other = {**SOURCE, "title": "Of the light answer"}
        taken_over = [tool(1, other), route(path="full", escalated=True), tool(2), tool(3, SOURCE)]
        run = ended_run(91 * DAY, steps=taken_over)
        [before] = thread_of(run.conversation).questions[0].answers
        assert prune_runs() == 1
        run.refresh_from_db()
        assert run.steps == [tool(3, SOURCE)]
        [after] = thread_of(run.conversation).questions[0].answers
        assert after.sources == before.sources
        assert after.blocks == before.blocks
        assert "A page" in "".join(after.blocks)

    def test_live_run_is_never_pruned(self) -> None:
        live = ended_run(91 * DAY, status="running", ended_at=None, closed_at=None, ending=None)
        assert set(prune_all().values()) == {0}
        live.refresh_from_db()
        assert live.steps

    def test_run_whose_log_is_open_waits(self) -> None:
        ended_run(91 * DAY, closed_at=None)
        assert prune_all()["runs"] == 0

    @pytest.mark.parametrize("state", ["open", "approved", "expired"])
    def test_paused_run_keeps_its_steps_while_it_may_go_on(self, state: str) -> None:
        run = ended_run(91 * DAY, status="paused")
        ask(run, state=state)
        assert prune_all()["runs"] == (0 if state == "open" else 1)

    def test_paused_run_keeps_its_steps_until_the_one_that_goes_on_has_ended(self) -> None:
        paused = ended_run(91 * DAY, status="paused")
        unended = {"status": "running", "ended_at": None, "closed_at": None, "counted": False}
        again = ended_run(91 * DAY, paused.conversation, continues=paused, **unended)
        assert prune_all()["runs"] == 0
        Run.objects.filter(pk=again.pk).update(status="completed")
        assert prune_all()["runs"] == 1

    def test_run_that_is_not_counted_waits(self) -> None:
        ended_run(100 * DAY, counted=False)
        assert prune_all()["runs"] == 0

    def test_nothing_is_pruned_if_runs_are_kept_for_ever(self, settings: Any) -> None:
        settings.FLEET_KEEP_RUNS = None
        ended_run(5000 * DAY)
        assert prune_all()["runs"] == 0

    def test_batches_are_small_and_none_is_pruned_twice(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        for age in (95, 93, 94):
            ended_run(age * DAY)
        assert [prune_runs(), prune_runs(), prune_runs()] == [2, 1, None]

    def test_selection_reads_an_index_of_the_runs_that_are_not_pruned(self) -> None:
        ended_run(91 * DAY)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET enable_seqscan = off")  # the table is tiny here
            assert "runs_to_prune" in runs_due()[:100].explain()

    def test_pruned_answer_can_still_be_rated(self, client: Client, settings: Any) -> None:
        run = ended_run(91 * DAY, owner=owner_of(client))
        prune_all()
        assert client.post(f"/answers/{run.pk}/rating/", {"rating": "down"}).status_code == 200
        assert RoutingDecision.objects.get(pk=run.pk).rating == -1


class TestConversations:
    @pytest.fixture(autouse=True)
    def _keep_a_month(self, settings: Any) -> None:
        settings.FLEET_KEEP_CONVERSATIONS = 30 * DAY

    def test_old_conversation_goes_with_all_that_is_in_it(self) -> None:
        old, young = ended_run(31 * DAY), ended_run(29 * DAY)
        compare(old)
        compare(young)
        assert prune_all()["conversations"] == 1
        assert [each.pk for each in Comparison.objects.all()] == [young.pk]
        assert list(Conversation.objects.all()) == [young.conversation]
        assert list(Run.objects.all()) == [young]
        assert not Message.objects.filter(conversation=old.conversation_id).exists()
        assert list(RoutingDecision.objects.values_list("pk", flat=True)) == [young.pk]

    def test_conversation_with_a_run_that_is_not_counted_stays(self) -> None:
        ended_run(40 * DAY, counted=False)
        assert prune_all()["conversations"] == 0

    def test_conversation_with_an_open_run_stays(self) -> None:
        old = ended_run(40 * DAY)
        ended_run(
            40 * DAY, old.conversation, status="running", ended_at=None, closed_at=None, ending=None
        )
        unclosed = ended_run(40 * DAY, closed_at=None)
        prune_all()
        assert set(Conversation.objects.all()) == {old.conversation, unclosed.conversation}

    def test_conversation_with_an_open_ask_stays(self) -> None:
        waiting, decided = (ended_run(40 * DAY, status="paused") for _ in range(2))
        ask(waiting, state="open")
        ask(decided, state="refused")
        assert prune_all()["conversations"] == 1
        assert list(Ask.objects.values_list("run", flat=True)) == [waiting.pk]

    def test_long_conversation_takes_several_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 4)
        long = ended_run(31 * DAY)
        for _ in range(3):
            rerun = ended_run(31 * DAY, long.conversation, rerun_of=long)
            Run.objects.filter(pk=rerun.pk).update(question=long.question)
        counts = []
        while (count := prune_conversations()) is not None:
            counts.append((count, Message.objects.count()))
        assert counts == [(0, 4), (1, 0)]
        assert not Run.objects.exists()

    def test_conversation_that_is_continued_meanwhile_keeps_its_rest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        old = ended_run(31 * DAY)
        kept = ended_run(31 * DAY, old.conversation)
        assert prune_conversations() == 0
        old.conversation.save(update_fields=["updated_at"])
        assert prune_conversations() is None
        assert list(Run.objects.all()) == [kept]


def test_expired_sessions_are_removed() -> None:
    for name, days in (("old", -1), ("new", 1)):
        expire_date = timezone.now() + days * DAY
        Session.objects.create(session_key=name, session_data="", expire_date=expire_date)
    assert prune_all()["sessions"] == 1
    assert list(Session.objects.values_list("pk", flat=True)) == ["new"]


def test_addresses_and_use_are_kept_for_a_day() -> None:
    for days in (0.9, 1.1):
        ended_run(days * DAY, address=f"203.0.113.{days}"[:12])
    ended_run(2 * DAY)
    ended_run(2 * DAY, status="running", ended_at=None, address="203.0.113.9")
    for days in (0, 1, 2):
        DayUse.objects.create(day=(timezone.now() - days * DAY).date(), subject="site")
    pruned = prune_all()
    assert (pruned["addresses"], pruned["days"]) == (1, 1)
    assert Run.objects.exclude(address="").count() == 2
    assert DayUse.objects.count() == 2


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("90d", 90 * DAY),
        ("12h", DAY / 2),
        ("1 D", DAY),
        ("never", None),
        ("Never", None),
        ("36500d", 36500 * DAY),
        ("", 7 * DAY),
    ],
)
def test_durations_are_taken(written: str, kept: timedelta | None) -> None:
    assert Environment({"X": written}).duration("X", "7d") == kept


@pytest.mark.parametrize("written", ["90", "d", "0d", "-1d", "1.5d", "36501d", "90 days", "٩d"])
def test_wrong_duration_is_refused(written: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^X must be "):
        Environment({"X": written}).duration("X", "7d")


class TestCommand:
    def test_dry_run_counts_and_removes_nothing(self) -> None:
        ended_run(91 * DAY)
        assert prune("--dry-run") == [
            "runs: 1 are due",
            "conversations: 0 are due",
            "unlisted: 0 are due",
            "sessions: 0 are due",
            "addresses: 0 are due",
            "days: 0 are due",
            "configurations: 0 are due",
            "tries: 0 are due",
        ]
        assert Run.objects.get().steps

    def test_prune_removes_what_is_due(self) -> None:
        ended_run(91 * DAY)
        assert prune() == [
            "runs: 1 pruned",
            "conversations: 0 pruned",
            "unlisted: 0 pruned",
            "sessions: 0 pruned",
            "addresses: 0 pruned",
            "days: 0 pruned",
            "configurations: 0 pruned",
            "tries: 0 pruned",
        ]
        assert Run.objects.get().steps == []

    def test_runs_are_counted_before_their_steps_are_removed(self) -> None:
        phase = {"phase": "final", "duration_ms": 5.0}
        ended_run(
            91 * DAY, steps=[{"type": "phase.complete", "seq": 9, "data": phase}], counted=False
        )
        assert prune()[0] == "runs: 1 pruned"
        assert set(Period.objects.get(span="day").decoded.phases) == {"final"}


def prune(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("prune", *arguments, stdout=out)
    return out.getvalue().splitlines()


class TestFleet:
    async def test_one_worker_of_all_prunes_once_a_day(
        self, worker: Worker, caplog: pytest.LogCaptureFixture, settings: Any
    ) -> None:
        redis = BoundedRedis(settings.REDIS_URL)
        await redis.client.delete(CLAIM)
        first, second = Pruning("worker.1", redis), Pruning("worker.2", redis)
        caplog.set_level("INFO", "chat")
        await in_database(ended_run, 91 * DAY)
        nothing_else = (
            "conversations=0 unlisted=0 sessions=0 addresses=0 days=0 configurations=0 tries=0"
        )
        await asyncio.gather(first.check(), second.check())
        assert caplog.messages.count(f"pruned: runs=1 {nothing_else}") == 1
        assert CLAIM_TTL < await redis.client.ttl(CLAIM) <= INTERVAL
        # A worker that starts now finds that it was done.
        await in_database(ended_run, 91 * DAY)
        await Pruning("worker.3", redis).check()
        assert await unpruned() == 1
        # The next day.
        await redis.client.delete(CLAIM)
        await second.check()
        assert await unpruned() == 0
        await redis.aclose()

    async def test_prune_of_a_dead_worker_is_taken_over(
        self, worker: Worker, settings: Any
    ) -> None:
        redis = BoundedRedis(settings.REDIS_URL)
        await redis.client.delete(CLAIM)
        await redis.client.set(CLAIM, "worker.dead", px=50)
        await in_database(ended_run, 91 * DAY)
        async with asyncio.timeout(20):
            while await unpruned():
                await Pruning("worker.1", redis).check()
        await redis.aclose()

    async def test_worker_prunes_soon_after_its_start(
        self, worker: Worker, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await worker.pruning.redis.client.delete(CLAIM)
        await in_database(ended_run, 91 * DAY)
        monkeypatch.setattr("chat.runs.pruning.FIRST_CHECK", 0)
        await worker.stop()
        Worker.current()
        async with asyncio.timeout(20):
            while await unpruned():
                await asyncio.sleep(0.02)

    async def test_missing_redis_is_logged_and_prunes_nothing(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis = BoundedRedis("redis://127.0.0.1:9")
        await in_database(ended_run, 91 * DAY)
        await Pruning("worker.1", redis).check()
        assert "worker.1 could not prune, trying again" in caplog.text
        assert await unpruned() == 1
        await redis.aclose()

    async def test_answers_go_on_while_a_prune_lasts(
        self, chat: Chatting, monkeypatch: pytest.MonkeyPatch, settings: Any
    ) -> None:
        monkeypatch.setattr(retention, "BATCH", 1)
        redis = BoundedRedis(settings.REDIS_URL)
        await redis.client.delete(CLAIM)
        for _ in range(8):
            await in_database(ended_run, 91 * DAY)
        pruning = asyncio.create_task(Pruning("worker.1", redis).check())
        events = await chat.answer()
        assert events[-1]["type"] == "done"
        await pruning
        live = await Run.objects.aget(pk=events[0]["workflow_id"])
        assert live.steps
        assert await unpruned() == 1
        await redis.aclose()


async def unpruned() -> int:
    rows: QuerySet[Run] = Run.objects.filter(pruned_at=None)
    return await rows.acount()
