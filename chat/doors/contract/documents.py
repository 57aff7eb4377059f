"""The documents of the contract, by the names of their files."""

import json
from pathlib import Path

from django.conf import settings

from chat.doors.routes import ROUTES

from .asyncapi import EVENTS, asyncapi
from .changes import breaking
from .openapi import openapi
from .python import protocol
from .schemas import Schema, events_schema, with_defaults
from .serving import WRITTEN
from .typescript import typescript

CLIENT = WRITTEN.parent.parent / "client"


def documents() -> dict[Path, str]:
    """Return what the files of the contract must hold."""
    version = settings.FLEET_VERSION
    events = events_schema(version)
    return {
        WRITTEN / EVENTS: as_json(events),
        WRITTEN / "openapi.json": as_json(openapi(ROUTES, version=version)),
        WRITTEN / "asyncapi.json": as_json(asyncapi(version)),
        CLIENT / "protocol.ts": typescript(events),
        CLIENT / "protocol.py": protocol({"$defs": with_defaults()}),
    }


def as_json(document: Schema) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Return the files that hold something else."""
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]


def broken(wanted: dict[Path, str]) -> list[str]:
    """Return what in the new documents breaks programs that know those in the files."""
    return [
        f"{path.name}: {what}"
        for path in wanted
        if path.suffix == ".json" and path.exists()
        for what in breaking(json.loads(path.read_text()), json.loads(wanted[path]))
    ]
