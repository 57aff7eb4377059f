"""Made-up runs: their events, as the product would tell them, and the figures of their endings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from random import Random
from typing import Any, Literal
from uuid import UUID

import msgspec

from chat.protocol.errors import Code, ErrorInfo
from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    Connected,
    OrchestratorMessage,
    PhaseComplete,
    PhaseStart,
    ResponseDelta,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import (
    AgentTask,
    AgentTiming,
    ConnectedData,
    ModelCall,
    PhaseData,
    PhaseTiming,
    RouteData,
    SourceData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from chat.protocol.terms import CANCELLED, Ending, Mode, Path, Usage, failed

from . import texts
from .told import StoryClock, Told, ending_of, numbered

type Kind = Literal["light", "tool", "full", "escalated", "unrouted"]

NO_ID = UUID(int=0)  # The row of each run replaces it.
SKIPPED_BY_LIGHT = ["analysis", "research", "writing", "review"]
CANCEL_MS = (4, 180)  # from a cancel to the ending
CHARS_PER_TOKEN = 4
NOT_OF_A_CALL: frozenset[Code] = frozenset({"max_runtime", "shutting_down", "internal"})
# Milliseconds of silence before a deadline ends the run.
PATIENCE: dict[Code, float] = {
    "first_chunk_timeout": 45_000, "idle_timeout": 30_000, "max_runtime": 170_000,
}  # fmt: skip


class Stopped(Exception):
    """The run's time is over: it was cancelled, or it failed."""


