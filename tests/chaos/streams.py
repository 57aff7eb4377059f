"""The rules for what one follower gets, over all its sockets; see `checks.py`."""

from collections.abc import Iterator, Sequence
from itertools import islice

from .doors import CLEAN_END
from .plans import Play, RunPlan
from .readers import ASIDES, TRY_AGAIN, Follower, Frame, Socket, is_refusal, is_terminal

EPOCH = 10_000_000  # seqs of an epoch
MAX_SHRINKS = 2  # in an epoch: by its opening, and by an answer that was begun again
EVENT_BEFORE_DONE = {
    "completed": "response.completed",
    "cancelled": "cancelled",
    "paused": "ask.opened",
}
STEPS = (
    "routing.decided",
    "phase.start",
    "phase.complete",
    "agent.start",
    "agent.message",
    "agent.output",
    "agent.complete",
    "tool.start",
    "tool.complete",
    "tool.rejected",
    "orchestrator.message",
    "orchestrator.thought",
    "ask.opened",
    "ask.closed",
)
ENDINGS = ("response.completed", "cancelled", "done", "error")


def follower_breaks(
    follower: Follower, plan: RunPlan, *, was_lost: bool
) -> Iterator[tuple[str, str]]:
    """Yield each rule that a follower's frames break, and how."""
    is_html = follower.plan.subprotocol == "fleet.html.v1"
    for number, socket in enumerate(follower.sockets):
        # Report only the first break of a socket: the others are mostly its consequences.
        for detail in islice(seq_breaks(socket, is_html=is_html), 1):
            yield "seq", f"socket {number}: {detail}"
        if socket.close == CLEAN_END:
            yield "end", f"socket {number}: {CLEAN_END}"
        if socket.fate == "refused" and socket.frames[-1]["error"]["code"] not in TRY_AGAIN:
            yield "refused", str(socket.frames[-1]["error"])
    events = run_events(follower)
    ids = {event["workflow_id"] for event in events}
    if len(ids) > 1:
        yield "identity", f"several workflow ids: {ids}"
    terminals = [event for event in events if is_terminal(event)]
    if len(terminals) != 1:
        yield "terminal", f"{len(terminals)} terminals"
    elif not is_terminal(follower.sockets[-1].frames[-1]):
        yield "terminal", f"after it came {follower.sockets[-1].frames[-1]['type']}"
    else:
        yield from (("group", detail) for detail in order_breaks(events))
    yield from (("connected", detail) for detail in connected_breaks(events, plan))
    yield from (("epoch", detail) for detail in islice(epoch_breaks(events), 1))
    found = text_breaks(events, plan.play, was_lost=was_lost)
    yield from (("text", detail) for detail in islice(found, 1))
    if not is_html:
        yield from (("step", detail) for detail in islice(repeated_steps(events), 1))


def run_events(follower: Follower) -> list[Frame]:
    """Return the events of the run in the order in which this follower got them."""
    frames = [frame for socket in follower.sockets for frame in socket.frames]
    return [frame for frame in frames if frame["type"] not in ASIDES and not is_refusal(frame)]


def order_breaks(events: Sequence[Frame]) -> Iterator[str]:
    if events[-1]["type"] == "done":
        wanted = EVENT_BEFORE_DONE[events[-1]["data"]["status"]]
        before = next(
            (
                event["type"]
                for event in reversed(events[:-1])
                if event["type"] != "response.snapshot"
            ),
            "nothing",
        )
        if before != wanted:
            yield f"{before} comes before done, not {wanted}"


def connected_breaks(events: Sequence[Frame], plan: RunPlan) -> Iterator[str]:
    continues = str(plan.reply.continues) if plan.reply else None
    for event in events:
        if event["type"] == "connected" and (
            event["seq"] % EPOCH != 1
            or event["data"]["message_id"] != str(plan.message_id)
            or event["data"].get("continues") != continues
        ):
            yield str(event)


def seq_breaks(socket: Socket, *, is_html: bool) -> Iterator[str]:
    """Yield where this socket breaks the rules of seq."""
    cursor, gap = socket.after, ""
    for number, frame in enumerate(socket.frames):
        kind, seq = frame["type"], frame["seq"]
        if is_html and not frame.get("html", False) and "html" not in frame:
            yield f"{kind} {seq} has no html"
        if kind in ASIDES or is_refusal(frame):
            if seq != cursor:
                yield f"{kind} carries {seq}, not {cursor}"
            continue
        if kind == "response.snapshot":
            if seq < cursor:
                yield f"a snapshot goes back from {cursor} to {seq}"
            gap = ""
        elif seq <= cursor:
            yield f"{kind} {seq} comes after {cursor}"
        elif gap and not is_step(frame):
            yield f"{kind} {seq} comes into an open gap ({gap})"
        elif seq > cursor + 1 and not (is_html and kind == "response.delta"):
            gap = f"{cursor} to {seq}, {kind}"
            if not (is_html and is_step(frame)):
                yield f"{kind}: {cursor} to {seq}"
        if (
            number == 0
            and not socket.after
            and seq != 1
            and kind != "response.snapshot"
            and not (is_html and kind == "connected")
        ):
            yield f"begins with {kind} {seq}"
        cursor = seq


