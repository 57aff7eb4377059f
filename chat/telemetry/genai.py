"""The names of spans and attributes: OpenTelemetry's conventions for generative AI.

The conventions are still in development (open-telemetry/semantic-conventions-genai), so their names
are here and nowhere else. Names that begin with `app.` are this project's own.
"""

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from chat.protocol.payloads import (
    AgentTiming,
    ModelCall,
    PhaseTiming,
    RouteData,
    ToolCallData,
    ToolResultData,
)
from chat.protocol.terms import Ending, Path

type Value = str | bool | int | float | Sequence[str]
type Attributes = dict[str, Value]

OPERATION = "gen_ai.operation.name"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT_ID, AGENT_NAME = "gen_ai.agent.id", "gen_ai.agent.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL, REQUEST_STREAM = "gen_ai.request.model", "gen_ai.request.stream"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
TOOL_NAME, TOOL_TYPE = "gen_ai.tool.name", "gen_ai.tool.type"
TOOL_CALL_ID, TOOL_ARGUMENTS = "gen_ai.tool.call.id", "gen_ai.tool.call.arguments"
INPUT_MESSAGES, OUTPUT_MESSAGES = "gen_ai.input.messages", "gen_ai.output.messages"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
ERROR_TYPE = "error.type"

# The protocol of the model server. The conventions want this name even if another vendor serves.
OPENAI = "openai"
CUT, TOOL_FAILED = "cut", "tool_failed"  # error types; others are the codes of the wire
MAX_CONTENT = 32_000  # characters of a text; a collector rejects requests of many megabytes


def workflow_name(path: Path | None) -> str:
    return f"invoke_workflow {path}" if path else "invoke_workflow"


def of_run(
    ending: Ending,
    *,
    run_id: UUID,
    conversation_id: UUID,
    mode: str,
    epoch: int,
    continues: UUID | None,
) -> Attributes:
    """Return the attributes of a whole run."""
    timings, missed = ending.timings, ending.sla.missed if ending.sla else {}
    return known(
        {
            OPERATION: "invoke_workflow",
            WORKFLOW: ending.path,
            CONVERSATION: str(conversation_id),
            "app.run.id": str(run_id),
            "app.run.mode": mode,
            "app.run.status": ending.status,
            "app.run.epoch": epoch,
            "app.run.continues": str(continues) if continues else None,
            "app.run.escalated": ending.escalated,
            "app.run.first_event_ms": timings.first_event_ms,
            "app.run.first_token_ms": timings.first_token_ms,
            "app.run.waiting_ms": timings.waiting_ms,
            "app.run.waited_ms": timings.waited_ms or None,
            "app.run.cancel_ms": timings.cancel_ms,
            "app.run.cost": ending.cost,
            "app.sla.missed": list(missed) or None,
            ERROR_TYPE: ending.error.code if ending.error else None,
        }
    )


def phase_name(phase: str) -> str:
    return "plan" if phase == "routing" else f"phase {phase}"


def of_phase(phase: PhaseTiming, route: RouteData | None) -> Attributes:
    """Return the attributes of a phase; `route` is what the routing has decided."""
    found: dict[str, Value | None] = {"app.phase": phase.phase, ERROR_TYPE: cut(phase.cut)}
    if phase.phase == "routing":
        found[OPERATION] = "plan"
        if route:
            found |= {"app.route.path": route.path, "app.route.confidence": route.confidence}
    return known(found)


def agent_name(name: str) -> str:
    return f"invoke_agent {name}"


def of_agent(agent_id: str, name: str, timing: AgentTiming) -> Attributes:
    return known(
        {
            OPERATION: "invoke_agent",
            AGENT_ID: agent_id,
            AGENT_NAME: name,
            ERROR_TYPE: cut(timing.cut),
        }
    )


def call_name(model: str) -> str:
    return f"chat {model}"


def of_call(call: ModelCall, *, model: str, address: str, port: int) -> Attributes:
    """Return the attributes of a call. `model` is the id by which its server knows the model."""
    first_chunk = call.first_chunk_ms
    return known(
        {
            OPERATION: "chat",
            PROVIDER: OPENAI,
            REQUEST_MODEL: model,
            REQUEST_STREAM: True,
            SERVER_ADDRESS: address,
            SERVER_PORT: port,
            FIRST_CHUNK: None if first_chunk is None else first_chunk / 1000,
            FINISH_REASONS: [call.finish_reason] if call.finish_reason else None,
            INPUT_TOKENS: call.input_tokens,
            OUTPUT_TOKENS: call.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens,
            "app.usage.estimated": call.estimated,
            "app.call.number": call.number,
            ERROR_TYPE: call.error or cut(call.cut),
        }
    )


def tool_name(tool: str) -> str:
    return f"execute_tool {tool}"


def of_tool(result: ToolResultData) -> Attributes:
    return known(
        {
            OPERATION: "execute_tool",
            TOOL_NAME: result.tool,
            TOOL_TYPE: "function",
            TOOL_CALL_ID: result.call_id,
            "app.cache.hit": result.cached,
            "app.search.credits": result.credits,
            ERROR_TYPE: cut(result.cut) or (None if result.ok else TOOL_FAILED),
        }
    )


def messages(*, asked: str = "", said: str = "") -> Attributes:
    """Return what was asked and said, for those who want content in their traces."""
    # As ASCII: one character that UTF-8 lacks would fail the export of many other spans.
    found: Attributes = {}
    if asked:
        found[INPUT_MESSAGES] = json.dumps([message("user", asked)])
    if said:
        found[OUTPUT_MESSAGES] = json.dumps([message("assistant", said)])
    return found


def message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text[:MAX_CONTENT]}]}


def arguments(call: ToolCallData) -> Attributes:
    return {TOOL_ARGUMENTS: json.dumps(call.arguments)[:MAX_CONTENT]}


def cut(is_cut: bool) -> str | None:
    return CUT if is_cut else None


def known(found: Mapping[str, Value | None]) -> Attributes:
    """Return the attributes that have a value."""
    return {name: value for name, value in found.items() if value is not None}
