"""JSON-RPC as MCP has it over HTTP, and what its two generations ask of a request."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from django.conf import settings
from msgspec import UNSET, Struct, UnsetType, field

from chat.doors.calls import Call
from chat.doors.errors import INVALID, ErrorObject, Refusal
from tooling.decoding import UNREADABLE_JSON

INITIALIZED = ("2025-03-26", "2025-06-18", "2025-11-25")  # versions that begin with `initialize`
STATELESS = "2026-07-28"  # each request says all that the server must know
SERVER = {"name": "agenticfleet", "title": "AgenticFleet", "version": settings.FLEET_VERSION}
META = "io.modelcontextprotocol/"
UNREADABLE, INVALID_REQUEST, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
REFUSED, MISMATCH, UNKNOWN_VERSION = -32000, -32020, -32022

type Id = int | str


class RpcParams(Struct, frozen=True, rename="camel"):
    """What all methods take together."""

    meta: dict[str, Any] = field(default={}, name="_meta")
    protocol_version: str = ""
    name: str = ""
    arguments: dict[str, Any] | None = None
    request_id: Id | None = None
    input_responses: dict[str, dict[str, Any]] = {}
    request_state: str = ""


class RpcMessage(Struct, frozen=True):
    """A request, or a notification, which has no `id`."""

    jsonrpc: Literal["2.0"]
    method: str
    id: Id | UnsetType = UNSET
    params: RpcParams = RpcParams()


class RpcFault(Struct, frozen=True):
    """What is wrong. `data` of a refusal that all doors have is their error object."""

    code: int
    message: str
    data: Any = UNSET


class RpcAnswer(Struct, frozen=True):
    """The answer to a request: a result, or what is wrong."""

    id: Id | None
    result: dict[str, Any] | UnsetType = UNSET
    error: RpcFault | UnsetType = UNSET
    jsonrpc: Literal["2.0"] = "2.0"

    @classmethod
    def of(cls, refusal: Refusal, raw: bytes) -> "RpcAnswer":
        code = INVALID_REQUEST if refusal.status == 400 else REFUSED
        try:
            sent = msgspec.json.decode(raw)
        except UNREADABLE_JSON:
            sent, code = None, UNREADABLE if refusal.status == 400 else code
        id_ = sent.get("id") if isinstance(sent, dict) else None
        wrong = refusal.fault if isinstance(refusal, Wrong) else None
        fault = wrong or RpcFault(code, refusal.error.message, refusal.error)
        return cls(id_ if isinstance(id_, int | str) else None, error=fault)


class Wrong(Refusal):
    """The refusal of a request that JSON-RPC or MCP calls wrong."""

    def __init__(self, code: int, message: str, *, status: int = 400, data: Any = UNSET) -> None:
        super().__init__(status, ErrorObject(message, INVALID, "bad_request"))
        self.fault = RpcFault(code, message, data)


@dataclass(frozen=True, slots=True)
class Request:
    """A message with the call that brought it. `is_stateless`: it is of the new generation."""

    call: Call
    message: RpcMessage
    is_stateless: bool

    @property
    def params(self) -> RpcParams:
        return self.message.params

    @classmethod
    def of(cls, call: Call) -> "Request":
        """Return what a call has brought. Raise Wrong if it lacks what its version needs."""
        version, message = call.header("mcp-protocol-version"), call.body
        if version in ("", *INITIALIZED):
            return cls(call, message, is_stateless=False)
        if version != STATELESS:
            known = {"supported": [*INITIALIZED, STATELESS], "requested": version}
            raise Wrong(UNKNOWN_VERSION, "This version of MCP isn't known here.", data=known)
        if message.id is not UNSET:
            check(call, message)
        return cls(call, message, is_stateless=True)

    @property
    def may_elicit(self) -> bool:
        """True if the client can ask its person something, and then send its request again."""
        capabilities = self.params.meta.get(f"{META}clientCapabilities")
        has_forms = isinstance(capabilities, dict) and "elicitation" in capabilities
        return self.is_stateless and has_forms

    def answer(self, result: dict[str, Any]) -> RpcAnswer:
        """Return the answer with this result."""
        assert self.message.id is not UNSET
        if self.is_stateless:
            result = {"resultType": "complete", "_meta": {f"{META}serverInfo": SERVER}, **result}
        return RpcAnswer(self.message.id, result)


def check(call: Call, message: RpcMessage) -> None:
    """Raise Wrong if a request doesn't say all, or its headers say something else."""
    meta = message.params.meta
    for name in ("protocolVersion", "clientCapabilities"):
        if META + name not in meta:
            raise Wrong(BAD_PARAMS, f"params._meta has no {META}{name}.")
    said = {"mcp-protocol-version": meta[f"{META}protocolVersion"], "mcp-method": message.method}
    if message.method == "tools/call":
        said["mcp-name"] = message.params.name
    for name, value in said.items():
        if call.header(name) != value:
            raise Wrong(MISMATCH, f"The header {name} isn't what the body says.")
