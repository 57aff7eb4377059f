"""Made-up asks of paused runs, and runs that another worker took over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import structs

from chat.asks import STATES, Ask
from chat.models import Run
from chat.protocol.events import Resumed, stored
from chat.protocol.payloads import ResumedData
from chat.protocol.terms import AskData, Asked, AskKind, Decision, Reply, paused
from chat.runs.replay import first_seq
from tooling.results import NeedsInput
from tooling.websearch import web_search

from . import texts

FORMS = 0.25  # of all asks
REPLIES: dict[AskKind, dict[Decision, dict[str, Any]]] = {
    "approval": {
        "approve": {},
        "edit": {"arguments": {"query": "something else"}},
        "refuse": {"text": "Use what you know."},
    },
    "form": {"answer": {"arguments": {"people": 4, "day": "2026-12-24"}}, "refuse": {}},
}
FORM = NeedsInput(
    "For how many people, and on which day?",
    {
        "properties": {
            "people": {"type": "integer", "title": "People", "minimum": 1, "default": 2},
            "day": {"type": "string", "format": "date", "title": "Day"},
        },
        "required": ["people", "day"],
    },
).form


@dataclass(frozen=True, slots=True)
class MadeAsk:
    """What a paused run asks, and the columns of its row that differ from a new one's."""

    run: Run
    asked: Asked
    columns: dict[str, Any]

    def store(self) -> None:
        Ask.objects.store(self.run.pk, self.run.conversation_id, [self.asked])
        Ask.objects.filter(pk=self.asked.data.ask_id).update(**self.columns)


def ask_kind(random: Random) -> AskKind:
    return "form" if random.random() < FORMS else "approval"


def ask_of(run: Run, kind: AskKind, random: Random, *, is_answered: bool, now: datetime) -> MadeAsk:
    """Return an ask of a paused run, and put it into the run's ending."""
    assert run.ended_at is not None
    assert run.ending is not None
    expires_at = run.ended_at + settings.FLEET_PAUSE_TTL
    tool = web_search
    approval = AskData(
        ask_id=UUID(int=random.getrandbits(128), version=4),
        kind="approval",
        message="May the web be searched for this?",
        tool=tool.name,
        call_id="call-1",
        arguments={"query": random.choice(texts.THINGS)},
        schema=tool.parameters.schema_in_order,
        approver=random.choices(("owner", "perm:chat.export_run"), (2, 1))[0],
        expires_at=expires_at.isoformat(),
    )
    form = structs.replace(
        approval,
        kind="form",
        message=FORM.message,
        tool="bistro__book",
        arguments=FORM.defaults,
        schema=FORM.schema,
        approver="owner",
    )
    data = form if kind == "form" else approval
    name = "research/researcher/1/tool-0"
    asked = Asked(agent_id="researcher", author="Researcher", name=name, data=data)
    ending = msgspec.to_builtins(paused([asked]))
    run.ending |= {"asks": ending["asks"], "waiting": ending["waiting"]}
    columns: dict[str, Any] = {"created_at": run.ended_at}
    if is_answered:
        replies = REPLIES[data.kind]
        decision = random.choice(list(replies))
        reply = Reply(ask_id=data.ask_id, decision=decision, **replies[decision])
        columns |= {
            "state": STATES[Ask.Kind(data.kind)][decision],
            "reply": msgspec.to_builtins(reply),
            "replied_by": run.owner,
            "replied_at": run.ended_at + timedelta(seconds=20),
        }
    elif expires_at <= now:
        columns["state"] = Ask.State.EXPIRED
    return MadeAsk(run, asked, columns)


def take_over(run: Run, random: Random) -> None:
    """Make another worker go on with a run in the middle of its steps."""
    assert run.ending is not None
    at = random.randrange(1, len(run.steps))
    silent_ms = round(min(random.uniform(200, 1200), (run.total_ms or 0) / 5), 2)
    data = ResumedData(epoch=1, from_seq=run.steps[at - 1]["seq"], silent_ms=silent_ms)
    run.steps.insert(at, stored(Resumed(data=data, timestamp=run.steps[at]["timestamp"])))
    for seq, step in enumerate(run.steps[at:], first_seq(1) + 1):
        step["seq"] = run.last_seq = seq
    run.ending["timings"]["waited_ms"] = silent_ms
    run.worked_s = max(0, (run.total_ms or 0) - silent_ms) / 1000
    run.epoch, run.deaths = 1, random.randint(0, 1)
