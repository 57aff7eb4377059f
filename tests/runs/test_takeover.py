"""A run goes on when its worker is gone: claimed once, fenced, and told to readers without a break.

Two workers share this process. The first one is frozen, so it is a zombie whose workflows go on.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import redis
from django.db import OperationalError
from django.utils import timezone

from chat.database import in_database
from chat.journal import StepResult
from chat.models import Run, RunQuerySet
from chat.prices import ModelPrice, Prices
from chat.protocol.events import (
    AgentComplete,
    OrchestratorMessage,
    ResponseDelta,
    Resumed,
    ending_events,
)
from chat.protocol.payloads import AgentTiming, ResumedData
from chat.protocol.terms import Ending
from chat.record import Outcome
from chat.runs.replay import EPOCH_SIZE
from chat.runs.store import key_of
from chat.runs.takeover import LostRun, claim
from chat.runs.worker import Worker
from chat.starts import RELEASED
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, Socket, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel
from tooling.bounded import RedisDown

from .rows import orphan, until_closed
from .workers import Following, another_worker, freeze, mark_died, until_epoch

pytestmark = pytest.mark.django_db(transaction=True)

FULL = "The answer is **42**."
LEASE = 2.0
OPENING = ["response.snapshot", "resumed"]


@pytest.fixture(autouse=True)
def _settings(settings) -> None:
    settings.FLEET_LEASE_TTL = LEASE
    settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, chunk=600, idle=600)


@pytest_asyncio.fixture
async def other(chat: Chatting) -> AsyncIterator[Worker]:
    async with another_worker() as other:
        yield other


async def held_run(chat: Chatting, model: ScriptedModel, tokens: int = 2) -> tuple[Socket, Run]:
    """Start a run whose model stops in the middle of the answer, and store what was told."""
    model.on("hold", hold_after=tokens)
    socket = await chat.ask("hold")
    connected = await socket.until("connected")
    for _ in range(tokens):
        await socket.until("response.delta")
    await Worker.current().leases.renew()
    return socket, await Run.objects.aget(pk=connected["workflow_id"])


def lost(run: Run) -> LostRun:
    return LostRun(run.pk, run.worker, run.epoch, run.lease_expires_at, run.deaths)


async def taken_over(run: Run) -> Run:
    """Freeze this worker, report its death, and wait until the other one has its run."""
    await freeze(Worker.current())
    await mark_died(run.pk)
    return await until_epoch(run.pk, 1)


async def until_opened(worker: Worker, run_id: UUID) -> None:
    """Wait until this worker goes on with the run."""
    async with asyncio.timeout(20):
        while run_id not in worker.runs.live:
            await asyncio.sleep(0.01)


def resumed(following: Following) -> list[ResumedData]:
    return [entry.event.data for entry in following.entries if isinstance(entry.event, Resumed)]


def breaks(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the seqs don't count on."""
    return [(before, seq) for before, seq in pairwise(seqs) if seq != before + 1]


