"""Runs that paused for a person, and the runs that went on with them: together one answer."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
from django.utils import timezone

from .asks import Ask
from .models import Run
from .protocol.events import AnyEvent, Connected, Resumed, RoutingDecided, ToolComplete
from .protocol.terms import AskData, AskKind
from .rendering.asks import AskState, AskView
from .rendering.earlier import Earlier, still_told


def chains_of(runs: Iterable[Run]) -> list[list[Run]]:
    """Return the runs of one question by answer, each answer's oldest run first.

    The answers are in the order in which they were begun. `runs` has the oldest first.
    """
    chains: dict[UUID, list[Run]] = {}
    for run in runs:
        # A chain is found by its newest run, and keeps its place.
        before = next(
            (chain for chain in chains.values() if chain[-1].pk == run.continues_id), None
        )
        if before is None:
            chains[run.pk] = [run]
        else:
            before.append(run)
    return list(chains.values())


def asks_of(runs: Iterable[Run]) -> dict[UUID, list[AskView]]:
    """Return what the paused ones of these runs asked, by run. No query if there is none."""
    paused = [run.pk for run in runs if run.status == Run.Status.PAUSED]
    found: dict[UUID, list[AskView]] = {}
    if paused:
        for ask in Ask.objects.filter(run__in=paused).order_by("created_at", "name"):
            found.setdefault(ask.run_id, []).append(ask_view(ask))
    return found


def ask_view(ask: Ask) -> AskView:
    data = AskData(
        ask_id=ask.pk,
        kind=msgspec.convert(ask.kind, AskKind),
        message=ask.message,
        tool=ask.tool,
        call_id=ask.call_id,
        arguments=ask.arguments,
        schema=ask.schema,
        options=ask.options,
        url=ask.url,
        approver=ask.approver,
        expires_at=ask.expires_at.isoformat(),
    )
    state = msgspec.convert(ask.state, AskState)
    if state == "open" and ask.expires_at <= timezone.now():
        state = "expired"  # The job that closes it has not come round yet.
    reply = ask.reply if isinstance(ask.reply, dict) else {}
    return AskView(ask.author, data, state, str(reply.get("text", "")))


def earlier_of(paused: Sequence[Run], asks: Mapping[UUID, list[AskView]]) -> Earlier | None:
    """Return what an answer has from its paused runs, oldest first; None if there are none."""
    if not paused:
        return None
    endings = [run.recorded_ending for run in paused]
    return Earlier(
        str(paused[0].pk),
        steps=[step for run in paused for step in steps_of(run)],
        asks=[ask for run in paused for ask in asks.get(run.pk, [])],
        figures=[ending.summary for ending in endings if ending],
    )


def earlier_than(run: Run) -> Earlier | None:
    """Return what the answer of `run` has from the paused runs before. Reads the database."""
    paused = run.paused_before
    return earlier_of(paused, asks_of(paused))


def results_with_sources(chain: Iterable[Run]) -> list[ToolComplete]:
    """Return the results of tools whose sources an answer, made by these runs, may cite."""
    found: list[ToolComplete] = []
    for event in (event for run in chain for event in steps_of(run)):
        if isinstance(event, RoutingDecided) and event.data.escalated:
            found.clear()  # The light answer is taken back, and the team counts its own.
        elif isinstance(event, ToolComplete) and event.data.sources:
            found.append(event)
    return found


def steps_of(run: Run) -> list[AnyEvent]:
    """Return the steps of a run that has ended, without those that were told again."""
    kept: list[AnyEvent] = []
    for event in run.recorded_steps:
        match event:
            case Resumed():
                kept = still_told(kept, event.data)
            case Connected():
                pass
            case _:
                kept.append(event)
    return kept
