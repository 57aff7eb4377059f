"""The rules for what the runs of a question do outside: model calls and acts; see `checks.py`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from chat.workflow.agents import ASSISTANT, EDITOR
from tests.scripted_model import Call

from .acts import Execution
from .journal import STOPS, WORKER_FAULTS, Journal
from .plans import RunPlan
from .rows import Row

# Seconds after a model call within which its result is stored, and the same while processes wait
# for a CPU. The journal itself is at most 50 ms late.
KEPT_WITHIN, KEPT_WITHIN_PRESSED = 0.5, 3.0
AWAKE = 1.0  # seconds in which a stopped worker that continues learns that its run moved
# Their last call is the answer, which the row stores, not the journal.
ANSWERING = (ASSISTANT.instructions, EDITOR.instructions)


def call_breaks(
    plan: RunPlan, rows: Sequence[Row], calls: Sequence[Call], journal: Journal
) -> Iterator[str]:
    """Yield where the runs of a question called the model more often than needed."""
    since = min((call.started for call in calls), default=0)
    until = max((call.started for call in calls), default=0)
    # A stopped worker that continues may begin another call before it learns that its run moved.
    factor = 2 if journal.happened(STOPS, since, until) else 1
    takeovers = sum(row.epoch for row in rows)
    most = plan.play.max_calls + takeovers * plan.play.calls_at_once * factor
    unkept = 0  # calls made again because a fault kept their result from being stored
    made: set[str] = set()  # prompts of complete calls
    ends: dict[str, float] = {}  # when a result was stored, by the prompt
    for call in sorted(calls, key=lambda call: call.started):
        prompt = prompt_of(call)
        if (stored := ends.get(prompt)) and call.started > stored:
            yield (
                f"the call of {call.started - journal.born:.2f} s repeats one whose result was"
                f" stored by {stored - journal.born:.2f} s"
            )
        unkept += prompt in made
        if is_complete(call) and call.instructions not in ANSWERING:
            made.add(prompt)
        if (stored := stored_by(call, journal)) is not None:
            ends.setdefault(prompt, stored)
    if len(calls) - unkept > most:
        yield f"the model was called {len(calls)} times, not {most} with {takeovers} takeovers"


def stored_by(call: Call, journal: Journal) -> float | None:
    """Return when the call's result was in the journal at the latest.

    Return None if that isn't known: the call was cut, it is the answer, or a fault came between.
    """
    ended = call.ended_at
    if ended is None or not is_complete(call) or call.instructions in ANSWERING:
        return None
    pressed = journal.was_pressed(ended, ended + KEPT_WITHIN)
    by = ended + (KEPT_WITHIN_PRESSED if pressed else KEPT_WITHIN)
    is_quiet = journal.was_quiet(ended, by, ("database",))
    return by if is_quiet and not journal.happened(WORKER_FAULTS, ended - AWAKE, by) else None


def is_complete(call: Call) -> bool:
    return call.script.status == 200 and not call.hung_up and call.sent == len(call.script.tokens)


def prompt_of(call: Call) -> str:
    return str(call.body["messages"])


def act_breaks(
    plans: Sequence[RunPlan], asks: Sequence[Any], executions: Sequence[Execution]
) -> Iterator[str]:
    """Yield acts that were done more often than allowed.

    Without a question to a person an act is done once. With one it is done once for each approval.
    `asks` are the data of all `ask.opened` of the question's runs.
    """
    allowed = permissions(plans, asks)
    done = Counter((each.tool, each.item) for each in executions)
    for (name, item), times in done.items():
        if times > allowed[name, item]:
            yield f"{name} of {item!r} was done {times} times, not {allowed[name, item]}"
    keys: dict[tuple[str, str], set[str]] = {}
    for each in executions:
        keys.setdefault((each.tool, each.item), set()).add(each.key)
    for (name, item), used in keys.items():
        if len(used) > 1 or "" in used:
            yield f"{name} of {item!r} has the keys {sorted(used)}"
    if sum(map(len, keys.values())) > len(set().union(*keys.values())):
        yield f"acts share a key: {keys}"


def permissions(plans: Sequence[RunPlan], asks: Sequence[Any]) -> Counter[tuple[str, str]]:
    """Return how often each act may be done, by its tool and its item."""
    allowed: Counter[tuple[str, str]] = Counter()
    for agent, name in plans[0].play.acts.items():
        if name == "book":
            allowed[name, plans[0].item(agent)] = 1
    opened = {ask["ask_id"]: ask for ask in asks}
    for plan in plans:
        if plan.reply and not plan.reply.withdraws:
            for reply in plan.reply.replies:
                ask = opened[reply["ask_id"]]
                if reply["decision"] in ("approve", "edit"):
                    item = reply.get("arguments", ask["arguments"])["item"]
                    allowed[ask["tool"], item] += 1
    return allowed
