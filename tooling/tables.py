"""What the operator of a fleet says of tools, as values of fleet.toml."""

from typing import Annotated

from msgspec import Meta, Struct

APPROVER = r"^(owner|perm:[a-z_]\w*\.\w+)$"


class ToolTable(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table `[tools.NAME]` of fleet.toml. What is left out stays as the tool has it."""

    enabled: bool = True
    # Who must approve each call: "owner", or "perm:app.codename" for staff with that permission.
    approver: Annotated[str, Meta(pattern=APPROVER)] | None = None
    timeout: Annotated[float, Meta(gt=0, le=600)] | None = None  # seconds
    max_chars: Annotated[int, Meta(ge=100, le=100_000)] | None = None  # of a result
    calls_per_run: Annotated[int, Meta(ge=1, le=1_000)] | None = None


SERVER_NAME = r"^[a-z][a-z0-9-]{0,30}\Z"  # joined to the names of its tools by two underscores

type Seconds = Annotated[float, Meta(gt=0, le=600)]


class McpTable(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table `[mcp.NAME]` of fleet.toml: a program, or an address.

    `read` names tools that only read: they are called unasked. Every other tool of the server acts:
    the person who asked must approve each call, which is made at most once. Names are those of the
    server; `"*"` at the end of one stands for anything.
    """

    command: list[str] = []  # of a program that speaks MCP over stdin and stdout
    env: dict[str, str] = {}  # of that program, which gets few other variables
    url: str = ""  # of a server that speaks MCP over HTTP
    headers: dict[str, str] = {}
    read: list[str] = []
    tools: list[str] = []  # which of its tools there are; none named: all
    cache: list[str] = []  # those whose results are kept, and shared by all owners
    timeout: Seconds = 30.0  # of a call
    enabled: bool = True