class Story:
    """One run in the making. Each step adds its events and moves the clock.

    At `stops_at` milliseconds, or in its call with the number `stops_in`, it ends with `error`, or
    is cancelled.
    """

    def __init__(
        self,
        seed: int,
        kind: Kind,
        *,
        generation: int = 0,
        stops_at: float = float("inf"),
        stops_in: int = 0,
        error: ErrorInfo | None = None,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - made-up data
        self.kind = kind
        self.error = error
        self.stops_at, self.stops_in = stops_at, stops_in
        self.light_model, self.full_model = texts.MODELS[generation]
        # Some model servers are slow for a while: then each call is.
        self.pace = self.random.choices((1, 0.8, 1.4, 6), (50, 30, 17, 3))[0]
        self.things = self.random.sample(texts.THINGS, 2)
        self.clock = StoryClock()
        self.told: list[tuple[float, StreamEvent]] = []
        self.calls: list[ModelCall] = []
        self.turn_calls: list[ModelCall] = []  # of the agent that works now
        self.sources: list[SourceData] = []
        self.answer = ""
        self.deltas = 0
        self.routes: list[RouteData] = []
        self.is_stopped = False

    def play(self) -> Told:
        """Return the whole run."""
        is_long = self.kind in ("full", "escalated")
        question = self.words(texts.LONG_QUESTIONS if is_long else texts.SHORT_QUESTIONS)
        mode: Mode = "auto"
        if self.random.random() < 0.1 and self.kind in ("light", "full"):
            mode = "full" if is_long else "light"
        try:
            self.perform(mode)
        except Stopped:
            self.is_stopped = True
        return self.finished(question, mode)

    def perform(self, mode: Mode) -> None:
        self.clock.now = self.about(3)
        self.tell(Connected(data=ConnectedData(NO_ID, NO_ID)))
        asks = self.kind != "unrouted" and mode == "auto" and self.random.random() < 0.12
        with self.phase("routing"):
            if self.kind == "unrouted":
                self.wait(2000)
            self.route(mode, asks=asks)
        if self.routes[-1].path == "light":
            with self.phase("answer"), self.agent("assistant", self.light_model):
                if self.kind == "tool":
                    self.tool("assistant", None)
                self.write(self.light_model, lengthy=False)
        if self.kind == "escalated":
            self.deltas, self.answer = 0, ""
            self.escalate()
        if self.kind in ("full", "escalated"):
            self.work_as_team()

    # --- Steps of a run

    def route(self, mode: Mode, *, asks: bool) -> None:
        started = self.clock.ms
        calls: list[ModelCall] = []
        if asks:
            self.turn_calls = []
            self.call(texts.ROUTER_MODEL, reads=420, writes=12)
            calls = self.turn_calls
        self.wait(self.about(1.2))
        path: Path = "full" if self.kind == "full" else "light"
        reasons = texts.LIGHT_REASONS if path == "light" else texts.FULL_REASONS
        # Above the threshold for the light path, near it if the router's model was asked.
        confidence = self.random.uniform(0.62, 0.99 if not asks else 0.75)
        if path == "full":
            confidence = self.random.uniform(0.45 if asks else 0.02, 0.62)
        self.decide(
            RouteData(
                path=path,
                mode=mode,
                confidence=round(confidence, 3),
                reasons=self.random.sample(reasons, 3)
                if mode == "auto"
                else [f"you chose the {path} path"],
                skipped=SKIPPED_BY_LIGHT if path == "light" else [],
                duration_ms=round(self.clock.ms - started, 2),
                usage=sum((call.usage for call in calls), Usage()),
            )
        )

    def escalate(self) -> None:
        self.decide(
            msgspec.structs.replace(
                self.routes[-1],
                path="full",
                reasons=[self.random.choice(texts.ESCALATIONS)],
                skipped=[],
                escalated=True,
                duration_ms=0.0,
                usage=Usage(),
            )
        )

    def decide(self, route: RouteData) -> None:
        self.routes.append(route)
        self.tell(RoutingDecided(data=route))

    def work_as_team(self) -> None:
        busy = ["researcher"]
        if self.random.random() < 0.6:
            busy.append("analyst")
        if self.random.random() < 0.35:
            busy.append("researcher-2")
        with self.phase("analysis"):
            with self.agent("planner"):
                self.call(self.full_model, reads=700, writes=90)
            plan = "\n".join(f"- {texts.AGENT_NAMES[agent]}: {self.task(agent)}" for agent in busy)
            self.message("planner", f"Plan (parallel):\n\n{plan}")
        with self.phase("research"):
            if "analyst" not in busy:
                self.tell(OrchestratorMessage(message="Not needed: Analyst."))
            self.side_by_side([partial(self.research, agent) for agent in busy])
        with self.phase("writing"), self.agent("writer", output=self.words(texts.SENTENCES)):
            self.call(self.full_model, reads=2600, writes=350)
        is_weak = self.random.random() < 0.3
        with self.phase("review"):
            with self.agent("reviewer"):
                self.call(self.full_model, reads=1500, writes=60)
            score = self.random.randint(3, 6) if is_weak else self.random.randint(7, 10)
            self.message("reviewer", f"Score: {score} of 10." + "\n- No figures" * is_weak)
        if is_weak:
            with self.phase("revision"), self.agent("writer", output=self.words(texts.SENTENCES)):
                self.call(self.full_model, reads=2900, writes=380)
        with self.phase("final"), self.agent("editor"):
            self.write(self.full_model, lengthy=True)

    def research(self, agent: str) -> None:
        output = "\n\n".join(self.words(texts.SENTENCES) for _ in range(3))
        with self.agent(agent, output=output, task=self.task(agent)):
            for round_number in range(self.random.randint(1, 2)):
                self.call(self.full_model, reads=900 + 600 * round_number, writes=60)
                self.tool(agent, "calculator" if agent == "analyst" else "web_search")
            self.call(self.full_model, reads=2100, writes=220)

    def task(self, agent: str) -> str:
        return texts.TASKS[agent].format(*self.things)

    # --- What steps are made of

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started, is_cut = self.clock.ms, True
        self.tell(PhaseStart(data=PhaseData(name)))
        try:
            yield
            is_cut = False
        finally:
            calls = self.calls if name == "routing" else []
            timing = PhaseTiming(name, self.since(started), is_cut, started, list(calls))
            self.tell(PhaseComplete(data=timing))

    @contextmanager
    def agent(
        self, name: str, model: str = "", *, output: str = "", task: str = ""
    ) -> Iterator[None]:
        started, is_cut, self.turn_calls = self.clock.ms, True, []
        author = texts.AGENT_NAMES[name]
        self.tell(AgentStart(agent_id=name, author=author, data=AgentTask(task)))
        try:
            yield
            is_cut = False
        finally:
            if output and not is_cut:
                self.tell(AgentOutput(agent_id=name, author=author, message=output))
            usage = sum((call.usage for call in self.turn_calls), Usage())
            timing = AgentTiming(self.since(started), usage, is_cut, started, self.turn_calls)
            self.tell(AgentComplete(agent_id=name, author=author, data=timing))

    def message(self, agent: str, message: str) -> None:
        author = texts.AGENT_NAMES[agent]
        self.tell(AgentMessage(agent_id=agent, author=author, message=message))

    def write(self, model: str, *, lengthy: bool) -> None:
        """Write the answer in one model call."""
        count = self.random.randint(6, 14) if lengthy else self.random.randint(1, 4)
        text = "\n\n".join(self.words(texts.SENTENCES) for _ in range(count))
        tokens = len(text) // CHARS_PER_TOKEN
        reads = 3400 if lengthy else self.random.randint(90, 900)
        self.call(model, reads=reads, writes=tokens, text=text)

    def call(self, model: str, *, reads: int, writes: int, text: str = "") -> None:
        """Make a model call. With `text`, it is the one that writes the answer."""
        started, number, written = self.clock.ms, len(self.calls) + 1, 0
        self.calls.append(ModelCall(number=number, model=model, started_ms=0, duration_ms=0))
        turn_calls = self.turn_calls
        first_chunk_ms: float | None = None
        is_cut, code = True, ""
        if number == self.stops_in:
            self.stops_at = self.clock.now + 80
        try:
            self.wait(self.about(300 if writes < 100 else 420) * self.pace)
            first_chunk_ms = self.since(started)
            if text:
                self.tell(ResponseDelta(delta=text[:CHARS_PER_TOKEN]))
            for _ in range(10):
                self.wait(self.about(writes) * self.pace)
                written += writes // 10
            written, is_cut = writes, False
        except Stopped:
            if self.error and self.error.code not in NOT_OF_A_CALL:
                is_cut, code = False, self.error.code
            raise
        finally:
            if text:
                self.deltas = written
                self.answer = text[: max(1, written) * CHARS_PER_TOKEN] if is_cut else text
                self.answer = self.answer if first_chunk_ms is not None else ""
            call = ModelCall(
                number=number,
                model=model,
                started_ms=started,
                duration_ms=self.since(started),
                first_chunk_ms=first_chunk_ms,
                input_tokens=0 if first_chunk_ms is None else reads,
                # The first call of a run finds nothing in the model server's cache.
                cached_tokens=0 if first_chunk_ms is None or number == 1 else reads // 2,
                output_tokens=written,
                estimated=is_cut and first_chunk_ms is not None,
                cut=is_cut,
                finish_reason="" if is_cut or code else "stop",
                error=code,
            )
            self.calls[number - 1] = call
            turn_calls.append(call)

    def tool(self, agent: str, name: str | None) -> None:
        """Use a tool, with a result, a failure or a rejection."""
        name = name or self.random.choice(("web_search", "web_search", "calculator", "clock"))
        author = texts.AGENT_NAMES[agent]
        call_id = f"call_{self.random.getrandbits(32):08x}"
        if self.random.random() < 0.03:
            reason = self.random.choice(texts.REJECTIONS)
            data = ToolRejection(tool=name, call_id=call_id, reason=reason)
            return self.tell(ToolRejected(agent_id=agent, author=author, data=data))
        start = ToolCallData(tool=name, call_id=call_id, arguments=self.arguments(name))
        self.tell(ToolStart(agent_id=agent, author=author, data=start))
        started = self.clock.ms
        result = self.result(name)
        try:
            self.wait(3 if result.get("cached") else self.about(700 if name == "web_search" else 2))
        except Stopped:
            result = {"ok": False, "message": "stopped", "cut": True}
            raise
        finally:
            ended = ToolResultData(
                tool=name,
                call_id=call_id,
                duration_ms=self.since(started),
                started_ms=started,
                **result,
            )
            self.tell(ToolComplete(agent_id=agent, author=author, data=ended))
        return None

    def arguments(self, name: str) -> dict[str, Any]:
        if name == "calculator":
            return {"expression": f"{self.random.randint(2, 999)} * 1.19 in EUR"}
        if name == "clock":
            return {"question": f"time in {self.things[0]}"}
        query = self.words(("{0} price 2026", "{0} vs {1}", "criticism of {1}"))
        return {"query": query} | ({"topic": "news"} if self.random.random() < 0.2 else {})

    def result(self, name: str) -> dict[str, Any]:
        if name != "web_search":
            return {"ok": True}
        draw = self.random.random()
        if draw < 0.05:
            return {"ok": False, "message": self.random.choice(texts.TOOL_FAILURES)}
        found = {"ok": True, "sources": self.found_sources()}
        if draw < 0.08:
            return found | {"repeated": True}
        if draw < 0.42:
            age = round(self.random.uniform(5, 3600), 1)
            return found | {"cached": True, "age_s": age, "stale": draw < 0.1}
        return found | {"credits": self.random.choice((1, 1, 1, 2))}

    def found_sources(self) -> list[SourceData]:
        found = []
        for _ in range(self.random.randint(2, 4)):
            number, host = len(self.sources) + 1, self.random.choice(texts.HOSTS)
            title = self.words(("{0} explained", "The price of {0}", "{0} or {1}?"))
            url = f"https://{host}/{number}/{self.random.getrandbits(24):06x}"
            day = f"2026-{self.random.randint(1, 9):02}-{self.random.randint(1, 28):02}"
            source = SourceData(number, title, url, host, self.random.choice((None, day)))
            self.sources.append(source)
            found.append(source)
        return found

    # --- Time and words

    def tell(self, event: StreamEvent) -> None:
        self.told.append((self.clock.now, event))

    def wait(self, ms: float) -> None:
        """Let time pass. Raise Stopped when the run's time is over."""
        if self.clock.now + ms >= self.stops_at:
            patience = PATIENCE.get(self.error.code, 0) if self.error else 0
            self.clock.now = max(self.clock.now, self.stops_at) + patience
            raise Stopped
        self.clock.now += ms

    def side_by_side(self, parts: list[Callable[[], None]]) -> None:
        """Let agents work at the same time. Raise Stopped if one of them was stopped."""
        started, ended, is_stopped = self.clock.now, [], False
        for part in parts:
            self.clock.now = started
            try:
                part()
            except Stopped:
                is_stopped = True
            ended.append(self.clock.now)
        self.clock.now = max(ended)
        if is_stopped:
            raise Stopped

    def since(self, started_ms: float) -> float:
        return round(self.clock.ms - started_ms, 2)

    def about(self, ms: float) -> float:
        """Return a duration: usually near `ms`, sometimes much longer."""
        return ms * self.random.lognormvariate(0, 0.35)

    def words(self, choices: tuple[str, ...]) -> str:
        if self.random.random() < 0.02:
            return self.random.choice(texts.HOSTILE)
        return self.random.choice(choices).format(*self.things)

    # --- The ending

    def finished(self, question: str, mode: Mode) -> Told:
        """Return the run as it was told, with its ending."""
        ending, waited = Ending(status="completed"), 0.0
        if self.is_stopped:
            ending = failed(self.error) if self.error else CANCELLED
            waited = self.random.uniform(*CANCEL_MS)
        # Agents that work at the same time told their events one after the other.
        self.told.sort(key=itemgetter(0))
        steps, last_seq = numbered(self.told, deltas=self.deltas)
        measured = ending_of(
            ending, self.told, self.calls, stopped_ms=self.clock.now, waited_ms=waited
        )
        first_route = self.routes[0] if self.routes else None
        model = self.full_model if measured.path == "full" else self.light_model
        return Told(
            question=question,
            text=self.answer,
            mode=mode,
            events=steps,
            ending=measured,
            last_seq=last_seq + (1 if self.error else 2),
            model=model if first_route else "",
            first_route=first_route,
        )
