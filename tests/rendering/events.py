"""Events of runs for the tests of rendering."""

import random
import uuid
from typing import Any, cast

from chat.protocol.errors import ErrorInfo
from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    AskClosed,
    AskOpened,
    Cancelled,
    Connected,
    Done,
    Error,
    Heartbeat,
    Notice,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
    ending_events,
)
from chat.protocol.payloads import (
    AgentTiming,
    AnswerData,
    AskClosedData,
    ConnectedData,
    HeartbeatData,
    NoticeData,
    PhaseData,
    PhaseTiming,
    ResumedData,
    RouteData,
    SnapshotData,
    SourceData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from chat.protocol.terms import AskData, Ending, Summary, Timings, Usage

RUN = "0b5f3c1e-0000-4000-8000-000000000001"


MESSAGE = uuid.UUID("0b5f3c1e-0000-4000-8000-000000000002")


CONVERSATION = uuid.UUID("0b5f3c1e-0000-4000-8000-000000000003")


TIMINGS = Timings(first_event_ms=5, first_token_ms=300, total_ms=1234)


USAGE = Usage(input_tokens=10, output_tokens=212, model_calls=1, tool_calls=1)


WHO = {"agent_id": "researcher", "author": "Researcher"}


TEXT = """## Both

Words with **bold**, and a list:

1. one
   - nested
2. two

| a | b |
|---|--:|
| 1 | 2 |
| 3 | 4 |

```python
for n in range(20):
    print(n)
```

The [end](https://example.com).
"""


ASK = AskData(
    ask_id=MESSAGE,
    kind="approval",
    message="Researcher wants to use Web search.",
    tool="web_search",
    call_id="c1",
    arguments={"query": "kafka"},
    schema={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    expires_at="2030-01-01T00:00:00Z",
)
SAMPLES: dict[type[StreamEvent], AnyEvent] = {
    Connected: Connected(data=ConnectedData(CONVERSATION, MESSAGE)),
    Resumed: Resumed(data=ResumedData(epoch=1, from_seq=4, silent_ms=900, redone=["researcher"])),
    AskOpened: AskOpened(data=ASK, **WHO),
    AskClosed: AskClosed(data=AskClosedData(ask_id=MESSAGE, decision="approve")),
    RoutingDecided: RoutingDecided(
        data=RouteData(path="full", mode="auto", confidence=0.9, reasons=["It needs sources."])
    ),
    PhaseStart: PhaseStart(data=PhaseData("research")),
    PhaseComplete: PhaseComplete(data=PhaseTiming("research", 1200)),
    AgentStart: AgentStart(**WHO),
    AgentMessage: AgentMessage(message="I look for **numbers**.", **WHO),
    AgentOutput: AgentOutput(message="Found *three*.", **WHO),
    AgentComplete: AgentComplete(data=AgentTiming(900, USAGE), **WHO),
    ToolStart: ToolStart(
        data=ToolCallData(tool="web_search", call_id="c1", arguments={"query": "kafka"}), **WHO
    ),
    ToolComplete: ToolComplete(
        data=ToolResultData(
            tool="web_search", call_id="c1", ok=True, duration_ms=50, cached=True, age_s=60
        ),
        **WHO,
    ),
    ToolRejected: ToolRejected(
        data=ToolRejection(tool="shell", call_id="c2", reason="unknown_tool"), **WHO
    ),
    OrchestratorMessage: OrchestratorMessage(message="Two researchers are enough."),
    OrchestratorThought: OrchestratorThought(message="The plan is clear."),
    ReasoningDelta: ReasoningDelta(delta="Let me think.", agent_id="researcher"),
    ReasoningCompleted: ReasoningCompleted(agent_id="researcher"),
    ResponseDelta: ResponseDelta(delta="Hello"),
    ResponseSnapshot: ResponseSnapshot(data=SnapshotData("Hello **again**")),
    ResponseCompleted: ResponseCompleted(
        message="Hello **again**", data=AnswerData(TIMINGS, USAGE, "full")
    ),
    Heartbeat: Heartbeat(data=HeartbeatData(5000)),
    Notice: Notice(message="Web search is off.", data=NoticeData("search_off")),
    Cancelled: Cancelled(),
    Done: Done(data=Summary(status="completed", timings=TIMINGS, usage=USAGE, path="light")),
    Error: Error(
        error=ErrorInfo(
            "idle_timeout",
            "The model did not answer in time. What came so far is kept.",
            retryable=True,
        )
    ),
}


def tokens_of(text: str, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    found = []
    while text:
        length = choose.randint(1, 8)
        found.append(text[:length])
        text = text[length:]
    return found


def full_run(text: str = TEXT, seed: int = 0) -> list[AnyEvent]:
    """Return a run with a phase, an agent, a tool, messages and an answer, as its log has it."""
    steps = [
        RoutingDecided,
        PhaseStart,
        AgentStart,
        ToolStart,
        ToolComplete,
        ToolRejected,
        AgentMessage,
        AgentOutput,
    ]
    events: list[AnyEvent] = [SAMPLES[Connected], *(SAMPLES[kind] for kind in steps)]
    events += [
        SAMPLES[OrchestratorMessage],
        *(ResponseDelta(delta=token) for token in tokens_of(text, seed)),
    ]
    events += [SAMPLES[AgentComplete], SAMPLES[PhaseComplete]]
    return numbered(events + completed(text, "full"))


def numbered(events: list[AnyEvent]) -> list[AnyEvent]:
    for seq, event in enumerate(events, 1):
        event.seq, event.workflow_id = seq, RUN
    return events


def is_delta(event: StreamEvent) -> bool:
    return isinstance(event, ResponseDelta | ReasoningDelta)


ANALYST = {"agent_id": "analyst", "author": "Analyst"}


SOURCES = [
    SourceData(
        1,
        "Kafka docs",
        "https://kafka.apache.org/documentation/",
        "kafka.apache.org",
        "2026-10-02T08:00:00Z",
    ),
    SourceData(2, "Kafka on the wiki", "http://en.wikipedia.org/wiki/Kafka", "en.wikipedia.org"),
]


def searched(call_id: str = "c1", **fields: Any) -> ToolComplete:
    given = {"tool": "web_search", "call_id": call_id, "ok": True, "duration_ms": 50, **fields}
    return ToolComplete(data=ToolResultData(**given), **WHO)


def called(
    tool: str = "web_search", call_id: str = "c1", who: dict[str, str] = WHO, **arguments: Any
) -> ToolStart:
    return ToolStart(data=ToolCallData(tool=tool, call_id=call_id, arguments=arguments), **who)


TEAM: list[AnyEvent] = [
    SAMPLES[PhaseStart],
    AgentStart(**WHO),
    AgentStart(**ANALYST),
    ReasoningDelta(delta="I look ", agent_id="researcher"),
    ReasoningDelta(delta="500 × ", agent_id="analyst"),
    called(query="kafka"),
    ReasoningDelta(delta="2 = 1000", agent_id="analyst"),
    searched(sources=SOURCES),
    ReasoningDelta(delta="it up.", agent_id="researcher"),
    ReasoningCompleted(agent_id="analyst"),
    AgentOutput(message="500 × 2 = 1000", **ANALYST),
    AgentComplete(data=AgentTiming(900, USAGE), **ANALYST),
    ReasoningCompleted(agent_id="researcher"),
    AgentOutput(message="I look it up.", **WHO),
    AgentComplete(data=AgentTiming(900, USAGE), **WHO),
    SAMPLES[PhaseComplete],
]


def decided(**fields: Any) -> RoutingDecided:
    return RoutingDecided(
        data=RouteData(**{"path": "light", "mode": "auto", "confidence": 0.92, **fields})
    )


def completed(text: str = "Hello", path: Any = "light") -> list[AnyEvent]:
    ending = Ending(status="completed", timings=TIMINGS, usage=USAGE, path=path)
    return cast("list[AnyEvent]", ending_events(ending, text))


ASSISTANT = {"agent_id": "assistant", "author": "Assistant"}


ESCALATED: list[AnyEvent] = [
    decided(),
    PhaseStart(data=PhaseData("answer")),
    AgentStart(**ASSISTANT),
    ToolComplete(
        data=ToolResultData(
            tool="web_search",
            call_id="c",
            ok=True,
            duration_ms=5,
            cached=True,
            age_s=9,
            sources=SOURCES,
        ),
        **ASSISTANT,
    ),
    ResponseDelta(delta="I don't know."),
    AgentComplete(data=AgentTiming(5), **ASSISTANT),
    PhaseComplete(data=PhaseTiming("answer", 5)),
    decided(path="full", escalated=True, reasons=["the light answer did not know"]),
    ResponseSnapshot(data=SnapshotData("")),
    PhaseStart(data=PhaseData("analysis")),
]


CITED = "Hello [1], said [1, 2], but not [3] and `[1]`.\n\n- more [2]\n\n[1][2] last"
