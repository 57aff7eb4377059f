"""The steps of a run as lines, for readers that know only thinking and an answer."""

from chat.protocol.events import (
    AgentMessage,
    AgentOutput,
    AgentStart,
    AskClosed,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseStart,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import ToolResultData
from tooling.clusters import shortened
from tooling.names import parted

MAX_LINE = 200  # characters
PATHS = {"light": "One agent", "full": "The team"}
# Those of the light path are over at once.
PHASES = {
    "analysis": "Planning",
    "research": "Research",
    "writing": "Drafting",
    "review": "Reviewing",
    "revision": "Revising",
    "final": "Writing the answer",
}


def line_of(event: StreamEvent) -> str:
    """Return what an event says of the run's steps, in one line; empty if that is nothing."""
    return shortened(" ".join(words_of(event).split()), MAX_LINE)


def words_of(event: StreamEvent) -> str:
    match event:
        case RoutingDecided(data=route):
            return f"{PATHS[route.path]}: {', '.join(route.reasons)}."
        case PhaseStart(data=data):
            return PHASES.get(data.phase, "")
        case AgentStart():
            return f"{event.author}: {event.data.task}" if event.data.task else ""
        case AgentMessage() | AgentOutput():
            return f"{event.author}: {event.message}"
        case ToolStart(data=call):
            given = ", ".join(str(value) for value in call.arguments.values())
            return f"{title_of(call.tool)}: {given}" if given else title_of(call.tool)
        case ToolComplete(data=result):
            return result_of(result)
        case ToolRejected(data=rejection):
            return f"{title_of(rejection.tool)} was not called: {rejection.reason}"
        case OrchestratorMessage() | OrchestratorThought():
            return event.message
        case AskClosed(data=closed):
            return f"A person has decided: {closed.decision}."
        case Resumed():
            return "Another worker goes on with this answer."
        case _:
            return ""


def result_of(result: ToolResultData) -> str:
    title = title_of(result.tool)
    if not result.ok:
        return f"{title} failed: {result.message}"
    if not result.sources:
        return ""
    count = len(result.sources)
    found = f"{title}: {count} source{'s' if count > 1 else ''}"
    return f"{found}, from {result.age_s / 60:.0f} min ago" if result.age_s else found


def title_of(tool: str) -> str:
    """Return the title of a tool; one of an MCP server is `server__tool`."""
    server, name = parted(tool)
    title = name.replace("_", " ").capitalize()
    return f"{title} ({server})" if server else title