def is_step(frame: Frame) -> bool:
    """Return True if the event may come before the snapshot of a compact replay."""
    return frame["type"] not in ("response.delta", "reasoning.delta", *ENDINGS)


def epoch_breaks(events: Sequence[Frame]) -> Iterator[str]:
    """Yield where an epoch doesn't open as it must."""
    before: Frame = {"type": "nothing", "seq": 0}
    for event in events:
        kind, seq = event["type"], event["seq"]
        epoch, place = divmod(seq, EPOCH)
        if kind == "resumed":
            if event["data"]["epoch"] != epoch:
                yield f"{kind} {seq} speaks of epoch {event['data']['epoch']}"
            follows_connected = before["type"] in ("connected", "response.snapshot")
            if not epoch or not (place == 1 or (place == 2 and follows_connected)):
                yield f"{kind} {seq} comes behind {before['type']} {before['seq']}"
        elif epoch and place == 0 and kind != "response.snapshot":
            yield f"{kind} {seq} opens an epoch"
        elif epoch and place == 1 and kind not in ("connected", "response.snapshot", *ENDINGS):
            yield f"{kind} {seq} comes right behind the opening of an epoch"
        elif (
            epoch
            and place == 2
            and before["type"] == "connected"
            and kind not in ("response.snapshot", *ENDINGS)
        ):
            yield f"{kind} {seq} comes behind connected, not resumed"
        before = event


def text_breaks(events: Sequence[Frame], play: Play, *, was_lost: bool) -> Iterator[str]:
    """Yield where the answer at the reader is no beginning of the model's, or is cut back.

    Only a snapshot may cut it back: the opening of an epoch, the one that discards a light answer,
    and the one of a run that was lost.
    """
    possible, length, epoch, shrinks = play.beginnings, 0, 0, 0
    for event in events:
        if event["type"] == "response.snapshot":
            text = event["data"]["text"]
            if event["seq"] // EPOCH > epoch:
                epoch, shrinks = event["seq"] // EPOCH, 0
            if len(text) < length and not play.doubtful and not was_lost:
                shrinks += 1
                if shrinks > (MAX_SHRINKS if epoch else 0):
                    yield f"snapshot {event['seq']} cuts {length} characters to {len(text)}"
            possible, length = (
                [whole for whole in play.beginnings if whole.startswith(text)],
                len(text),
            )
        elif event["type"] == "response.delta":
            delta = event["delta"]
            possible = [whole for whole in possible if whole.startswith(delta, length)]
            length += len(delta)
        if not possible:
            yield f"the text is not the model's behind {event['type']} {event['seq']}"
            return


def repeated_steps(events: Sequence[Frame]) -> Iterator[str]:
    """Yield steps that a JSON reader got twice, though `resumed` did not announce it."""
    told: dict[tuple[object, ...], int] = {}
    cut: set[tuple[object, ...]] = set()
    resumed = 0  # the epoch whose `resumed` it got last
    for event in events:
        epoch = event["seq"] // EPOCH
        if event["type"] == "resumed":
            from_seq = event["data"]["from_seq"]
            # A snapshot from the row stood for the `resumed` of the epoch before.
            has_missed_one = from_seq // EPOCH != resumed
            if has_missed_one:
                told.clear()
            # Ends that were cut are told again.
            told = {s: seq for s, seq in told.items() if seq <= from_seq and s not in cut}
            resumed = epoch
        elif event["type"] in STEPS:
            if epoch != resumed:
                # A snapshot from the row stood for `resumed`, which says what is told again.
                resumed = epoch
                told.clear()
            step = identity(event)
            if step in told:
                yield f"{event['type']} {event['seq']} was told as {told[step]}"
            told[step] = event["seq"]
            if event["data"].get("cut"):
                cut.add(step)
            else:
                cut.discard(step)


def identity(step: Frame) -> tuple[object, ...]:
    """Return what a step is known by. In a storm no run takes two steps with the same one."""
    data = step["data"]
    return (
        step["type"],
        step.get("agent_id"),
        step.get("message"),
        *(data.get(name) for name in ("phase", "call_id", "ask_id", "escalated")),
    )


def text_of(events: Sequence[Frame]) -> str:
    """Return the answer as a client builds it: a snapshot replaces, a delta appends."""
    text: list[str] = []
    for event in events:
        if event["type"] == "response.snapshot":
            text = [event["data"]["text"]]
        elif event["type"] == "response.delta":
            text.append(event["delta"])
    return "".join(text)


def kind_of(terminal: Frame) -> str:
    return str(
        terminal["error"]["code"] if terminal["type"] == "error" else terminal["data"]["status"]
    )