class TestReaders:
    @pytest.mark.parametrize("compact", [False, True], ids=["json", "html"])
    @pytest.mark.parametrize("is_here", [True, False], ids=["on the zombie", "on the new worker"])
    async def test_reader_has_the_whole_answer_once(
        self,
        chat: Chatting,
        other: Worker,
        model: ScriptedModel,
        compact: bool,
        is_here: bool,
    ) -> None:
        socket, run = await held_run(chat, model)
        await Worker.current().flusher.flush()
        reader = Following(Worker.current() if is_here else other, run.pk, compact=compact)
        await reader.until("agent.start")
        row = await taken_over(run)
        assert (row.worker, row.deaths) == (other.name, 1)
        model.release()
        await reader.to_the_end()
        assert reader.text == FULL
        assert reader.seqs == sorted(set(reader.seqs))
        [data] = resumed(reader)
        # A snapshot closes the only gap; a compact start leaves out deltas before it.
        assert breaks(reader.seqs)[-1][1] in (EPOCH_SIZE, EPOCH_SIZE + 1)
        assert [kind for kind in reader.kinds if kind in ("connected", "done")] == [
            "connected",
            "done",
        ]
        # What the zombie told behind `from_seq` is void.
        steps = [entry for entry in reader.entries if not data.from_seq < entry.seq < EPOCH_SIZE]
        assert [isinstance(entry.event, AgentComplete) for entry in steps].count(True) == 1
        assert data.epoch == 1
        assert data.redone == ["assistant"]
        assert reader.entries[-1].seq == (await Run.objects.aget(pk=run.pk)).last_seq
        assert (await socket.rest())[-1]["seq"] == reader.entries[-1].seq

    @pytest.mark.parametrize("compact", [False, True], ids=["json", "html"])
    async def test_end_that_the_lost_worker_cut_is_told_again(
        self, chat: Chatting, other: Worker, model: ScriptedModel, compact: bool
    ) -> None:
        _, run = await held_run(chat, model)
        worker = Worker.current()
        # A frozen worker wakes up, and its limits strike before it is shut out.
        cut = AgentTiming(started_ms=1, duration_ms=5_000, cut=True)
        worker.runs.live[run.pk].log.append(
            AgentComplete(agent_id=ASSISTANT.id, author=ASSISTANT.name, data=cut)
        )
        await worker.flusher.flush()
        reader = Following(other, run.pk, compact=compact)
        await reader.until("agent.complete")
        await taken_over(run)
        model.release()
        await reader.to_the_end()
        [data] = resumed(reader)
        assert data.redone == [ASSISTANT.id]
        ends = [e.event.data.cut for e in reader.entries if isinstance(e.event, AgentComplete)]
        assert ends == [True, False]
        assert reader.text == FULL

    async def test_late_reader_gets_the_same_steps(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        _, run = await held_run(chat, model)
        await taken_over(run)
        late = Following(other, run.pk, compact=True)
        await late.until("resumed")
        model.release()
        await late.to_the_end()
        # Until the zombie notices, its readers get its own steps first.
        await Worker.current().runs.idle(within=10)
        stored = await Following(Worker.current(), run.pk, compact=True).to_the_end()
        kinds = [kind for kind in late.kinds if not kind.startswith("response.")]
        assert kinds == [kind for kind in stored.kinds if not kind.startswith("response.")]
        assert (late.text, stored.text) == (FULL, FULL)

    async def test_rejoining_reader_goes_on_behind_its_cursor(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        socket, run = await held_run(chat, model)
        cursor = socket.events[-1]["seq"]
        await taken_over(run)
        reader = Following(other, run.pk, after=cursor)
        await reader.until("resumed")
        assert reader.kinds[:2] == OPENING
        assert reader.seqs[:2] == [EPOCH_SIZE, EPOCH_SIZE + 1]
        assert reader.text == "The answer "

    async def test_words_that_only_the_log_has_are_part_of_the_opening(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        socket, run = await held_run(chat, model)
        here = Worker.current()
        await freeze(here)
        # Told after the last renewal, so the row lacks it.
        here.runs.live[run.pk].log.append(ResponseDelta(delta="is "))
        await here.flusher.flush()
        await mark_died(run.pk)
        reader = Following(other, run.pk, after=socket.events[-1]["seq"] + 1)
        await reader.until("resumed")
        assert reader.text == "The answer is "
        model.release()
        assert (await reader.to_the_end()).text == FULL


class TestLostLog:
    async def test_connected_and_the_steps_are_told_again(
        self, chat: Chatting, other: Worker, model: ScriptedModel, valkey_url: str
    ) -> None:
        _, run = await held_run(chat, model)
        await freeze(Worker.current())
        with redis.Redis.from_url(valkey_url) as client:
            client.delete(key_of(run.pk))
        await mark_died(run.pk)
        await until_epoch(run.pk, 1)
        reader = Following(other, run.pk)
        await reader.until("resumed")
        model.release()
        await reader.to_the_end()
        # A reader that joined before the opening has the row's text first.
        opening = reader.kinds.index("connected")
        assert reader.seqs[opening] == EPOCH_SIZE + 1
        assert reader.kinds[opening - 1 : opening + 2] == [
            "response.snapshot",
            "connected",
            "resumed",
        ]
        assert [data.from_seq for data in resumed(reader)] == [0]
        assert {"routing.decided", "agent.start", "agent.complete"} <= set(reader.kinds)
        assert reader.text == FULL

    async def test_rest_of_a_log_with_a_gap_is_replaced(
        self, chat: Chatting, other: Worker, model: ScriptedModel, valkey_url: str
    ) -> None:
        _, run = await held_run(chat, model)
        here = Worker.current()
        await freeze(here)
        # What was told until now may be one entry, so another one has to be behind the gap.
        here.runs.live[run.pk].log.append(ResponseDelta(delta="is "))
        await here.flusher.flush()
        with redis.Redis.from_url(valkey_url) as client:
            assert client.xtrim(key_of(run.pk), maxlen=1, approximate=False)
        await mark_died(run.pk)
        await until_epoch(run.pk, 1)
        await Following(other, run.pk).until("resumed")
        model.release()
        reader = await Following(other, run.pk).to_the_end()
        assert reader.seqs[0] == EPOCH_SIZE
        assert breaks(reader.seqs) == []
        assert reader.text == FULL

    async def test_log_of_another_version_is_replaced(
        self, chat: Chatting, other: Worker, model: ScriptedModel, valkey_url: str
    ) -> None:
        _, run = await held_run(chat, model)
        await freeze(Worker.current())
        with redis.Redis.from_url(valkey_url) as client:
            client.xadd(key_of(run.pk), {"events": '[{"type": "of.tomorrow"}]'}, id="99-0")
        await mark_died(run.pk)
        await until_opened(other, run.pk)
        model.release()
        reader = await Following(other, run.pk).to_the_end()
        assert reader.seqs[0] == EPOCH_SIZE
        assert reader.text == FULL

    @pytest.mark.parametrize("later", ["ending", "epoch"])
    async def test_log_of_a_later_time_than_the_row_is_replaced(
        self, chat: Chatting, other: Worker, model: ScriptedModel, later: str
    ) -> None:
        """A backup was restored, or a replica took over that lacked the last transactions."""
        _, run = await held_run(chat, model)
        await freeze(Worker.current())
        if later == "ending":
            ending = ending_events(Ending(status="completed"), "Of later.")
            for seq, event in enumerate(ending, run.last_seq + 1):
                event.seq = seq
            await other.store.write_ending(run.pk, ending)
        else:
            await other.store.fence(run.pk, epoch=3)
        await mark_died(run.pk)
        await until_epoch(run.pk, 1)
        async with another_worker(has_jobs=False) as third:
            await until_opened(other, run.pk)
            model.release()
            reader = await Following(third, run.pk).to_the_end()
        assert reader.text == FULL
        assert breaks(reader.seqs) == []
        assert reader.entries[-1].seq == (await Run.objects.aget(pk=run.pk)).last_seq

    async def test_run_goes_on_if_the_database_fails_while_its_log_is_looked_at(
        self,
        chat: Chatting,
        other: Worker,
        model: ScriptedModel,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        _, run = await held_run(chat, model)
        await freeze(Worker.current())
        await other.store.fence(run.pk, epoch=3)

        def locked(_: Run) -> bool:
            raise OperationalError("database is locked")

        monkeypatch.setattr("chat.runs.takeover.holds", locked)
        await mark_died(run.pk)
        await until_opened(other, run.pk)
        model.release()
        assert (await Following(other, run.pk).to_the_end()).text == FULL

    async def test_slow_worker_leaves_the_log_of_the_next_one(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        _, run = await held_run(chat, model)
        await taken_over(run)
        await until_opened(other, run.pk)
        await other.flusher.flush()
        await other.store.fence(run.pk, epoch=2)
        # It claimed the run for epoch 1, and has been too slow.
        run.epoch = 1
        await Worker.current().takeovers.recall(run)
        assert (await other.store.read(run.pk, EPOCH_SIZE - 1)).entries

    async def test_log_of_every_epoch_expires(
        self, chat: Chatting, other: Worker, model: ScriptedModel, valkey_url: str
    ) -> None:
        _, run = await held_run(chat, model)
        with redis.Redis.from_url(valkey_url) as client:
            client.delete(key_of(run.pk))
            await taken_over(run)
            await Following(other, run.pk).until("resumed")
            assert client.ttl(key_of(run.pk)) > 0


class TestFence:
    async def test_zombie_writes_nothing(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        socket, run = await held_run(chat, model)
        here = Worker.current()
        await taken_over(run)
        await Following(other, run.pk).until("resumed")
        zombie = here.runs.live[run.pk]
        assert not await in_database(
            Run.objects.renew, here.name, [zombie.progress], here.leases.ttl
        )
        assert not await in_database(Run.objects.release, here.name, zombie.progress)
        outcome = Outcome(ending=Ending(status="completed"), text="zombie", last_seq=99)
        assert not await in_database(
            lambda: Run.objects.finish(run.pk, outcome, worker=here.name, epoch=0)
        )
        zombie.log.append(OrchestratorMessage(message="a zombie's"))
        await here.store.write([zombie.log])
        zombie.journal.keep("research/researcher/1", "{}")
        await here.journals.write()
        assert not await StepResult.objects.filter(run=run).aexists()
        # The journal has found out, so the zombie stops and its reader moves.
        assert [event["data"]["epoch"] for event in [await socket.until("resumed")]] == [1]
        model.release()
        stored = await Following(other, run.pk).to_the_end()
        assert "orchestrator.message" not in stored.kinds
        assert (await socket.rest())[-1]["type"] == "done"

    async def test_late_ending_of_a_zombie_is_refused_and_its_reader_moves(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        socket, run = await held_run(chat, model)
        await taken_over(run)
        model.release()
        events = await socket.rest()
        assert [event["type"] for event in events].count("done") == 1
        assert "resumed" in [event["type"] for event in events]
        row = await Run.objects.select_related("answer").aget(pk=run.pk)
        assert (row.worker, row.status, row.answer.text) == (other.name, "completed", FULL)

    async def test_worker_does_not_claim_a_run_that_it_still_drives(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        _, run = await held_run(chat, model)
        here = Worker.current()
        await freeze(here)
        await mark_died(run.pk)
        await here.leases.look_for_lost_runs()
        assert (await Run.objects.aget(pk=run.pk)).epoch == 0
        # The renewal finds that the run isn't its any more. Then it may go on with it.
        await here.leases.renew()
        async with asyncio.timeout(10):
            while run.pk in here.runs.live:
                await asyncio.sleep(0.01)
        await here.leases.look_for_lost_runs()
        assert (await until_epoch(run.pk, 1)).worker == here.name


class TestClaim:
    async def test_exactly_one_of_many_claims_succeeds(self, worker: Worker) -> None:
        await freeze(worker)
        run, _ = await orphan(deaths=0)
        claims = [
            in_database(claim, lost(run), f"worker.{number}", timedelta(seconds=LEASE))
            for number in range(5)
        ]
        [claimed] = filter(None, await asyncio.gather(*claims))
        row = await Run.objects.aget(pk=run.pk)
        assert (row.worker, row.epoch, row.deaths) == (claimed.run.worker, 1, 1)
        assert row.lease_expires_at > timezone.now()

    async def test_run_that_was_renewed_meanwhile_is_not_claimed(self, worker: Worker) -> None:
        await freeze(worker)
        run, _ = await orphan(deaths=0)
        await Run.objects.filter(pk=run.pk).aupdate(
            lease_expires_at=timezone.now() - timedelta(seconds=0.5)
        )
        assert await in_database(claim, lost(run), "worker.1", timedelta(seconds=LEASE)) is None

    async def test_hand_over_is_no_death(
        self, chat: Chatting, model: ScriptedModel, other: Worker
    ) -> None:
        await freeze(Worker.current())
        run, _ = await orphan(worker=RELEASED, deaths=1)
        await until_closed_elsewhere(run)
        row = await Run.objects.select_related("answer").aget(pk=run.pk)
        assert (row.deaths, row.epoch, row.status, row.answer.text) == (1, 1, "completed", FULL)

    async def test_runs_without_a_death_are_claimed_in_one_round(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        here = Worker.current()
        await freeze(here)
        model.on("orphan?", hold_after=0)
        runs = [(await orphan(worker="died", deaths=0))[0] for _ in range(4)]
        await here.leases.look_for_lost_runs()
        assert await Run.objects.filter(worker=here.name).acount() == len(runs)

    async def test_runs_with_a_death_are_claimed_one_at_a_time(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        here = Worker.current()
        await freeze(here)
        model.on("orphan?", hold_after=0)
        for _ in range(3):
            await orphan(worker="died", deaths=1)
        await orphan(worker="died", deaths=0)
        for _ in range(3):
            await here.leases.look_for_lost_runs()
        mine = Run.objects.filter(worker=here.name)
        assert sorted([run.deaths async for run in mine]) == [1, 2]
        model.release()
        for _ in range(2):
            async with asyncio.timeout(20):
                while here.runs.live:
                    await asyncio.sleep(0.02)
            await here.leases.look_for_lost_runs()
        async with asyncio.timeout(20):
            while here.runs.live:
                await asyncio.sleep(0.02)
        assert await Run.objects.filter(status="completed").acount() == 4

    async def test_run_that_has_lived_for_a_while_lets_the_next_one_go_on(
        self, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = Worker.current()
        await freeze(here)
        monkeypatch.setattr("chat.runs.takeover.PROBATION", 0.0)
        model.on("orphan?", hold_after=0)
        for _ in range(2):
            await orphan(worker="died", deaths=1)
        await here.leases.look_for_lost_runs()
        assert await Run.objects.filter(worker=here.name).acount() == 2

    async def test_run_of_which_three_workers_died_is_lost(self, worker: Worker) -> None:
        run, request = await orphan(worker="died", deaths=2)
        await until_closed(request)
        assert (await Run.objects.aget(pk=run.pk)).error_code == "worker_lost"

    async def test_run_that_no_worker_claimed_for_ten_minutes_is_lost(self, worker: Worker) -> None:
        run, request = await orphan(worker=RELEASED, deaths=0, expires_in=-601)
        await until_closed(request)
        assert (await Run.objects.aget(pk=run.pk)).error_code == "worker_lost"

    async def test_cancel_ends_a_run_that_no_worker_has(
        self, chat: Chatting, worker: Worker
    ) -> None:
        await freeze(worker)
        run, _ = await orphan(worker=RELEASED, deaths=0, text_so_far="half", last_seq=9)
        assert await worker.runs.cancel(run.pk) is None
        await worker.leases.do_round()
        row = await Run.objects.select_related("answer").aget(pk=run.pk)
        assert (row.status, row.answer.text) == ("cancelled", "half")

    async def test_cancel_during_the_claim_ends_the_run_at_once(
        self, chat: Chatting, worker: Worker, model: ScriptedModel
    ) -> None:
        await freeze(worker)
        run, _ = await orphan(worker=RELEASED, deaths=0)
        seen = lost(run)
        await Run.objects.filter(pk=run.pk).aupdate(cancel_requested_at=timezone.now())
        await worker.takeovers.claim(seen)
        await worker.runs.idle(within=20)
        assert (await Run.objects.aget(pk=run.pk)).status == "cancelled"
        assert not model.calls

    async def test_run_that_is_deleted_during_the_claim_is_not_claimed(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, _ = await orphan(worker=RELEASED)
        claim_row = RunQuerySet.claim

        def claim_and_delete(found: RunQuerySet, *args: Any, **options: Any) -> bool:
            is_claimed = claim_row(found, *args, **options)
            Run.objects.get(pk=run.pk).conversation.delete()
            return is_claimed

        monkeypatch.setattr(RunQuerySet, "claim", claim_and_delete)
        await worker.leases.look_for_lost_runs()
        assert run.pk not in worker.runs.live

    async def test_worker_that_is_being_drained_claims_nothing(self, worker: Worker) -> None:
        run, _ = await orphan(worker=RELEASED, deaths=0)
        worker.runs.accepting = False
        await worker.takeovers.claim(lost(run))
        assert (await Run.objects.aget(pk=run.pk)).epoch == 0


class TestGoingOn:
    async def test_kept_step_is_not_done_again(
        self, chat: Chatting, other: Worker, model: ScriptedModel
    ) -> None:
        model.as_agent(
            ASSISTANT.instructions,
            Script(tokens=[], calls=[("calculator", '{"expression": "6 * 7"}')]),
            Script(tokens=["42."], hold_after=0),
        )
        socket = await chat.ask(chat_request(mode="light"))
        run = await Run.objects.aget(pk=(await socket.until("connected"))["workflow_id"])
        await socket.until("tool.complete")
        async with asyncio.timeout(10):
            while await StepResult.objects.filter(run=run).acount() < 3:
                await asyncio.sleep(0.02)
        await taken_over(run)
        reader = Following(other, run.pk)
        await reader.until("resumed")
        model.release()
        await reader.to_the_end()
        # One call for the tool, and the answer once for each worker.
        assert len(model.calls) == 3
        assert reader.kinds.count("tool.complete") == 1
        assert reader.text == "42."
        assert not await StepResult.objects.filter(run=run).aexists()

    async def test_figures_include_what_the_dead_worker_spent(
        self, chat: Chatting, other: Worker, model: ScriptedModel, settings
    ) -> None:
        settings.FLEET_PRICES = Prices({"scripted": ModelPrice(input=2, output=8)})
        _, run = await held_run(chat, model)
        before = (await Run.objects.aget(pk=run.pk)).recorded_summary
        await freeze(Worker.current())
        await asyncio.sleep(0.3)
        await mark_died(run.pk)
        await until_epoch(run.pk, 1)
        model.release()
        await until_closed_elsewhere(run)
        row = await Run.objects.aget(pk=run.pk)
        ending = row.recorded_ending
        assert ending
        assert (ending.usage.model_calls, ending.usage.estimated) == (2, True)
        tokens = ending.usage.input_tokens * 2 + ending.usage.output_tokens * 8
        assert ending.cost == pytest.approx(tokens / 1e6)
        assert ending.timings.first_event_ms == before.timings.first_event_ms
        assert ending.timings.first_token_ms == before.timings.first_token_ms
        assert 300 <= ending.timings.waited_ms < (ending.timings.total_ms or 0)
        worked_ms = row.worked_s * 1000
        assert worked_ms == pytest.approx(
            (ending.timings.total_ms or 0) - ending.timings.waited_ms, abs=50
        )

    async def test_time_without_a_worker_does_not_count_for_the_deadline(
        self, chat: Chatting, worker: Worker, model: ScriptedModel, settings
    ) -> None:
        settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, runtime=30)
        await freeze(worker)
        model.on("orphan?", hold_after=0)
        an_hour_ago = timezone.now() - timedelta(hours=1)
        runs = [(await orphan(worker=RELEASED, deaths=0, worked_s=s))[0] for s in (1, 31)]
        pks = [run.pk for run in runs]
        await Run.objects.filter(pk__in=pks).aupdate(created_at=an_hour_ago)
        await worker.leases.look_for_lost_runs()
        async with asyncio.timeout(10):
            while await Run.objects.live().acount() > 1:
                await asyncio.sleep(0.02)
        rows = [await Run.objects.aget(pk=run.pk) for run in runs]
        assert [(row.status, row.error_code) for row in rows] == [
            ("running", ""),
            ("failed", "max_runtime"),
        ]


class TestFaults:
    async def test_run_goes_on_without_redis(
        self, chat: Chatting, other: Worker, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object) -> None:
            raise RedisDown("away")

        _, run = await held_run(chat, model)
        monkeypatch.setattr("chat.runs.takeover.BREAKER", 0)
        monkeypatch.setattr(other.store, "fence", fail)
        await taken_over(run)
        reader = Following(other, run.pk)
        await reader.until("resumed")
        model.release()
        await reader.to_the_end()
        assert reader.text == FULL
        assert [data.from_seq for data in resumed(reader)] == [0]
        # Once Redis answers, the log of the new epoch replaces the old one.
        await until_closed_elsewhere(run)
        stored = await other.store.read_all(run.pk)
        assert stored[0].seq == EPOCH_SIZE

    @pytest.mark.parametrize(
        "step", ["chat.models.RunQuerySet.claim", "chat.runs.continuing.kept_for"]
    )
    async def test_claim_is_tried_again_after_a_database_error(
        self, chat: Chatting, worker: Worker, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def fail(*_: object, **__: object) -> bool:
            monkeypatch.undo()
            raise OperationalError("the database is away")

        monkeypatch.setattr(step, fail)
        run, _ = await orphan(worker=RELEASED, deaths=0)
        await until_closed_elsewhere(run)
        row = await Run.objects.aget(pk=run.pk)
        assert (row.status, row.epoch) == ("completed", 1)

    async def test_run_that_cannot_be_released_stops_anyway(
        self, chat: Chatting, worker: Worker, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> bool:
            raise OperationalError("the database is away")

        _, run = await held_run(chat, model, tokens=0)
        monkeypatch.setattr(RunQuerySet, "release", fail)
        worker.runs.hand_over(all_runs=True)
        await worker.runs.idle(within=10)
        assert not worker.runs.live
        assert (await Run.objects.aget(pk=run.pk)).status == "running"


async def test_drained_worker_hands_its_run_to_another(
    chat: Chatting, other: Worker, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", 0)
    socket, run = await held_run(chat, model)
    await Worker.current().drain(grace=0)
    data = (await socket.until("resumed"))["data"]
    assert data["silent_ms"] < LEASE * 1000
    model.release()
    events = await socket.rest()
    assert (text_of(events), events[-1]["type"]) == (FULL, "done")
    row = await Run.objects.aget(pk=run.pk)
    assert (row.worker, row.epoch, row.deaths) == (other.name, 1, 0)


async def until_closed_elsewhere(run: Run) -> None:
    async with asyncio.timeout(20):
        while not await Run.objects.filter(pk=run.pk, closed_at__isnull=False).aexists():
            await asyncio.sleep(0.02)
