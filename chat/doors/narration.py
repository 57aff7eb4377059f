"""The steps of a run as lines of text, for protocols that know no steps."""

from chat.protocol.events import (
    AgentMessage,
    AgentOutput,
    AgentStart,
    AskClosed,
    AskOpened,
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
from chat.rendering.timeline import arguments_text, phase_title, rejection_words, tool_title
from chat.rendering.wording import result_words, shortened, title_of

MAX_LINE = 200  # characters
PATHS = {"light": "The light path answers", "full": "The team answers", "plain": "Answered plainly"}


def line_of(event: StreamEvent) -> str:
    """Return what happened as one line; empty if the event is no step, or needs no line."""
    return shortened(_words_of(event), MAX_LINE)


def _words_of(event: StreamEvent) -> str:
    match event:
        case Resumed():
            return "Another worker goes on."
        case RoutingDecided(data=data):
            return ": ".join(
                [PATHS[data.path], *([", ".join(data.reasons)] if data.reasons else [])]
            )
        case PhaseStart(data=data):
            return f"Phase: {phase_title(data.phase)}"
        case AgentStart(author=author, data=data):
            return f"{author}: {data.task}" if data.task else f"{author} begins"
        case (
            AgentMessage(author=author, message=message)
            | AgentOutput(author=author, message=message)
        ):
            return f"{author}: {message}"
        case ToolStart(data=data):
            arguments = arguments_text(data.arguments)
            return f"{tool_title(data.tool)[0]}: {arguments}" if arguments else title_of(data.tool)
        case ToolComplete(data=data):
            words = result_words(data)
            return f"{tool_title(data.tool)[0]}: {words}" if words else ""
        case ToolRejected(data=data):
            return f"{title_of(data.tool)} was not called: {rejection_words(data.reason)}"
        case OrchestratorMessage(message=message) | OrchestratorThought(message=message):
            return message
        case AskOpened(data=data):
            return f"This waits for a person: {data.message}"
        case AskClosed(data=data):
            return f"A person has decided: {data.decision}"
        case _:
            return ""
