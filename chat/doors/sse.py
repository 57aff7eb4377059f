"""Server-Sent Events, as the doors write them."""

# A comment ends with one LF only: after an empty line, clients that keep the last `id:` read a
# message without data.
PING = b": ping\n"


def message(data: bytes, *, id: str = "", event: str = "") -> bytes:  # noqa: A002
    """Return a message with this data, which is one line, as JSON is."""
    lines = [b"data: ", data, b"\n\n"]
    if event:
        lines[:0] = [b"event: ", event.encode(), b"\n"]
    if id:
        lines[:0] = [b"id: ", id.encode(), b"\n"]
    return b"".join(lines)


def comment(text: str) -> bytes:
    return b": " + text.encode() + b"\n"


def retry(ms: int) -> bytes:
    """Return how long a reader waits until it connects again."""
    return b"retry: %d\n\n" % ms
