"""The fleet as an MCP server over streamable HTTP."""
