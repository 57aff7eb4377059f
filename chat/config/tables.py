"""The tables of fleet.toml, as values."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from chat.protocol.requests import MAX_MODEL
from tooling.tables import McpTable, ToolTable

AGENT_NAME = r"^[a-z][a-z0-9_]{0,30}\Z"
MODEL_NAME = r"^[A-Za-z0-9][\w.:/ -]{0,62}\Z"
MAX_TOKENS = 100_000_000
# The parts of an answer that one agent has each: the light answer, and the phases of the team. The
# phase "research" may have any number, the specialists.
Post = Literal["answer", "analysis", "research", "writing", "review", "final"]
# When a plan that the planner didn't make gives an agent the question.
ByDefault = Literal["always", "numbers", "never"]

type Words = Annotated[str, Meta(min_length=1, max_length=20_000)]


class AgentTable(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table `[agents.NAME]`. For an agent of the product, it changes what it names."""

    role: Annotated[str, Meta(min_length=1, max_length=500)] = ""  # what the planner reads
    instructions: Words = ""
    name: Annotated[str, Meta(min_length=1, max_length=60)] = ""  # as people read it
    tools: list[str] | None = None  # a name may end with "*"
    model: str = ""  # a table of models
    by_default: ByDefault | None = None
    phase: Post | None = None  # in which it stands in for the product's agent
    enabled: bool = True


class ModelTable(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table `[models.NAME]`: a model, and where it is. People read NAME.

    Without a `base_url` it is a model of the fleet's own server.
    """

    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
    base_url: str = ""
    api_key: str = ""
    headers: dict[str, str] = {}
    context_tokens: Annotated[int, Meta(ge=1000, le=MAX_TOKENS)] | None = None
    output_tokens: Annotated[int, Meta(ge=16, le=MAX_TOKENS)] | None = None
    thinking_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    offered: bool = True  # people and programs may choose it


class FleetFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the operator of a fleet has changed of it. The empty one changes nothing.

    Values may hold `$NAME` in place of a secret; `filled` puts it in.
    """

    agents: dict[str, AgentTable] = {}
    models: dict[str, ModelTable] = {}
    tools: dict[str, ToolTable] = {}
    mcp: dict[str, McpTable] = {}
    apps: list[str] = []  # Django apps; their modules `tools` are loaded
