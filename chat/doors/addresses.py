"""What addresses of the doors hold: ids, cursors, and where the next page is."""

from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from .calls import Call
from .errors import Refusal, bad, refused


def id_in(call: Call, name: str) -> UUID:
    """Return the id that the path has. Raise Refusal if it is none."""
    text = call.names[name]
    try:
        found = UUID(text)
    except ValueError:
        raise unfit(name, "it is a UUID") from None
    # Python also reads other forms, such as those with braces.
    if str(found) != text.lower():
        raise unfit(name, "it is a UUID")
    return found


def moment_in(moment: datetime | None) -> datetime | None:
    """Return the time of a cursor in UTC. Raise Refusal if the database has no such time."""
    try:
        return moment and moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise unfit("before", "it is no time of this calendar") from None


def address(call: Call, path: str, **query: str | int | None) -> str:
    """Return an address of this server, with the fields that have a value."""
    fields = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{call.scope.get('root_path', '')}{path}{'?' if fields else ''}{urlencode(fields)}"


def unfit(param: str, reason: str) -> Refusal:
    return bad(f"{param} does not fit: {reason}.", param)


def unknown(what: str) -> Refusal:
    """Return the answer to foreign and unknown ids, from which nobody learns which ids exist."""
    return refused(404, "not_found", f"This {what} does not exist, or it is not yours.")
