"""A server of the SDK that asks before it books a table, and keeps nothing. Run by its path."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

server = MCPServer("shop")


class Party(BaseModel):
    people: int = Field(ge=1, le=9, title="People")


class Place(BaseModel):
    in_the_garden: bool = Field(title="In the garden")


def ask_for_party() -> Elicit[Party]:
    return Elicit("For how many?", Party)


def ask_for_place() -> Elicit[Place]:
    return Elicit("Inside, or in the garden?", Place)


@server.tool()
def book(
    day: str,
    party: Annotated[Party, Resolve(ask_for_party)],
    place: Annotated[Place, Resolve(ask_for_place)],
) -> str:
    """Book a table."""
    where = "in the garden" if place.in_the_garden else "inside"
    return f"A table for {party.people} {where} is booked for {day}."


if __name__ == "__main__":
    server.run()
