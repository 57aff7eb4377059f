"""The context of one run: what the steps of its workflow share, and how they report.

A step reports with `tell`, keeps its result with `once`, and waits for a person with `ask`. A
worker that goes on with a run plays the workflow again: `tell` leaves out what readers have, and
`once` and `ask` return what is known.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings

from chat.clock import Clock, Stopwatch
from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.llm.models import Models
from chat.llm.windows import Window
from chat.protocol.events import (
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
)
from chat.protocol.payloads import ModelCall, PhaseData, PhaseTiming
from chat.protocol.terms import Asked, Decision, Path, Reply
from chat.trace_context import RunTrace
from routing.caps import Caps
from routing.policy import Route
from tooling.calls import Source
from tooling.known import allowed_on
from tooling.person import PERSON
from tooling.sentences import sentence
from tooling.services import Services
from tooling.toolbox import Toolbox

from .calls import CallRecord, KeptCall, known_calls
from .memory import Journal, Memory, NoJournal, Paused
from .question import Question
from .retelling import Retelling
from .steps import Round, Used, decoded, encoded, kind_of

RESULTS_IN_CONTEXT = 3  # full-length tool results that fit into a model's context
LIGHT_PHASE = "answer"

type Tell = Callable[[StreamEvent], object]
ROUNDS = sentence("%(count)s rounds of model calls")
WRITTEN_TOKENS = sentence("%(count)s written tokens")
SECONDS = sentence("%(count)s seconds")


class Meter:
    """What a path may still spend of its caps.

    `written` are tokens, and `worked` seconds, that earlier workers spent on the path. `cost`
    returns what the run has cost so far.
    """

    def __init__(
        self, caps: Caps, *, cost: Callable[[], float], written: int = 0, worked: float = 0
    ) -> None:
        self.caps = caps
        self.cost = cost
        self.supersteps = caps.supersteps
        self.tokens = caps.tokens - written
        self.overdue_at = time.monotonic() + caps.seconds - worked

    def reached(self, *, keep: int = 0) -> str | None:
        """Return the cap that has been reached, as text, or None. Reserve `keep` supersteps."""
        if self.supersteps <= keep:
            return ROUNDS % {"count": self.caps.supersteps}
        if self.tokens <= 0:
            return WRITTEN_TOKENS % {"count": f"{self.caps.tokens:,}"}
        if time.monotonic() >= self.overdue_at:
            return SECONDS % {"count": f"{self.caps.seconds:g}"}
        if self.caps.money is not None and self.cost() >= self.caps.money:
            currency = settings.FLEET_PRICES.currency if settings.FLEET_PRICES else ""
            return f"{self.caps.money:g} {currency}"
        return None


class Work:
    """One answer in progress.

    `tell` puts an event into the run's log, where followers see it at once. It never waits. After
    `close`, events are dropped.
    """

    # Set by `enter`, because they depend on the path.
    meter: Meter
    toolbox: Toolbox

    def __init__(
        self,
        question: Question,
        *,
        models: Models,
        tools: Services,
        tell: Tell,
        clock: Clock,
        trace: RunTrace | None = None,
        journal: Journal | None = None,
        memory: Memory | None = None,
        worked_s: float = 0,
    ) -> None:
        self.question = question
        self.clock = clock
        self.trace = trace
        self.journal = journal or NoJournal()
        self.memory = memory = memory or Memory()
        self.worked_s = worked_s  # by earlier workers
        self.models = models
        self.retelling: Retelling | None = None
        self.tell = tell
        if memory.told or memory.kept or memory.text:
            self.retelling = Retelling(memory.told, memory.text, tell)
            self.tell = self.retelling.tell
        # All model calls of the run so far, also those of earlier workers.
        self.calls: list[CallRecord | KeptCall] = known_calls(memory)
        self.asks: list[Asked] = []  # what a person must reply to before the run can go on
        self.is_answering = False  # words of the answer are being streamed
        self.answered_by = ""  # the model that wrote the answer on the current path
        # Earlier messages that did not fit into what it read, and those of which it got a summary.
        self.unread_messages = self.summarized_messages = 0
        self.failed_models: set[str] = set()  # of agents, which another one stands in for
        # time.monotonic() of a model's last sign of life, even if it was nothing to show.
        self.last_activity_at = 0.0
        # True if the team's time limit has cut a step of the current phase.
        self.is_phase_cut = False
        self._phase = ""
        self._phase_calls: list[CallRecord | KeptCall] = []  # that belong to no agent
        self._played: set[str] = set()  # the names of the steps so far
        self._said: set[str] = set()  # by `say_once`
        self.services = tools
        self._toolboxes: list[Toolbox] = []  # of all paths so far
        self._open: list[Callable[[bool], None]] = []

    def enter(self, route: Route, window: Window) -> None:
        """Start the route's path, with its caps and a toolbox of its own.

        `window` is that of the model that answers on it.
        """
        self.answered_by = ""
        rounds = self.kept_on(route.path, Round)
        self.meter = Meter(
            route.caps,
            cost=self.cost,
            written=sum(made.words for made in rounds),
            worked=self.worked_s,
        )
        # The answer to a question counts, even if none may be asked any more.
        may_ask = settings.FLEET_QUESTIONS or self.has_answered_question()
        allowed = allowed_on(route.path, self.services)
        self.toolbox = Toolbox(
            self.services,
            allowed=allowed if may_ask else allowed - {PERSON},
            max_calls=route.caps.tool_calls,
            fresh=self.question.fresh,
            max_chars=BYTES_PER_TOKEN * window.context_tokens // RESULTS_IN_CONTEXT,
            approve=settings.FLEET_APPROVE,
            words=[self.question.text, *(each.question for each in self.question.earlier)],
        )
        self._toolboxes.append(self.toolbox)
        for source in self.sources_on(route.path):
            self.toolbox.remember_source(source)
        for used in self.kept_on(route.path, Used):
            self.toolbox.remember(used.call.name, used.call.arguments, used.key, used.result)

    def cost(self) -> float:
        """Return what the run has cost so far, in money. What has no known price costs nothing."""
        if (prices := settings.FLEET_PRICES) is None:
            return 0
        calls = sum(prices.cost_of([call.data], ()) or 0 for call in self.calls)
        return calls + prices.search_credit * sum(box.credits for box in self._toolboxes)

    # --- Telling

    def say(self, message: str) -> None:
        """Tell followers of a decision about the run."""
        self.tell(OrchestratorMessage(message=message))

    def say_once(self, message: str) -> None:
        """Tell followers of something that holds for the whole run, the first time only."""
        if message not in self._said:
            self._said.add(message)
            self.say(message)

    def explain(self, reason: str) -> None:
        """Tell followers the reason of a decision."""
        self.tell(OrchestratorThought(message=reason))

    def begin(self, event: StreamEvent) -> Stopwatch:
        """Tell that a step begins. Return its stopwatch, which runs since it was first told."""
        earlier = self.tell(event)
        if not isinstance(earlier, StreamEvent):
            return Stopwatch(self.clock)
        return Stopwatch(self.clock, self.clock.ms_at(earlier.timestamp))

    def repeat_words(self, words: str) -> None:
        """Say words of the answer again that were kept."""
        assert self.retelling
        self.retelling.repeat(words)

    def settle(self) -> None:
        """Tell what readers still lack of the answer, which is complete."""
        if self.retelling:
            self.retelling.settle()

    # --- Keeping

    async def once[T](
        self,
        name: str,
        kind: type[T],
        make: Callable[[], Awaitable[T]],
        *,
        retell: Callable[[T], None],
        is_free: Callable[[T], bool],
    ) -> T:
        """Return the result of this step of the current phase: the kept one, or a new one.

        A kept one is given to `retell`. A new one is kept, later if it `is_free`: then losing it
        costs nothing.
        """
        assert self.path_of(name) not in self._played, f"two steps are named {name}"
        self._played.add(self.path_of(name))
        if (known := self.kept(name, kind)) is not None:
            retell(known)
            return known
        made = await make()
        self.keep(name, made, rides=is_free(made))
        return made

    def kept[T](self, name: str, kind: type[T]) -> T | None:
        """Return what is kept of a step of the current phase; None if nothing is."""
        result = self.memory.kept.get(self.path_of(name))
        return decoded(result.value, kind) if result else None

    def keep(self, name: str, value: object, *, rides: bool = False) -> None:
        """Keep the result of a step of the current phase, unless it is kept already."""
        path, result = self.path_of(name), encoded(value)
        known = self.memory.kept.get(path)
        if known is None or known.value != result:
            self.journal.keep(path, result, rides=rides)

    def has_kept(self, name: str) -> bool:
        """Return True if a result is kept of this step of the current phase."""
        return self.path_of(name) in self.memory.kept

    def is_inherited(self, name: str) -> bool:
        """Return True if a step of the current phase was kept by the paused run before this one."""
        result = self.memory.kept.get(self.path_of(name))
        return bool(result and result.inherited)

    def has_reply(self, name: str) -> bool:
        """Return True if a person has decided about this step of the current phase."""
        return self.has_kept(f"{name}/ask-1/reply")

    def has_decision(self, decision: Decision) -> bool:
        """Return True if a person has decided so about any step."""
        return any(reply.decision == decision for reply in self.replies())

    def has_answered_question(self) -> bool:
        """Return True if a person has answered a question of an agent. A form has no words."""
        return any(reply.decision == "answer" and reply.text for reply in self.replies())

    def replies(self) -> Iterator[Reply]:
        """Yield what a person has decided so far."""
        for name, result in self.memory.kept.items():
            if name.endswith("/reply") and (reply := decoded(result.value, Reply)):
                yield reply

    def has_begun(self, phase: str) -> bool:
        """Return True if a step of this phase is kept."""
        return any(name.startswith(f"{phase}/") for name in self.memory.kept)

    def key_of(self, name: str) -> str:
        """Return the idempotency key of this step, the same for all workers of the answer."""
        return f"{self.question.run_id}/{self.path_of(name)}"

    def path_of(self, name: str) -> str:
        return f"{self._phase}/{name}"

    def kept_on[T](self, path: Path, kind: type[T]) -> list[T]:
        """Return the kept results of this kind on a path, in the order in which they were kept."""
        found = [
            decoded(result.value, kind)
            for name, result in self.memory.kept.items()
            if name.startswith(f"{LIGHT_PHASE}/") == (path == "light") and kind_of(name) is kind
        ]
        return [value for value in found if value is not None]

    def sources_on(self, path: Path) -> list[Source]:
        """Return the sources that readers know of a path. The team numbers its own."""
        found: list[Source] = []
        for event in self.memory.told:
            if isinstance(event, RoutingDecided) and event.data.escalated:
                if path == "light":
                    break
                found.clear()
            if isinstance(event, ToolComplete):
                found += [
                    Source(known.number, known.title, known.url, known.host, known.published)
                    for known in event.data.sources
                ]
        return found

    # --- Asking

    def ask(self, name: str, asked: Callable[[str], Asked]) -> Reply:
        """Return what a person replied to this step, or raise Paused until there is a reply.

        `asked` makes the question for the full name of the step. One that is not the same as the
        one that was answered is asked again: what was approved is what runs.
        """
        number = 1
        while True:
            step = f"{name}/ask-{number}"
            question = asked(self.path_of(step))
            reply = self.kept(f"{step}/reply", Reply)
            if reply is None:
                break
            if self.kept(f"{step}/digest", str) == question.digest:
                return reply
            number += 1
        self.keep(f"{step}/digest", question.digest, rides=True)
        self.asks.append(question)
        raise Paused

    # --- Phases and calls

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell the start and the end of a phase."""
        self._phase, self._phase_calls = name, []
        watch = self.begin(PhaseStart(data=PhaseData(name)))
        self.is_phase_cut = False

        def tell_end(cut: bool) -> None:
            cut = cut or self.is_phase_cut
            timing = PhaseTiming(name, watch.ms, cut, watch.started_ms, self.phase_calls)
            self.tell(PhaseComplete(data=timing))

        with self.ending_with(tell_end):
            yield

    @property
    def phase_calls(self) -> list[ModelCall]:
        """The model calls of the current phase that belong to no agent."""
        return [call.data for call in self._phase_calls]

    def repeat_calls(self, calls: Sequence[ModelCall]) -> None:
        """Take in calls of the current phase that an earlier worker made."""
        self._phase_calls += [KeptCall(call) for call in calls]

    @contextmanager
    def calling(
        self, model: str, messages: Sequence[ChatMessage], *, is_of_agent: bool
    ) -> Iterator[CallRecord]:
        """Record a model call that is made in this block, however it ends."""
        number = max((call.number for call in self.calls), default=0) + 1
        header = self.trace.header_for_call(number) if self.trace else ""
        watch = Stopwatch(self.clock)
        call = CallRecord(number, model, messages, watch, traceparent=header)
        self.calls.append(call)
        if not is_of_agent:
            self._phase_calls.append(call)
        with call.timed():
            yield call

    @contextmanager
    def ending_with(self, tell_end: Callable[[bool], None]) -> Iterator[None]:
        """Call `tell_end(cut)` once: when the block ends, or when the work is closed before.

        `cut` is True if the block was left by an exception, or hasn't ended.
        """
        self._open.append(tell_end)
        is_cut = True
        try:
            yield
            is_cut = False
        finally:
            if tell_end in self._open:
                self._open.remove(tell_end)
                tell_end(is_cut)

    def close(self) -> None:
        """Tell the ends of the steps that are still open. Drop what they tell from now on."""
        while self._open:
            self._open.pop()(True)
        self.tell = lambda event: None
