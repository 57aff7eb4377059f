"""List the tools of MCP servers, show what has changed in their definitions, and accept it."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticfleet.columns import aligned
from agenticfleet.startup import migrate
from tooling.mcp.differences import Part, difference_of
from tooling.models import PinnedTool

HEADINGS = ("server", "tool", "state", "since", "accepted by")
MARKS = {"same": "  ", "gone": "- ", "new": "+ "}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act")
        acts.add_parser("list", help="list the servers, their tools and their states (the default)")
        diff = acts.add_parser("diff", help="show what differs from the accepted definitions")
        diff.add_argument("server")
        diff.add_argument("tool", nargs="?", default="")
        accept = acts.add_parser("accept", help="show what differs, and accept it")
        accept.add_argument("server")
        accept.add_argument("tool", nargs="?", default="", help="of the server; default: all")

    def handle(self, *args: Any, act: str | None, **options: Any) -> None:
        migrate(self.stderr.write)  # A fleet that is being set up may not have been started yet.
        match act:
            case "diff":
                self.show(self.closed(options["server"], options["tool"]))
            case "accept":
                self.accept(self.closed(options["server"], options["tool"]))
            case _:
                self.list_all()

    def list_all(self) -> None:
        pins = list(PinnedTool.objects.defer("accepted", "other"))
        rows = [row_of(pin) for pin in pins]
        seen = {pin.server for pin in pins}
        for name, table in settings.FLEET_FILE.file.mcp.items():
            if name not in seen:
                state = "not seen yet" if table.enabled else "not enabled"
                rows.append((name, "–", state, "–", "–"))
        if not rows:
            self.stderr.write("There are no MCP servers in fleet.toml.")
            return
        for line in aligned([HEADINGS, *sorted(rows)]):
            self.stdout.write(line)

    def closed(self, server: str, tool: str) -> list[PinnedTool]:
        """Return the closed tools of a server, or the one. Raise CommandError if there is none."""
        pins = PinnedTool.objects.filter(server=server)
        if tool:
            # As models call it, or as the server does.
            pins = pins.filter(tool__in=[tool, tool.removeprefix(f"{server}__")])
        found = list(pins)
        if not found:
            what = f"no tool {tool!r} of {server!r}" if tool else f"no MCP server {server!r}"
            raise CommandError(f"There is {what} that was ever seen. `mcp` lists them.")
        return [pin for pin in found if pin.state != PinnedTool.State.OPEN]

    def show(self, pins: Sequence[PinnedTool]) -> None:
        if not pins:
            self.stderr.write("Nothing differs from what was accepted.")
        for pin in pins:
            self.stdout.write(f"{pin.server}__{pin.tool} ({pin.state.label.lower()})")
            difference = difference_of(pin.accepted_definition, pin.other_definition)
            self.write_parts("Description", difference.description)
            self.write_parts("Parameters", difference.schema)

    def write_parts(self, title: str, parts: Sequence[Part]) -> None:
        self.stdout.write(f"  {title}:")
        for part in parts:
            for line in part.text.splitlines():
                if line.strip():
                    self.stdout.write(f"    {MARKS[part.kind]}{line.rstrip()}")

    def accept(self, pins: Sequence[PinnedTool]) -> None:
        self.show(pins)
        for pin in pins:
            if pin.accept(pin.other_digest, by="terminal"):
                self.stderr.write(f"{pin.server}__{pin.tool} is accepted.")
            else:
                self.stderr.write(f"{pin.server}__{pin.tool} has changed again. Look at it anew.")


def row_of(pin: PinnedTool) -> tuple[str, ...]:
    is_open = pin.state == PinnedTool.State.OPEN
    since = pin.accepted_at if is_open else pin.changed_at
    return (
        pin.server,
        pin.tool,
        pin.state.label.lower() if is_open else f"closed: {pin.state.label.lower()}",
        f"{since:%Y-%m-%d %H:%M}" if since else "–",
        (pin.accepted_by or "first sight") if pin.accepted_digest else "–",
    )
